"""The Pareto front: what nothing else beats in every respect at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def front(items: Sequence[T], place: Callable[[T], tuple[float, ...]]) -> list[T]:
    """Items, in their order, such that no other is at least as small in every coordinate and smaller in one.

    Negate what is better when larger. Items at one place stand or fall together.
    """
    found: list[tuple[float, ...]] = []
    for point in sorted({place(item) for item in items}):  # who beats a point comes before it in this order
        if not any(all(theirs <= ours for theirs, ours in zip(other, point, strict=True)) for other in found):
            found.append(point)
    kept = set(found)
    return [item for item in items if place(item) in kept]


def hypervolume(points: Sequence[tuple[float, float]]) -> float:
    """Area above (0, 0) that points dominate; both coordinates are better when larger, and count nothing up to 0."""
    total, height = 0.0, 0.0
    for across, up in sorted(((x, y) for x, y in points if x > 0 and y > 0), reverse=True):
        if up > height:
            total += across * (up - height)
            height = up
    return total
