"""How long processes take, by the wall and by the processor, and the rows that say so."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "weighbridge", "registry")
Row = dict[str, Any]


class Seconds(float):
    """Wall time of a process, and the processor time that it and its children used: the latter barely depends on
    what else the machine does.
    """

    cpu: float


def timed(command: Sequence[str], where: Path) -> Seconds:
    """How long a process takes; one that fails ends the benchmark."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    seconds, after = Seconds(time.perf_counter() - begin), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return seconds


def median(times: Sequence[Seconds]) -> Seconds:
    """The medians of wall and of processor time."""
    middle = Seconds(statistics.median(times))
    middle.cpu = statistics.median(item.cpu for item in times)
    return middle


def quotient(one: Seconds, other: Seconds) -> Seconds:
    """How many times `other` is in `one`, by the wall and by the processor."""
    result = Seconds(one / other)
    result.cpu = one.cpu / other.cpu
    return result


def row(name: str, value: float, unit: str, bar: str = "", *, met: bool | None = None) -> Row:
    """One figure, with the bar that it has to keep."""
    return {"name": name, "value": value, "cpu": getattr(value, "cpu", None), "unit": unit, "bar": bar, "met": met}
