"""The integer programme's points keep their bounds and do the least damage; costs that add up are exact."""

import itertools
import math

import numpy as np
import pytest

from weighbridge.search.estimate.sensitivity import Effect, divergence
from weighbridge.search.estimate.starts import solve, starting_points

EFFECTS = [
    Effect("width", 0.0, 0.0, 0.0, 0.0),
    Effect("width", 0.5, 0.4, math.log(0.3), math.log(0.5)),
    Effect("width", 0.75, 2.0, math.log(0.1), math.log(0.2)),
    Effect("form", "none", 0.0, 0.0, 0.0),
    Effect("form", "weight-int8", 0.01, math.log(0.26), 0.0),
    Effect("form", "share-3", 0.3, math.log(0.1), 0.0),
    Effect("form", "broken", math.inf, math.log(0.01), 0.0),
]


@pytest.mark.parametrize("bound", [0.5, 0.2, 0.09, 0.04])
def test_a_point_does_the_least_damage_within_its_bounds(bound: float) -> None:
    """Beside every combination, tried out."""
    finite = [item for item in EFFECTS if math.isfinite(item.damage)]
    widths, forms = ([item for item in finite if item.knob == knob] for knob in ("width", "form"))
    possible = [
        (a.damage + b.damage, a.value, b.value)
        for a, b in itertools.product(widths, forms)
        if a.bytes + b.bytes <= math.log(bound)
    ]
    _, width, form = min(possible)
    assert solve(finite, math.log(bound), math.inf) == {"width": width, "form": form}


def test_no_point_where_nothing_is_small_enough() -> None:
    """A bound below everything has no answer."""
    finite = [item for item in EFFECTS if math.isfinite(item.damage)]
    assert solve(finite, math.log(1e-4), math.inf) is None


def test_points_lie_along_the_front_and_leave_out_what_breaks_answers() -> None:
    """Each once; a choice whose answers are no numbers is in none."""
    points = starting_points(EFFECTS, size=True, time=True)
    assert len(points) >= 4
    assert len({tuple(sorted(point.items(), key=str)) for point in points}) == len(points)
    assert all(point["form"] != "broken" for point in points)


def test_points_that_are_both_small_and_fast_come_first() -> None:
    """A short search begins with what dominates most."""
    first, *_ = starting_points(EFFECTS, size=True, time=True)
    taken = [item for item in EFFECTS if (item.knob, item.value) in first.items()]
    assert sum(item.bytes for item in taken) <= math.log(0.1)
    assert sum(item.time for item in taken) <= math.log(0.5)


def test_where_time_alone_counts_points_go_down_to_the_least() -> None:
    """Five asked for, of which the space has three: each width that there is, the fastest first."""
    widths = [Effect("width", part, 10 * part, 0.0, math.log(1 - part)) for part in (0.0, 0.5, 0.7, 0.8)]
    points = starting_points(widths, size=False, time=True)
    assert [point["width"] for point in points] == [0.8, 0.7, 0.5]


def test_divergence_is_zero_for_the_same_answers_and_infinite_for_none() -> None:
    """In nats, against the textbook formula."""
    p, q = np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]])
    share = math.exp(2) / (1 + math.exp(2))
    expected = share * math.log(share / 0.5) + (1 - share) * math.log((1 - share) / 0.5)
    assert divergence(q, p) == pytest.approx(expected)
    assert divergence(p, p) == 0
    assert divergence(p * np.nan, p) == math.inf
