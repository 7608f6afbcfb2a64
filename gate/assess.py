"""From one budget and a measurement to a settled answer or an open question for the statistics.

Here stands what each kind of evidence means for each kind of limit, and every reason not to judge at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gate.questions import (
    Answer,
    Fact,
    LaunchQuestion,
    PairedQuestion,
    Question,
    ResampledQuestion,
    SliceQuestion,
)
from gate.reasons import Effort, fact
from gate.statistics.location import SIGN, SIGNED_RANK
from gate.statistics.planning import examples_needed
from gate.statistics.proportions import Pairs, mcnemar_p
from gate.statistics.spread import launch_sd, two_modes
from gate.validity import (
    Unfit,
    control_problems,
    exact_problems,
    launch_problems,
    proportion_problems,
    resampled_problems,
    slice_problems,
    unfit,
)
from gate.wording import percent, quantity
from weighbridge.documents import (
    Absent,
    Budget,
    Comparison,
    Evidence,
    Exact,
    Launches,
    Measurement,
    Proportions,
    Resampled,
    Verdict,
)

NOT_MEASURED = "Not measured"
TAIL_FLOOR = {"latency.p95": 90, "latency.p99": 459}
"""Observations per launch below which a tail percentile is no estimate.

So many with none over show the percentile with 99 % confidence: MLPerf Inference LoadGen's floors.
"""
TAIL_SD_AT_MOST = 0.10
"""Launch sd beyond which a relative tail percentile does not decide unless the budget says so itself."""
_TIMED = ("seconds", "per_second", "joules")
Known = Exact | Launches | Proportions | Resampled
_KINDS: dict[str, tuple[type[Known], ...]] = {
    "exact": (Exact,),
    "launches": (Launches,),
    "examples": (Proportions, Resampled),
}


@dataclass(frozen=True)
class Settled:
    """An answer that needs no statistics, or an error."""

    answer: Answer
    reason: str

    @classmethod
    def error(cls, reason: str) -> Settled:
        """Could not be measured or computed."""
        return cls(Answer(math.nan, -math.inf, math.inf, Verdict.ERROR), reason)

    @classmethod
    def unresolved(cls, reason: str, next_look: int | None = None) -> Settled:
        """Measured, but too little of it to ask."""
        return cls(Answer(math.nan, -math.inf, math.inf, Verdict.INCONCLUSIVE, next_look=next_look), reason)


@dataclass(frozen=True)
class Open:
    """A question, and what its reason will say."""

    question: Question
    family: Literal["timed", "examples"]
    """Budgets of one family share its error rate."""
    basis: Callable[[Answer], str]
    effort: Effort | None = None
    unfit: Unfit | None = None
    pairs: int = 0
    """Launch pairs taken."""
    outlook: str = ""
    """What a decision would take, for evidence that is not measured in launches."""


@dataclass(frozen=True)
class Assessed:
    """One budget, ready to be decided."""

    outcome: Settled | Open
    required: bool
    candidate: float | None = None
    """The metric's own value, in its base unit."""
    reference: float | None = None
    mode: str = "population"
    advice: tuple[str, ...] = ()
    """Sentences that follow the reason."""
    notes: tuple[str, ...] = field(default=())
    """Remarks on the evidence, whatever the verdict."""


def assess(budget: Budget, measurement: Measurement) -> Assessed:
    """What the evidence lets us ask about one budget."""
    comparison = _comparison(budget, measurement)
    if isinstance(comparison, str):
        return Assessed(Settled.error(comparison), budget.required)
    if _identical(budget, measurement, comparison):
        return _same_bytes(budget)
    evidence = _usable(budget, comparison, measurement)
    if isinstance(evidence, str):
        return Assessed(Settled.error(evidence), budget.required)
    return _ask(budget, evidence, comparison, measurement)


def _ask(budget: Budget, evidence: Known, comparison: Comparison, measurement: Measurement) -> Assessed:
    match evidence:
        case Exact():
            return _exact(budget, evidence)
        case Launches():
            return _launches(budget, evidence, comparison, measurement)
        case Resampled():
            return _resampled(budget, evidence)
        case Proportions():
            return _proportions(budget, evidence, comparison)


