"""Where the program starts: the command line, and a short way for the one question that deployments ask all day.

`weighbridge registry resolve MODEL@CHANNEL` needs neither typer nor pydantic, whose import takes longer than the
answer. Only a plain question that has an answer goes the short way; help, errors and all else go through
`weighbridge.cli`, which is the one place that parses, complains and exits.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from weighbridge.core.errors import CLOSED_PIPE, WeighbridgeError

COLLECT_AFTER = 100_000
"""New objects after which cycles are collected, instead of Python's 700.

Importing torch and exporting a model make millions of objects that stay: going over them hundreds of times costs a
short recipe processor time and frees next to nothing. `benchmarks/compress.py` prints what a recipe takes beside the
bare library calls.
"""
LEFT_AT_ONCE = ("explain",)
"""Commands that only print, after which Python is not taken apart: once torch was imported, that takes 1.4 s."""


def main() -> None:
    """Answer at once, or run the command line."""
    answer = quick_answer(sys.argv[1:])
    if answer is not None:
        try:
            sys.stdout.write(answer)
            sys.stdout.flush()
        except BrokenPipeError:
            os._exit(CLOSED_PIPE)  # nothing is open, and a flush at exit would complain
        return
    gc.set_threshold(COLLECT_AFTER)
    from weighbridge.cli import main as command_line  # noqa: PLC0415  # what the short way avoids

    try:
        command_line()
    except SystemExit as end:
        if sys.argv[1:2] and sys.argv[1] in LEFT_AT_ONCE and isinstance(end.code, int | None):
            leave_at_once(end.code or 0)
        raise


def leave_at_once(code: int) -> None:
    """End the process with its output written and what was registered for its end done; nothing where a thread that
    the process has to wait for is alive.
    """
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        return
    atexit._run_exitfuncs()  # noqa: SLF001  # what the interpreter itself calls; there is no public name
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def quick_answer(arguments: Sequence[str]) -> str | None:
    """What `registry resolve SPEC [--json]` prints; None where the command line has to look at it."""
    if tuple(arguments[:2]) != ("registry", "resolve"):
        return None
    words = [word for word in arguments[2:] if word != "--json"]
    if len(words) != 1 or words[0].startswith("-"):
        return None
    from weighbridge.registry.lookup.resolve import resolve  # noqa: PLC0415  # nothing of it is needed by other commands

    try:
        found = resolve(Path(), words[0])
    except WeighbridgeError:
        return None
    if found.quarantined or found.deprecated is not None:
        return None
    return found.json_text() if "--json" in arguments else found.line()
