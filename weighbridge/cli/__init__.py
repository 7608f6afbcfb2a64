"""The command line: parse, one call into a room, print, exit.

`main` is the rim: the one place that catches everything, prints one line and turns it into an exit code.
Rooms are imported inside the commands that need them, so that `--help` starts without torch, onnxruntime or DVC.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from weighbridge import __version__
from weighbridge.cli.command_line import CommandLine
from weighbridge.cli.extras import missing_extra
from weighbridge.cli.usage import Application, ClosedPipeError, usage_line
from weighbridge.core.errors import CLOSED_PIPE, ExitCode, WeighbridgeError, full_disk

app = Application(
    name="weighbridge",
    cls=CommandLine,
    help="Every model is weighed before it may cross into the registry.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 pass, 1 fail, 2 usage or invalid input, 3 could not judge.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weighbridge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line; every error becomes one line on standard error and an exit code."""
    # Set before any command can import onnxruntime: no telemetry, whatever the build's default.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        _complain(usage_line(error))
        sys.exit(error.exit_code)
    except typer.Abort:
        _complain("aborted; nothing was changed")
        sys.exit(ExitCode.USAGE)
    except (BrokenPipeError, ClosedPipeError):
        # Whoever read the output has stopped; a flush at exit must not complain a second time.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        sys.exit(CLOSED_PIPE)
    except WeighbridgeError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(130)
    except ModuleNotFoundError as error:
        _end(error, missing_extra(error))
    except Exception as error:  # noqa: BLE001  # the rim: a defect must not end in 0, 1 or a page of traceback
        _end(error, full_disk(error))


def _end(error: Exception, known: WeighbridgeError | None) -> NoReturn:
    _complain(str(known) if known else _internal(error))
    sys.exit(known.exit_code if known else ExitCode.UNJUDGED)


def _internal(error: Exception) -> str:
    return f"internal error: {type(error).__name__}: {error}; details in {_write_details()}"


def _complain(message: str) -> None:
    sys.stderr.write(f"weighbridge: error: {message}\n")


def _write_details() -> str:
    details = Path(".weighbridge") / "internal-error.txt"
    try:
        details.parent.mkdir(exist_ok=True)
        details.write_text(traceback.format_exc())
    except OSError:
        return traceback.format_exc()
    return str(details)
