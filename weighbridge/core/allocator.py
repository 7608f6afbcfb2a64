"""Giving large blocks back to the system when they are freed."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
"""Of `mallopt` (malloc.h of glibc)."""
THRESHOLD = 1 << 18


def return_large_blocks() -> bool:
    """Let glibc map every block of a quarter megabyte and more by itself; False where the C library has no such switch.

    Left alone, it raises that limit to 32 MB with the first large block that is freed, and keeps what is freed later:
    a process that copies a model's weights a few times then has all the copies to its end.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, THRESHOLD))
    except (OSError, AttributeError):
        return False
