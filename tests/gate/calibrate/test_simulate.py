"""Gate runs made of numbers: the published error rates, and resampling of recorded launches."""

import numpy as np
import pytest

from weighbridge.core.documents import Verdict
from weighbridge.gate.calibrate.simulate import heavy_tailed, resample, run_gate, simulate
from weighbridge.gate.statistics import LOOKS


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_clear_case_stops_at_the_first_look() -> None:
    """Far within or far beyond one limit: ten pairs."""
    fast, slow = [-0.5 + 0.001 * index for index in range(54)], [0.5 + 0.001 * index for index in range(54)]
    assert run_gate([fast], [1.05]).pairs == LOOKS[0]
    assert run_gate([fast], [1.05]).whole is Verdict.PASS
    assert run_gate([slow], [1.05]).whole is Verdict.FAIL
    assert run_gate([fast, slow], [1.05, 1.05]).verdicts == (Verdict.PASS, Verdict.FAIL)


def test_too_few_pairs_decide_nothing() -> None:
    """Below the first look every budget stays open."""
    assert run_gate([[0.0] * 9], [1.05]).whole is Verdict.INCONCLUSIVE


def test_at_the_limit_hardly_any_run_fails() -> None:
    """Six budgets with a true value at their limits: at most 1 % of gate runs fail (heavy tails, 3 % spread)."""
    rates = simulate(150, heavy_tailed(1.05, 0.03), [1.05] * 6, generator())
    assert rates.failed <= 0.01 * 150 + 3 * np.sqrt(0.01 * 150)
    assert rates.inconclusive >= 0.95 * 150


def test_five_percent_beyond_the_limit_is_found() -> None:
    """At 3 % spread a 5 % excess fails in every run, after a few looks."""
    rates = simulate(100, heavy_tailed(1.05 * 1.05, 0.03), [1.05], generator())
    assert rates.failed >= 99
    assert rates.mean_pairs < 24


def test_five_percent_headroom_passes() -> None:
    """At 3 % spread a candidate with 5 % headroom passes."""
    assert simulate(100, heavy_tailed(1.05 / 1.05, 0.03), [1.05], generator()).passed >= 99


def test_too_much_noise_is_inconclusive_not_wrong() -> None:
    """At 15 % spread a 5 % excess is often open, and never passes."""
    rates = simulate(100, heavy_tailed(1.05 * 1.05, 0.15), [1.05], generator())
    assert rates.passed <= 5
    assert rates.inconclusive > 0


def test_looking_often_keeps_the_rate_of_false_passes() -> None:
    """A true value at the limit passes in at most 5 % of runs over all five looks."""
    rates = simulate(200, heavy_tailed(1.05, 0.03), [1.05], generator())
    assert rates.passed <= 0.05 * 200 + 3 * np.sqrt(0.05 * 200)


def test_recorded_launches_are_resampled_whole() -> None:
    """A drawn launch keeps its values of all metrics together, and none is drawn twice in a run."""
    recorded = np.array([np.arange(60.0), np.arange(60.0) + 100])
    simulated = resample((recorded / 1000).tolist(), 5, [1.05, 2.0], generator())
    assert len(simulated) == 5
    assert all(one.pairs in LOOKS for one in simulated)


def test_swapping_names_leaves_no_chance_offset() -> None:
    """Recorded launches that all lean one way fail as they are, and decide nothing once names are drawn by a coin."""
    leaning = [[0.01 + 0.0001 * index for index in range(60)]]
    plain = resample(leaning, 20, [1.0], generator())
    assert all(one.whole is Verdict.FAIL for one in plain)
    swapped = resample(leaning, 100, [1.0], generator(), swap=True)
    assert sum(one.whole is Verdict.FAIL for one in swapped) <= 2


def test_a_grain_hides_what_an_instrument_cannot_tell_apart() -> None:
    """An excess within the grain stays open however quiet the launches are; one beyond it fails."""
    quiet = [[0.002 + 1e-5 * index for index in range(-27, 27)]]
    assert run_gate(quiet, [1.0]).whole is Verdict.FAIL
    assert run_gate(quiet, [1.0], [0.0038]).whole is Verdict.INCONCLUSIVE
    assert run_gate(quiet, [0.99], [0.0038]).whole is Verdict.FAIL


def test_the_promise_is_kept_with_room_to_spare() -> None:
    """Budgets at their limits: no more than a fifth of the promised 1 % of runs fail, for one budget and for five."""
    for budgets in (1, 5):
        rates = simulate(400, heavy_tailed(1.05, 0.03), [1.05] * budgets, generator())
        assert rates.failed <= 0.002 * 400 + 3 * np.sqrt(0.002 * 400)


@pytest.mark.parametrize(
    ("recorded", "limits"), [([[0.0] * 53], [1.05]), ([[0.0] * 60], [1.05, 1.05]), ([[0.0] * 60, [0.0] * 60], [1.05])]
)
def test_records_that_cannot_make_a_gate_run_are_refused(recorded: list[list[float]], limits: list[float]) -> None:
    """Too few launches, or not one list per limit."""
    with pytest.raises(ValueError, match=r"recorded|one list"):
        resample(recorded, 1, limits, generator())
