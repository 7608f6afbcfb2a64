import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure import pairing
from weighbridge.gate.measure.pairing import Round

SECONDS = st.lists(st.floats(1e-6, 1e-2), min_size=1, max_size=6).map(np.array)
ROUNDS = st.lists(
    st.builds(lambda a, b, hit: Round({"a": a, "b": b}, disturbed=hit), SECONDS, SECONDS, st.booleans()),
    min_size=1,
    max_size=12,
)


@given(ROUNDS)
def test_swapping_the_roles_turns_the_sign(rounds: list[Round]) -> None:
    """log(a / b) = - log(b / a), for an odd number of rounds exactly and for an even one too."""
    assert pairing.log_ratio(rounds, "a", "b") == pytest.approx(-pairing.log_ratio(rounds, "b", "a"), abs=1e-9)


@given(ROUNDS, st.floats(0.5, 2.0))
def test_a_slower_candidate_moves_the_ratio_by_as_much(rounds: list[Round], factor: float) -> None:
    """Times of one role times f add log f."""
    slower = [Round({"a": item.seconds["a"] * factor, "b": item.seconds["b"]}, item.disturbed) for item in rounds]
    expected = pairing.log_ratio(rounds, "a", "b") + math.log(factor)
    assert pairing.log_ratio(slower, "a", "b") == pytest.approx(expected, abs=1e-9)


def test_disturbed_rounds_are_dropped_for_all_roles_alike() -> None:
    """What was stolen is never decided by looking at whom it hurt."""
    calm = Round({"a": np.array([1.0]), "b": np.array([1.0])}, disturbed=False)
    hurt = Round({"a": np.array([9.0]), "b": np.array([1.0])}, disturbed=True)
    assert pairing.kept([calm, hurt, calm]) == [calm, calm]
    assert pairing.dropped([calm, hurt, calm, calm]) == 0.25


def test_a_launch_without_calm_keeps_all_its_rounds() -> None:
    """The share dropped then says that nothing can be judged; no launch is left out for its times."""
    hurt = Round({"a": np.array([9.0]), "b": np.array([1.0])}, disturbed=True)
    assert pairing.kept([hurt, hurt]) == [hurt, hurt]
    assert pairing.dropped([hurt, hurt]) == 1.0


@pytest.mark.parametrize(("calm", "left"), [(50, 50), (49, 100)])
def test_half_of_the_rounds_must_be_calm(calm: int, left: int) -> None:
    """From half on the calm rounds speak for the launch; below, all are kept."""
    values = {"a": np.array([1.0]), "b": np.array([1.0])}
    rounds = [Round(values, disturbed=index >= calm) for index in range(100)]
    assert len(pairing.kept(rounds)) == left


def test_quantiles_are_observed_values() -> None:
    """The smallest observation with at least that share at or below it."""
    rounds = [Round({"a": np.arange(1.0, 101.0)}, disturbed=False)]
    assert pairing.quantile(rounds, "a", 0.95) == 95.0
    assert pairing.quantile(rounds, "a", 0.99) == 99.0
    assert pairing.samples(rounds, "a") == 100


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([10, -5, 10], "went backwards"),
        ([10, 0, 10], "went backwards"),
        ([10, 10, 5_000], "jumped"),
        ([600, 600, 600], "jumped"),
        ([2**62, 2**62, 2**62], "jumped"),
        ([10, 10], "2 durations instead of 3"),
    ],
)
def test_a_clock_that_jumps_is_seen(times: list[int], said: str) -> None:
    """Negative and zero durations, and more time than passed for the one who asked."""
    with pytest.raises(MeasurementError, match=said):
        pairing.seconds_of(np.array(times, np.int64), 3, 1_000, "candidate")


def test_good_durations_become_seconds() -> None:
    """Nanoseconds in, seconds out."""
    assert pairing.seconds_of(np.array([1, 2, 3]), 3, 1_000, "candidate").tolist() == [1e-9, 2e-9, 3e-9]
