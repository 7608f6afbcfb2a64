"""What every command shows alike: progress on standard error, tables on standard output."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from weighbridge.core.progress import Progress, silent

_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "error": "red"}
_VERDICT = re.compile(r"(?<![\w.-])(?:" + "|".join(_COLOURS) + r")(?![\w.-])", re.IGNORECASE)


def width() -> int | None:
    """Columns of the terminal, or as COLUMNS says; None where standard output is no terminal."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return shutil.get_terminal_size().columns


def painted(text: str) -> str:
    """Text with its verdicts in colour, where standard output is a terminal and NO_COLOR is not set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    import typer

    return _VERDICT.sub(lambda found: typer.style(found[0], fg=_COLOURS[found[0].lower()], bold=True), text)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Progress]:
    """Bars where standard error is a terminal, one plain line per finished stage where it is not."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield bars
    else:
        yield _PlainLines()


class _PlainLines:
    """For logs: a stage's last step, and no more often than every tenth of it."""

    def __init__(self) -> None:
        self.tenth: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        tenth = 10 * done // max(total, 1)
        if self.tenth.get(stage) != tenth:
            self.tenth[stage] = tenth
            sys.stderr.write(f"{stage}: {done}/{total} {detail}".rstrip() + "\n")


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True)) as bars:

        def report(stage: str, done: int, total: int, detail: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, detail=detail)
            bars.update(tasks[stage], completed=done, total=total, detail=detail)

        yield report