def _usable(budget: Budget, comparison: Comparison, measurement: Measurement) -> Known | str:
    """The evidence that a budget rests on, or the sentence that says why it cannot be used."""
    evidence = _evidence(budget, comparison)
    if evidence is None:
        return f"{NOT_MEASURED}: the measurement holds nothing on {budget.metric}."
    if isinstance(evidence, Absent):
        return f"Could not be measured: {evidence.reason.rstrip('.')}."
    problems = _problems(evidence, comparison, measurement, budget)
    return f"The evidence on {budget.metric} cannot be used: {'; '.join(problems)}." if problems else evidence


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
    value = 1.0 if budget.rule.endswith("ratio") else 0.0
    answer = Fact(value, budget.limit, budget.rule.startswith("max")).answer()
    reason = fact(budget, answer, on="the two files are identical, byte for byte")
    return Assessed(Settled(answer, reason), budget.required, mode="exact")


def _evidence(budget: Budget, comparison: Comparison) -> Evidence | None:
    found = comparison.metrics.get(budget.metric)
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
            problems = launch_problems(evidence)
            if budget.quantity.unit in _TIMED:
                problems += control_problems(comparison, len(evidence.candidate))
            if budget.metric in TAIL_FLOOR and evidence.samples == 0:
                problems.append("how many observations each launch rests on was not recorded")
            return problems


def _exact(budget: Budget, evidence: Exact) -> Assessed:
    value = _on_scale(budget, evidence.candidate, evidence.reference)
    if value is None:
        return Assessed(Settled.error(f"The reference's {budget.quantity.title} is zero."), budget.required)
    answer = Fact(value, budget.limit, budget.rule.startswith("max")).answer()
    return Assessed(
        Settled(answer, fact(budget, answer, on="exact: a fact of the file")),
        budget.required,
        evidence.candidate,
        evidence.reference,
        mode="exact",
    )


def _on_scale(budget: Budget, candidate: float, reference: float) -> float | None:
    if budget.rule == "max_drop":
        return reference - candidate
    if budget.relative:
        return candidate / reference if reference > 0 else None
    return candidate


def _launches(budget: Budget, evidence: Launches, comparison: Comparison, measurement: Measurement) -> Assessed:
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
    outcome = Open(
        _launch_question(budget, evidence),
        "timed",
        _pairs_basis,
        effort,
        unfit(comparison, budget.resolution) if timed else None,
        pairs,
    )
    return Assessed(
        outcome,
        budget.required and decides,
        _median(evidence.candidate),
        _median(evidence.reference),
        advice=advice,
        notes=_spread_notes(budget, evidence),
    )


def _launch_question(budget: Budget, evidence: Launches) -> LaunchQuestion:
    upper_limit = budget.rule.startswith("max")
    if budget.rule == "max_drop":
        drops = [theirs - ours for ours, theirs in zip(evidence.candidate, evidence.reference, strict=True)]
        return LaunchQuestion(drops, budget.limit, upper_limit, SIGNED_RANK, logarithmic=False)
    limit = math.log(budget.limit) if budget.limit > 0 else -math.inf
    if budget.relative:
        return LaunchQuestion(evidence.log_ratio, limit, upper_limit, SIGNED_RANK, logarithmic=True)
    values = [math.log(value) for value in evidence.candidate]
    location = SIGN if budget.metric in TAIL_FLOOR else SIGNED_RANK
    return LaunchQuestion(values, limit, upper_limit, location, logarithmic=True)


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


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _proportions(budget: Budget, evidence: Proportions, comparison: Comparison) -> Assessed:
    scale = _paired_scale(budget)
    if scale is None:
        return Assessed(Settled.error("Flips are a share of examples: limit them with 'max'."), budget.required)
    upper_limit = budget.rule.startswith("max")
    question: PairedQuestion | SliceQuestion = PairedQuestion(counts(evidence), scale, budget.limit, upper_limit)
    pairs = counts(evidence)
    if budget.metric == "accuracy.worst_slice":
        family = len(comparison.slices)
        question = SliceQuestion(
            {
                name: PairedQuestion(counts(part), scale, budget.limit, upper_limit, family)
                for name, part in sorted(comparison.slices.items())
            }
        )
        pairs = counts(comparison.slices[question.worst])
    values = _accuracies(budget, pairs)
    if budget.mode == "exact":
        answer = Fact(question.estimate, budget.limit, upper_limit).answer()
        if math.isnan(question.estimate):
            return Assessed(Settled.error("The reference answers no example rightly."), budget.required)
        on = f"a count on this very data set, {evidence.examples:,} examples"
        return Assessed(Settled(answer, fact(budget, answer, on=on)), budget.required, *values, mode="exact")
    outcome = Open(
        question, "examples", lambda _: _examples_basis(budget, pairs), outlook=_examples_outlook(budget, pairs)
    )
    return Assessed(outcome, budget.required, *values)


