"""What a process of the gate may take, what it took, and what it waited for.

Standard library alone: it runs on devices.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

MAX_FILE = 1 << 28
"""Bytes of any one file that a worker writes: all that it prints is one."""
MEMORY_VARIABLE = "WEIGHBRIDGE_WORKER_MEMORY"
PR_SET_PDEATHSIG = 1
TASKS = "/proc/self/task"


def peak_memory() -> int:
    """Peak resident bytes of this process since it was started (`VmHWM`); 0 where the kernel does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def run_delay() -> int | None:
    """Nanoseconds that this process's threads were ready to run and had no core (`schedstat`); None without it."""
    try:
        # Read before and after each burst of a millisecond: paths and globs would take a third of one.
        return sum(int(_read(f"{TASKS}/{thread}/schedstat").split()[1]) for thread in os.listdir(TASKS))  # noqa: PTH208
    except (OSError, ValueError, IndexError):
        return None


def first_to_die() -> None:
    """Die with the parent, and be the kernel's first choice when memory runs out."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        Path("/proc/self/oom_score_adj").write_text("1000")
    except (OSError, AttributeError):
        return  # not Linux: the end of the input stream ends this process all the same


def limit_resources() -> None:
    """Bound what a hostile model or a user's code can take: memory, and the bytes of any one file (printing included).

    Memory is limited to `WEIGHBRIDGE_WORKER_MEMORY` bytes, or three quarters of the machine's. It is counted as private
    writable memory: with threads' stacks and reserves that nobody touches, without weights that are mapped.
    """
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = int(os.environ.get(MEMORY_VARIABLE) or pages * 3 // 4)
    for kind, wanted in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, MAX_FILE)):
        hard = resource.getrlimit(kind)[1]
        least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (least, least))


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # quick
        return file.read()
