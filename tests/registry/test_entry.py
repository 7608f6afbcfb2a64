"""The short way from a name to a version says the same as the command line, or nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.registry.project import MODEL
from weighbridge.cli.registry import app
from weighbridge.entry import quick_answer
from weighbridge.registry.lifecycle.operate import Operator

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("arguments", [[MODEL], [f"{MODEL}@v1", "--json"], ["--json", f"{MODEL}@baseline"]])
def test_the_short_way_says_what_the_command_says(
    promoted: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Byte for byte, as text and as JSON."""
    monkeypatch.chdir(promoted)
    assert quick_answer(["registry", "resolve", *arguments]) == CliRunner().invoke(app, ["resolve", *arguments]).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["registry", "list"],
        ["registry", "resolve"],
        ["registry", "resolve", "--help"],
        ["registry", "resolve", MODEL, "--root", "."],
        ["registry", "resolve", "other@stable"],
        ["registry", "resolve", f"{MODEL}@canary"],
        ["weigh", "resolve", MODEL],
    ],
)
def test_all_else_is_left_to_the_command_line(
    promoted: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Help, options, errors and other commands."""
    monkeypatch.chdir(promoted)
    assert quick_answer(arguments) is None


def test_what_needs_a_warning_is_left_to_the_command_line(promoted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarantined or deprecated version is never named without saying so."""
    Operator(promoted, MODEL).roll_back(reason="wrong")
    Operator(promoted, MODEL).deprecate("b1", reason="old")
    monkeypatch.chdir(promoted)
    assert quick_answer(["registry", "resolve", f"{MODEL}@v2"]) is None
    assert quick_answer(["registry", "resolve", f"{MODEL}@baseline"]) is None
    assert quick_answer(["registry", "resolve", MODEL])


def test_the_short_way_imports_little(promoted: Path) -> None:
    """Neither typer nor pydantic: they take longer than the answer."""
    code = (
        "import sys; from weighbridge.entry import quick_answer;"
        f"assert quick_answer(['registry', 'resolve', {MODEL!r}]);"
        "print(sorted({'typer', 'pydantic', 'rich', 'dvc'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=promoted, capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def test_errors_keep_their_code_and_form(promoted: Path) -> None:
    """Through the whole program: one line on standard error, code 2, nothing on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "weighbridge", "registry", "resolve", f"{MODEL}@v99"],
        cwd=promoted,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("weighbridge: error: ")
    assert "no version v99" in done.stderr


LEAVING = """
import atexit, os, sys, threading
from weighbridge import entry
class Late:
    def __del__(self):
        os.write(1, b"taken apart ")
kept = Late()
atexit.register(os.write, 1, b"registered ")
held = threading.Event()
if sys.argv[1] == "thread":
    threading.Thread(target=lambda: held.wait(0.2) or os.write(1, b"waited ")).start()
print("said")
entry.leave_at_once(3)
print("went on")
"""


@pytest.mark.parametrize(
    ("thread", "code", "said"),
    [("none", 3, ["said", "registered"]), ("thread", 0, ["said", "went", "on", "registered", "waited", "taken apart"])],
)
def test_leaving_at_once_writes_what_was_said(thread: str, code: int, said: list[str]) -> None:
    """Output and what was registered for the end are kept; a thread that is to be waited for is."""
    done = subprocess.run(
        [sys.executable, "-c", LEAVING, thread],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert done.returncode == code
    assert sorted(done.stdout.split()) == sorted(" ".join(said).split())
