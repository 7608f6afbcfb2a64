"""How long a process is waited for: the time in which it could run, so that one held up from outside is no hung one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

PART = 1.0
"""Seconds at most between two looks at what the process does."""
IN_ALL = 20.0
"""Times the time-out after which even a process that is held up all the time is given up."""
_STOPPED = "tT"


class Patience:
    """What is left of a time-out. A process on a machine that others use may be stopped, or wait for a processor; the
    gate itself may be stopped with it. None of it is counted.
    """

    def __init__(self, seconds: float, process: int) -> None:
        self.left, self.process = seconds, process
        self.ends = time.monotonic() + IN_ALL * seconds
        self._waited: float | None = None

    def until(self, ready: Callable[[float], object]) -> bool:
        """Call `ready` with the seconds that it may wait, until it gives something true; False once none are left."""
        while self.left > 0 and (begin := time.monotonic()) < self.ends:
            part = min(PART, self.left)
            if ready(part):
                # An answer in driblets does not take longer than one at once.
                self.left -= min(part, time.monotonic() - begin)
                return True
            # However long the call took: what it took beyond `part`, the gate was held up itself.
            self.left -= max(0.0, part - self._held_up(part))
        return False

    def _held_up(self, part: float) -> float:
        """Seconds of the last part in which the process could not run."""
        if stopped(self.process):
            return part
        before, self._waited = self._waited, waited(self.process)
        return 0.0 if before is None or self._waited is None else self._waited - before


def stopped(process: int) -> bool:
    """Whether a process is stopped by a signal or a debugger; one that is gone is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in _STOPPED
    except OSError:
        return False


def waited(process: int) -> float | None:
    """Seconds that a process's main thread could run and got no processor; None where the kernel does not say."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None
