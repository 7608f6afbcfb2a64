"""A trial goes by what it is expected to lose, where earlier files show what cross-entropy costs."""

from dataclasses import replace

import numpy as np
import pytest

from tests.search.trials.test_side_by_side import shop
from weighbridge.search.trials.trial import REACH, Outcome, Rung, Workshop

LUCK, SLOPE = -0.008, 0.4
"""Every file seems to lose less than it does."""


def rung(extra: float | None, drop: float, epochs: int = 3) -> Rung:
    """A rung that lost so much, give or take a point."""
    return Rung(epochs, f"sha256:{extra}", 10, drop, drop - 0.01, drop + 0.01, 0.0, extra)


@pytest.fixture(scope="module")
def opened_once(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A workshop of a small project."""
    return shop(tmp_path_factory.mktemp("project"))


@pytest.fixture
def lucky(opened_once: Workshop) -> Workshop:
    """A workshop whose earlier files all had the same luck."""
    workshop = replace(opened_once, limit=0.01, budgets=[])
    noise = 0.001 * np.random.default_rng(1).standard_normal(20)
    rungs = [
        rung(extra, LUCK + SLOPE * extra + more) for extra, more in zip(np.linspace(0, 0.1, 20), noise, strict=True)
    ]
    workshop.earlier = [Outcome(workshop.space.point({"form": "share-2"}), rungs)]
    return workshop


def test_the_luck_that_all_share_is_not_believed(lucky: Workshop) -> None:
    """It lost nothing where trials stop, and will lose more than the limit."""
    outcome = Outcome(lucky.space.point({"form": "share-1"}), [rung(0.04, 0.0)], lucky.base_sizes)
    expected = lucky.expected(outcome)
    assert expected.drop == pytest.approx(0.016, abs=0.002)
    assert lucky.constraint(outcome) > 0
    assert lucky.known(outcome)["accuracy.top1"] == pytest.approx(lucky.base_top1 - expected.drop)
    lucky.earlier = []
    assert lucky.expected(outcome).drop == 0
    assert REACH * lucky.expected(outcome).spread == pytest.approx(0.01)


def test_where_cross_entropy_tells_nothing_the_drop_counts(lucky: Workshop) -> None:
    """Answers that are values, and drops far beyond the limit."""
    for last in (rung(None, 0.005), rung(2.0, 0.5)):
        assert lucky.expected(Outcome(lucky.space.point({}), [last])).drop == last.drop


def test_training_ends_where_the_limit_is_surely_kept_as_expected(lucky: Workshop) -> None:
    """Not where luck alone says so, and also where bad luck says otherwise."""
    lucky.space = replace(lucky.space, section=lucky.space.section.model_copy(update={"epochs": 5}))
    sizes = lucky.base_sizes.model_copy(update={"bytes": 10})
    for extra, drop, rungs in ((0.04, -0.002, [0, 3, 5]), (0.005, 0.004, [0, 3])):
        made = {0: rung(1.0, 0.5, 0), 3: rung(extra, drop, 3), 5: rung(extra, drop, 5)}
        lucky.make = lambda _, epochs, made=made: (made[epochs], sizes)
        outcome = lucky.grow(lucky.start(lucky.space.point({"form": "share-1"})))
        assert [one.epochs for one in outcome.rungs] == rungs


def test_a_sampler_is_told_finely_what_is_near_the_limit_and_coarsely_what_is_far(lucky: Workshop) -> None:
    """Three points beside none are far apart, and 70 beside 20 are not: a model of it is scaled by the worst."""
    lucky.earlier, point = [], lucky.space.point({"form": "share-1"})
    told = [
        lucky.constraint(Outcome(point, [rung(None, drop)], lucky.base_sizes)) for drop in (0.0, 0.01, 0.03, 0.2, 0.7)
    ]
    assert told == sorted(told)
    assert told[1] == 0
    assert told[2] - told[0] > 3 * (told[4] - told[3])
    assert -1 < told[0] < 0 < told[4] < 1
