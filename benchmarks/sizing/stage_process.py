"""A command as a process of its own: its seconds, and the memory that it and all its children had at once."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EVERY = 0.1
"""Seconds between two looks at the memory of all processes together."""


@dataclass(frozen=True)
class Spent:
    """What a command took."""

    seconds: float
    processor: float
    """Seconds of processor time, of all its processes: what other work on the machine does not change."""
    peak: int
    """Bytes that its largest process had resident, by the kernel's count; where that is no more than this process has,
    as seen every 0.1 s.
    """
    together: int
    """Bytes of all its processes at once, pages that several share counted once; looked at every 0.1 s."""

    def to_json(self) -> dict[str, Any]:
        """For the figures."""
        return asdict(self)


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    expected: Container[int] = (0,),
) -> Spent:
    """Run a command to its end; a `RuntimeError` with what it said where its exit code is not an expected one."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT, env=environment)
        largest, together, status, usage = 0, 0, 0, None
        while usage is None:
            done, status, found = os.wait4(process.pid, os.WNOHANG)
            if done:
                usage = found
            else:
                seen = resident(process.pid)
                largest, together = max(largest, seen[0]), max(together, seen[1])
                time.sleep(EVERY)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if process.returncode not in expected:
            text = said.read().decode(errors="replace").strip()
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{text[-3000:]}")
    # The kernel counts for a child what its parent had when it started it.
    own, peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, usage.ru_maxrss
    largest = largest if peak <= own else peak * 1024
    processor = usage.ru_utime + usage.ru_stime
    return Spent(round(time.perf_counter() - begin, 2), round(processor, 2), largest, together)


def resident(pid: int) -> tuple[int, int]:
    """Most bytes that one of a process and all below it had so far, and what they have together now, if they live."""
    largest = together = 0
    for one in (pid, *_below(pid)):
        try:
            largest = max(largest, _kilobytes(Path(f"/proc/{one}/status"), "VmHWM:") * 1024)
            together += _kilobytes(Path(f"/proc/{one}/smaps_rollup"), "Pss:") * 1024
        except OSError:  # ended meanwhile
            continue
    return largest, together


def _kilobytes(path: Path, key: str) -> int:
    lines = path.read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)


def _below(pid: int) -> list[int]:
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_below(int(child))]
    except OSError:
        pass
    return found
