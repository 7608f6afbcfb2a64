"""What commands show on a terminal, in a log and to a pipe that is closed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weighbridge.cli import console

TABLE = "int8  fail  size\nfp16  pass  bypass fail-safe\ngate: m: Fail: int8"


class Screen:
    """Standard output, as a terminal or none."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_verdicts_have_colour_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole words; none in a log, nor where NO_COLOR says so."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Screen(terminal=True))
    painted = console.painted(TABLE)
    assert painted.count("\x1b[0m") == 3
    assert "bypass fail-safe" in painted
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.painted(TABLE) == TABLE
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys, "stdout", Screen(terminal=False))
    assert console.painted(TABLE) == TABLE


@pytest.mark.parametrize(("columns", "expected"), [("47", 47), ("", None), ("wide", None)])
def test_the_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch, columns: str, expected: int | None) -> None:
    """COLUMNS says it where there is no terminal; otherwise a log has no width."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stdout", Screen(terminal=False))
    assert console.width() == expected


@pytest.mark.parametrize("words", [["targets", "--json"], ["--version"], ["--help"]])
def test_a_closed_pipe_is_no_verdict(words: list[str]) -> None:
    """Neither 0 nor 1, and no complaint, however little was to be printed."""
    read, write = os.pipe()
    os.close(read)
    command = [str(Path(sys.executable).parent / "weighbridge"), *words]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
