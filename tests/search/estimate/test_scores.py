"""What a recipe loses: exact counts for classes, paired differences for values, no number for NaN."""

import numpy as np
import pytest

from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split
from weighbridge.gate.statistics.proportions import Pairs, tango_interval
from weighbridge.search.estimate.scores import loss, scores

X = {"x": np.zeros((4, 1), np.float32)}


def test_classes_are_right_or_wrong() -> None:
    """The largest entry decides."""
    found = scores([np.eye(4, dtype=np.float32)], Split(X, np.array([0, 1, 2, 0])))
    assert found.tolist() == [1, 1, 1, 0]


def test_values_are_scored_by_their_squared_error() -> None:
    """Higher is better, so it is negative."""
    found = scores([np.array([[1.0], [2.0], [3.0], [4.0]])], Split(X, np.array([1.0, 2.0, 3.0, 2.0])))
    assert found.tolist() == [0, 0, 0, -4]


def test_no_number_is_no_score() -> None:
    """NaN ends the trial."""
    with pytest.raises(InvariantError, match="NaN"):
        scores([np.full((4, 4), np.nan)], Split(X, np.arange(4)))


def test_what_is_neither_classes_nor_values_is_refused() -> None:
    """With both shapes."""
    with pytest.raises(InputError, match="classes or values"):
        scores([np.zeros((4, 3))], Split(X, np.zeros((4, 2))))


def test_the_interval_of_classes_is_tangos() -> None:
    """And flips are those right before and wrong now."""
    before, now = np.array([1.0] * 90 + [0.0] * 10), np.array([1.0] * 80 + [0.0] * 10 + [1.0] * 5 + [0.0] * 5)
    found = loss(before, now, 0.02)
    assert (found.lower, found.upper) == tango_interval(Pairs(80, 10, 5, 5), 0.05, 0.05)
    assert (found.drop, found.flips) == (pytest.approx(0.05), pytest.approx(0.1))


def test_nothing_lost_of_many_is_surely_below_the_limit() -> None:
    """The p-value of having lost the limit falls with the examples."""
    rng = np.random.default_rng(0)
    few, many = (rng.random(count) < 0.9 for count in (50, 5000))
    small, large = (loss(one.astype(float), one.astype(float), 0.02).p_drop for one in (few, many))
    assert large < 0.01 < small