def counts(evidence: Proportions) -> Pairs:
    """The counts as the statistics take them."""
    return Pairs(evidence.both, evidence.only_reference, evidence.only_candidate, evidence.neither)


def _paired_scale(budget: Budget) -> str | None:
    if budget.metric == "accuracy.flips":
        return "flips" if not budget.relative else None
    return {"max_drop": "drop", "max_ratio": "ratio", "min_ratio": "ratio"}.get(budget.rule, "right")


def _accuracies(budget: Budget, pairs: Pairs) -> tuple[float, float | None]:
    if budget.metric == "accuracy.flips":
        return pairs.only_reference / pairs.total, None
    return pairs.candidate_right / pairs.total, pairs.reference_right / pairs.total


def _examples_basis(budget: Budget, pairs: Pairs) -> str:
    lost, won = pairs.only_reference, pairs.only_candidate
    text = f"{pairs.total:,} examples, {lost:,} right before and wrong now, {won:,} the other way round"
    return text if budget.metric == "accuracy.flips" else f"{text}; McNemar p = {mcnemar_p(pairs):.2g}"


def _examples_outlook(budget: Budget, pairs: Pairs) -> str:
    """How many examples would decide, were the estimate the truth."""
    total, limit = pairs.total, budget.limit
    if budget.rule == "max_drop":
        needed = examples_needed(pairs.discordance, abs(limit - pairs.drop))
    elif budget.relative:
        share = pairs.reference_right / total
        distance = abs(limit - pairs.candidate_right / pairs.reference_right) if share else 0.0
        needed = examples_needed(pairs.discordance, distance * share)
    else:
        share = (pairs.only_reference if budget.metric == "accuracy.flips" else pairs.candidate_right) / total
        needed = examples_needed(share * (1 - share), abs(limit - share))
    if needed is None or needed > 1e8:
        return "the estimate lies at the limit: no number of examples may decide it"
    return (
        f"about {max(needed, total + 1):,} examples would decide it, were the estimate the truth; there are {total:,}"
    )


def _resampled(budget: Budget, evidence: Resampled) -> Assessed:
    upper_limit = budget.rule.startswith("max")
    point = _on_scale(budget, evidence.candidate, evidence.reference)
    paired = zip(evidence.candidate_resamples, evidence.reference_resamples, strict=True)
    values = [_on_scale(budget, ours, theirs) for ours, theirs in paired]
    kept = [value for value in values if value is not None]
    if point is None or len(kept) != len(values):
        return Assessed(Settled.error(f"The reference's {budget.quantity.title} is not positive."), budget.required)
    if budget.mode == "exact":
        answer = Fact(point, budget.limit, upper_limit).answer()
        on = f"the value on this very data set, {evidence.examples:,} examples"
        outcome: Settled | Open = Settled(answer, fact(budget, answer, on=on))
    else:
        basis = f"{evidence.examples:,} examples, percentile bounds of {len(kept):,} paired bootstrap resamples"
        outcome = Open(ResampledQuestion(point, kept, budget.limit, upper_limit), "examples", lambda _: basis)
    return Assessed(outcome, budget.required, evidence.candidate, evidence.reference, mode=budget.mode)
