"""The lock of an open file, which the kernel gives back when the file is closed or its process dies."""

from __future__ import annotations

import fcntl
from typing import IO


def lock_taken(file: int | IO[str]) -> bool:
    """Take the lock of an open file unless another process holds it; whether it is held now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
