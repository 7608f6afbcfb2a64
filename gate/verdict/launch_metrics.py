"""What is measured in launches: latency, throughput, cold start, memory, energy; tails and the device's fitness."""

from __future__ import annotations

import math

from weighbridge.core.documents import Budget, Comparison, Launches, Measurement
from weighbridge.core.formatting import percent, quantity
from weighbridge.gate.statistics.centre import SIGN, SIGNED_RANK
from weighbridge.gate.statistics.spread import launch_sd, two_modes
from weighbridge.gate.verdict.assessment import Assessed, Open, Settled
from weighbridge.gate.verdict.budget_tests import Answer, LaunchTest
from weighbridge.gate.verdict.reasons import Effort
from weighbridge.gate.verdict.validity import control_problems, launch_problems, unfit

TAIL_FLOOR = {"latency.p95": 90, "latency.p99": 459}
"""Observations per launch below which a tail percentile is no estimate.

So many with none over show the percentile with 99 % confidence: MLPerf Inference LoadGen's floors.
"""
TAIL_SD_AT_MOST = 0.10
"""Launch sd beyond which a relative tail percentile does not decide unless the budget says so itself."""
MEMORY_GRAIN = 64 * 4096.0
"""Bytes by which a peak may be off: Linux counts resident pages per core and sums them up by batches of 32 pages or
more (`percpu_counter_batch`; 64 pages per thread before version 6.2).

Identical processes here differ by 12 pages (one standard deviation), so that a few dozen launches would "show" a fifth
of that; FAIL means more than this beyond the limit.
"""
_TIMED = ("seconds", "per_second", "joules")


def timed_problems(budget: Budget, evidence: Launches, comparison: Comparison) -> list[str]:
    """What makes launches unusable for one budget."""
    problems = launch_problems(evidence)
    if budget.quantity.unit in _TIMED:
        problems += control_problems(comparison, len(evidence.candidate))
    if budget.metric in TAIL_FLOOR and evidence.samples == 0:
        problems.append("how many observations each launch rests on was not recorded")
    return problems


def assess_launches(budget: Budget, evidence: Launches, comparison: Comparison, measurement: Measurement) -> Assessed:
    """The test that launch pairs decide, or why there are too few observations in each."""
    pairs = len(evidence.candidate)
    floor = TAIL_FLOOR.get(budget.metric, 0)
    if evidence.samples < floor:
        reason = (
            f"Each launch made {evidence.samples} observations; {budget.quantity.title} needs at least {floor} "
            "to be an estimate at all. Measure longer per launch."
        )
        return Assessed(Settled.unresolved(reason), budget.required)
    timed = budget.quantity.unit in _TIMED
    sd = launch_sd(evidence.log_ratio)
    decides, advice = _tail_standing(budget, sd)
    if timed and not budget.relative and budget.device is None:
        name = measurement.device.device_class
        advice += (
            f"An absolute limit holds for one kind of machine; this one is {name!r}, and the budget names none.",
        )
    effort = Effort(measurement.protocol.elapsed_seconds / pairs, measurement.protocol.complete)
    assessment = Open(
        _launch_test(budget, evidence),
        "timed",
        _memory_basis if budget.metric == "memory.peak" else _pairs_basis,
        effort,
        unfit(comparison, budget.resolution) if timed else None,
        pairs,
    )
    return Assessed(
        assessment,
        budget.required and decides,
        _median(evidence.candidate),
        _median(evidence.reference),
        advice=advice,
        notes=_spread_notes(budget, evidence),
    )


def _launch_test(budget: Budget, evidence: Launches) -> LaunchTest:
    upper_limit = budget.rule.upper
    if budget.rule.scale == "drop":
        drops = [theirs - ours for ours, theirs in zip(evidence.candidate, evidence.reference, strict=True)]
        return LaunchTest(drops, budget.limit, upper_limit, SIGNED_RANK, logarithmic=False)
    limit = math.log(budget.limit) if budget.limit > 0 else -math.inf
    if budget.relative:
        grain = memory_grain(budget, _median(evidence.reference))
        return LaunchTest(evidence.log_ratio, limit, upper_limit, SIGNED_RANK, logarithmic=True, grain=grain)
    values = [math.log(value) for value in evidence.candidate]
    location = SIGN if budget.metric in TAIL_FLOOR else SIGNED_RANK
    grain = memory_grain(budget, 1.0)
    return LaunchTest(values, limit, upper_limit, location, logarithmic=True, grain=grain)


def memory_grain(budget: Budget, reference: float) -> float:
    """What a limit on memory is blurred by, as a log ratio; 0 for other metrics.

    `reference` is what the limit is a multiple of, in bytes: the reference's peak, or 1 for an absolute limit.
    """
    if budget.metric != "memory.peak" or budget.limit <= 0:
        return 0.0
    return math.log1p(MEMORY_GRAIN / (budget.limit * reference))


def _tail_standing(budget: Budget, sd: float) -> tuple[bool, tuple[str, ...]]:
    """Whether a budget may decide: relative tail percentiles of scattered launches do not, unless asked to."""
    if not budget.relative or budget.metric not in TAIL_FLOOR or sd < TAIL_SD_AT_MOST:
        return True, ()
    if "required" in budget.model_fields_set:
        return True, ()
    advice = (
        f"Advisory here: launches scatter by {percent(sd)}, and a relative tail percentile decides below "
        f"{percent(TAIL_SD_AT_MOST)} alone (write required: true to let it decide all the same)."
    )
    return False, (advice,)


def _spread_notes(budget: Budget, evidence: Launches) -> tuple[str, ...]:
    modes = two_modes(evidence.log_ratio)
    if modes is None or budget.metric == "memory.peak":
        return ()
    low, high = quantity(math.exp(modes.low), "ratio"), quantity(math.exp(modes.high), "ratio")
    note = (
        f"{budget.metric}: launches fall into two groups, at {low} and {high} ({modes.share_high:.0%} of them in the "
        "second), as they do where memory layout differs from launch to launch. More launches narrow the interval; "
        "more inferences per launch do not."
    )
    return (note,)


def _pairs_basis(answer: Answer) -> str:
    return f"{answer.pairs} launch pairs"


def _memory_basis(answer: Answer) -> str:
    grain = quantity(MEMORY_GRAIN, "bytes", 3)
    return f"{answer.pairs} launch pairs; the bound that fails allows for {grain} that the kernel's count may be off"


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
