"""The chart: the right front, everything inside the frame, shapes and words beside colours."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.registry.site.front_chart import HEIGHT, WIDTH, Point, chart, front
from weighbridge.registry.state.records import Estimate

KINDS = ["stable", "canary", "baseline", "quarantined", "deprecated", "other"]


def point(version: str, size: int, accuracy: float, kind: str = "other", spread: float = 0.0) -> Point:
    estimate = Estimate(value=accuracy, lower=accuracy - spread, upper=accuracy + spread, unit="fraction")
    return Point(version, size, estimate, kind, f"{version}: {size}")


POINTS = st.lists(
    st.builds(
        point,
        st.integers(1, 10**8).map("v{}".format),
        st.integers(1, 10**10),
        st.floats(0, 1),
        st.sampled_from(KINDS),
        st.floats(0, 0.1),
    ),
    min_size=1,
    max_size=30,
)


@given(POINTS)
def test_the_front_is_what_no_other_beats(points: list[Point]) -> None:
    """By definition: a point is on the front unless another is at least as small and as accurate, and better in one."""

    def beats(a: Point, b: Point) -> bool:
        better = a.size < b.size or a.accuracy.value > b.accuracy.value
        return a.size <= b.size and a.accuracy.value >= b.accuracy.value and better

    fit = [item for item in points if item.kind != "quarantined"]
    expected = {(item.size, item.accuracy.value) for item in fit if not any(beats(other, item) for other in fit)}
    assert {(item.size, item.accuracy.value) for item in front(points)} == expected


def test_a_quarantined_version_beats_nobody() -> None:
    """The best figures of a version that must not serve do not count."""
    points = [point("v1", 100, 0.9), point("v2", 10, 0.99, "quarantined")]
    assert [item.version for item in front(points)] == ["v1"]


@given(POINTS)
def test_every_mark_lies_within_the_frame(points: list[Point]) -> None:
    """Whatever the figures, nothing is drawn outside, and no coordinate is lost to a NaN."""
    drawn = chart(points, "accuracy.top1", "label")
    assert "nan" not in drawn
    assert "inf" not in drawn
    for name, limit in (("x", WIDTH), ("x1", WIDTH), ("x2", WIDTH), ("cx", WIDTH), ("y", HEIGHT), ("y1", HEIGHT),
                        ("y2", HEIGHT), ("cy", HEIGHT)):  # fmt: skip
        for value in re.findall(rf' {name}="([^"]*)"', drawn):
            assert -1 <= float(value) <= limit + 1


@pytest.mark.parametrize("points", [[point("v1", 5, 0.5)], [point("v1", 5, 0.5), point("v2", 5, 0.5)]])
def test_points_without_any_range_can_be_drawn(points: list[Point]) -> None:
    """One version, or two alike, have no range to scale by."""
    assert chart(points, "accuracy.top1", "label").count('class="mark') == len(points)


def test_a_mark_leads_to_its_version_and_says_what_it_is() -> None:
    """Title and link are there for pointer, keyboard and screen reader."""
    drawn = chart([point("v3", 10, 0.9, "stable")], "accuracy.top1", "All of <them>")
    assert 'role="group" aria-label="All of &lt;them&gt;"' in drawn
    assert '<a href="v3.html" class="mark stable"><title>v3: 10</title><circle' in drawn


def test_each_kind_has_a_shape_of_its_own() -> None:
    """Colour is never all that tells them apart."""
    shapes = set()
    for kind in ("stable", "canary", "baseline", "quarantined"):
        drawn = chart([point("v1", 10, 0.9, kind)], "accuracy.top1", "label")
        shapes.add(re.sub(r"[0-9.-]+", "#", re.search(r'class="mark [a-z]+"><title>[^<]*</title>(<[^>]*>)', drawn)[1]))
    assert len(shapes) == 4
