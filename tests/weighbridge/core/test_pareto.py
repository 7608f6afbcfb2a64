"""The front is what no other beats, by definition, whatever the number of coordinates."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.pareto import front, hypervolume

POINTS = st.integers(1, 3).flatmap(lambda size: st.lists(st.tuples(*[st.integers(0, 5)] * size), max_size=25))


@given(POINTS)
def test_the_front_is_what_no_other_beats(points: list[tuple[Any, ...]]) -> None:
    """At least as small in each coordinate and smaller in one beats; order and equals are kept."""

    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a != b and all(left <= right for left, right in zip(a, b, strict=True))

    assert front(points, tuple) == [point for point in points if not any(beats(other, point) for other in points)]


def test_what_is_better_when_larger_is_negated() -> None:
    """Of size and accuracy the line only rises: what is larger and no better is off it."""
    places = [(100.0, 90.0), (30.0, 88.0), (50.0, 87.0), (30.0, 89.0), (70.0, 89.0), (120.0, 91.0)]
    assert sorted(front(places, lambda place: (place[0], -place[1]))) == [(30.0, 89.0), (100.0, 90.0), (120.0, 91.0)]


def test_hypervolume_is_the_area_that_points_dominate() -> None:
    """Overlaps count once; what is dominated, or not better than the reference in both, counts nothing."""
    assert hypervolume([]) == 0
    assert hypervolume([(2.0, 1.0), (1.0, 3.0)]) == 2 + 2
    assert hypervolume([(2.0, 1.0), (1.0, 3.0), (1.0, 1.0), (5.0, 0.0), (-1.0, 9.0)]) == 4
