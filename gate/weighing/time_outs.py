"""How long a worker may take for an answer."""

from __future__ import annotations

LONGEST_TIMEOUT, SHORTEST_TIMEOUT = 60.0, 15.0
"""Seconds that one request to a worker may take; within them, the time limit of the whole weighing."""
SLOWEST_BYTES = 20e6
"""A second, that a model is read and prepared at: a large one is no hung one, and gets so much more time."""


def time_out(most_seconds: float, size: int) -> float:
    """Seconds that one request to a worker may take, where the largest model has `size` bytes."""
    return min(LONGEST_TIMEOUT, max(SHORTEST_TIMEOUT, most_seconds)) + size / SLOWEST_BYTES
