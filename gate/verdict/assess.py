"""From one budget and a measurement to a settled answer or an open test for the statistics.

Here stands what each kind of evidence means for each kind of limit, and every reason not to judge at all.
"""

from __future__ import annotations

from weighbridge.core.documents import (
    Absent,
    Budget,
    Comparison,
    Evidence,
    Exact,
    Launches,
    Measurement,
    Proportions,
    Resampled,
)
from weighbridge.gate.verdict.assessment import Assessed, Settled
from weighbridge.gate.verdict.budget_tests import Fact
from weighbridge.gate.verdict.launch_metrics import assess_launches, timed_problems
from weighbridge.gate.verdict.quality import assess_proportions, assess_resampled
from weighbridge.gate.verdict.reasons import fact
from weighbridge.gate.verdict.validity import exact_problems, proportion_problems, resampled_problems, slice_problems

Known = Exact | Launches | Proportions | Resampled
_KINDS: dict[str, tuple[type[Known], ...]] = {
    "exact": (Exact,),
    "launches": (Launches,),
    "examples": (Proportions, Resampled),
}


def assess(budget: Budget, measurement: Measurement) -> Assessed:
    """What the evidence lets us ask about one budget."""
    comparison = _comparison(budget, measurement)
    if isinstance(comparison, str):
        return Assessed(Settled.error(comparison), budget.required)
    if _identical(budget, measurement, comparison):
        return _same_bytes(budget)
    evidence = _usable(budget, comparison, measurement)
    if isinstance(evidence, Settled):
        return Assessed(evidence, budget.required)
    return _ask(budget, evidence, comparison, measurement)


def _ask(budget: Budget, evidence: Known, comparison: Comparison, measurement: Measurement) -> Assessed:
    match evidence:
        case Exact():
            return _exact(budget, evidence)
        case Launches():
            return assess_launches(budget, evidence, comparison, measurement)
        case Resampled():
            return assess_resampled(budget, evidence)
        case Proportions():
            return assess_proportions(budget, evidence, comparison)


def _usable(budget: Budget, comparison: Comparison, measurement: Measurement) -> Known | Settled:
    """The evidence that a budget rests on, or the error that says why it cannot be used."""
    evidence = _evidence(budget, comparison)
    if evidence is None:
        return Settled.not_measured(budget.metric)
    if isinstance(evidence, Absent):
        return Settled.error(f"Could not be measured: {evidence.reason.rstrip('.')}.")
    problems = _problems(evidence, comparison, measurement, budget)
    if problems:
        return Settled.error(f"The evidence on {budget.metric} cannot be used: {'; '.join(problems)}.")
    return evidence


def _comparison(budget: Budget, measurement: Measurement) -> Comparison | str:
    """The comparison that a budget rests on, or why there is none."""
    against = budget.against if budget.relative else "baseline"
    found = next((item for item in measurement.comparisons if item.against == against), None)
    if found is not None:
        return found
    reason = measurement.missing.get(against, "it was not measured")
    what = "no stable model to compare with" if against == "stable" else "no baseline to compare with"
    return f"There is {what}: {reason}."


def _identical(budget: Budget, measurement: Measurement, comparison: Comparison) -> bool:
    """The same bytes behave alike: what is relative to them needs no measuring."""
    relative = budget.relative or budget.metric == "accuracy.flips"
    return relative and measurement.candidate.digest == comparison.reference.digest


def _same_bytes(budget: Budget) -> Assessed:
    answer = Fact(budget.rule.unchanged, budget.limit, budget.rule.upper).answer()
    reason = fact(budget, answer, on="the two files are identical, byte for byte")
    return Assessed(Settled(answer, reason), budget.required, mode="exact")


def _evidence(budget: Budget, comparison: Comparison) -> Evidence | None:
    found = comparison.metrics.get(budget.metric)
    whole = comparison.metrics.get("accuracy.top1")
    if budget.metric == "accuracy.worst_slice" and isinstance(whole, Resampled):
        return Absent(reason="the worst slice is not judged where examples belong to groups")
    if found is None and budget.metric in ("accuracy.flips", "accuracy.worst_slice"):
        # Flips are a count within top-1's, and the worst slice rests on `slices`.
        return comparison.metrics.get("accuracy.top1")
    return found


def _problems(evidence: Known, comparison: Comparison, measurement: Measurement, budget: Budget) -> list[str]:
    if not isinstance(evidence, _KINDS[budget.quantity.kind]):
        return [f"it is of the kind {evidence.kind!r}"]
    match evidence:
        case Exact():
            return exact_problems(evidence)
        case Resampled():
            return resampled_problems(evidence, measurement.examples)
        case Proportions():
            problems = proportion_problems(evidence, measurement.examples)
            if budget.metric == "accuracy.worst_slice":
                problems += slice_problems(comparison)
            return problems
        case Launches():
            return timed_problems(budget, evidence, comparison)


def _exact(budget: Budget, evidence: Exact) -> Assessed:
    value = budget.rule.measure(evidence.candidate, evidence.reference)
    if value is None:
        return Assessed(Settled.error(f"The reference's {budget.quantity.title} is zero."), budget.required)
    answer = Fact(value, budget.limit, budget.rule.upper).answer()
    return Assessed(
        Settled(answer, fact(budget, answer, on="exact: a fact of the file")),
        budget.required,
        evidence.candidate,
        evidence.reference,
        mode="exact",
    )
