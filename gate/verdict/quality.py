"""What is measured over examples: accuracy and flips by paired counts, other metrics by their bootstrap."""

from __future__ import annotations

import math

from weighbridge.core.documents import Budget, Comparison, Proportions, Resampled
from weighbridge.gate.statistics.planning import examples_needed
from weighbridge.gate.statistics.proportions import Pairs, mcnemar_p
from weighbridge.gate.statistics.resampled import Resamples, acceleration, recorded
from weighbridge.gate.verdict.assessment import Assessed, Open, Settled
from weighbridge.gate.verdict.budget_tests import Fact, PairedTest
from weighbridge.gate.verdict.reasons import fact
from weighbridge.gate.verdict.score_tests import ResampledTest, SliceTest

FEWEST_RESAMPLES = 200
"""Bootstrap resamples below which nothing is decided: 1 % of them would be two."""


def assess_proportions(budget: Budget, evidence: Proportions, comparison: Comparison) -> Assessed:
    """The test that paired right and wrong answers decide: a drop, a ratio, a share, flips, the worst slice."""
    scale = _paired_scale(budget)
    if scale is None:
        return Assessed(Settled.error("Flips are a share of examples: limit them with 'max'."), budget.required)
    upper_limit = budget.rule.upper
    test: PairedTest | SliceTest = PairedTest(counts(evidence), scale, budget.limit, upper_limit)
    pairs = counts(evidence)
    if budget.metric == "accuracy.worst_slice":
        family = len(comparison.slices)
        test = SliceTest(
            {
                name: PairedTest(counts(part), scale, budget.limit, upper_limit, family)
                for name, part in sorted(comparison.slices.items())
            }
        )
        pairs = counts(comparison.slices[test.worst])
    values = _accuracies(budget, pairs)
    if budget.mode == "exact":
        answer = Fact(test.estimate, budget.limit, upper_limit).answer()
        if math.isnan(test.estimate):
            return Assessed(Settled.error("The reference answers no example rightly."), budget.required)
        on = f"a count on this very data set, {evidence.examples:,} examples"
        return Assessed(Settled(answer, fact(budget, answer, on=on)), budget.required, *values, mode="exact")
    assessment = Open(
        test, "examples", lambda _: _examples_basis(budget, pairs), outlook=_examples_outlook(budget, pairs)
    )
    return Assessed(assessment, budget.required, *values)


def counts(evidence: Proportions) -> Pairs:
    """The counts as the statistics take them."""
    return Pairs(evidence.both, evidence.only_reference, evidence.only_candidate, evidence.neither)


def _paired_scale(budget: Budget) -> str | None:
    if budget.metric == "accuracy.flips":
        return "flips" if not budget.relative else None
    return "right" if budget.rule.scale == "value" else budget.rule.scale


def _accuracies(budget: Budget, pairs: Pairs) -> tuple[float, float | None]:
    if budget.metric == "accuracy.flips":
        return pairs.only_reference / pairs.total, None
    return pairs.candidate_right / pairs.total, pairs.reference_right / pairs.total


def _examples_basis(budget: Budget, pairs: Pairs) -> str:
    worse, better = pairs.only_reference, pairs.only_candidate
    if budget.metric == "agreement":
        return f"{pairs.total:,} examples, {worse:,} answered unlike the reference"
    text = f"{pairs.total:,} examples, {worse:,} right before and wrong now, {better:,} the other way round"
    return text if budget.metric == "accuracy.flips" else f"{text}; McNemar p = {mcnemar_p(pairs):.2g}"


def _examples_outlook(budget: Budget, pairs: Pairs) -> str:
    """How many examples would decide, were the estimate the truth."""
    total, limit = pairs.total, budget.limit
    if budget.rule.scale == "drop":
        needed = examples_needed(pairs.discordance, abs(limit - pairs.drop))
    elif budget.relative:
        share = pairs.reference_right / total
        distance = abs(limit - pairs.candidate_right / pairs.reference_right) if share else 0.0
        needed = examples_needed(pairs.discordance, distance * share)
    else:
        share = (pairs.only_reference if budget.metric == "accuracy.flips" else pairs.candidate_right) / total
        needed = examples_needed(share * (1 - share), abs(limit - share))
    if needed is None or needed > 1e8:
        return "the estimate is at the limit: more examples may not decide it"
    return (
        f"about {max(needed, total + 1):,} examples would decide it, were the estimate the truth; there are {total:,}"
    )


def assess_resampled(budget: Budget, evidence: Resampled) -> Assessed:
    """The test that a paired bootstrap decides."""
    upper_limit = budget.rule.upper
    point = budget.rule.measure(evidence.candidate, evidence.reference)
    paired = zip(evidence.candidate_resamples, evidence.reference_resamples, strict=True)
    values = [budget.rule.measure(ours, theirs) for ours, theirs in paired]
    kept = [value for value in values if value is not None]
    if point is None or len(kept) != len(values):
        return Assessed(Settled.error(f"The reference's {budget.quantity.title} is not positive."), budget.required)
    shown = (evidence.candidate, evidence.reference)
    if budget.mode == "exact":
        answer = Fact(point, budget.limit, upper_limit).answer()
        on = f"the value on this very data set, {evidence.examples:,} examples"
        return Assessed(Settled(answer, fact(budget, answer, on=on)), budget.required, *shown, mode="exact")
    if len(kept) < FEWEST_RESAMPLES:
        reason = (
            f"Only {len(kept)} bootstrap resamples were made in the time that a metric may take, and a decision needs "
            f"{FEWEST_RESAMPLES}. Make the metric faster, use fewer examples, or judge it by mode: exact."
        )
        return Assessed(Settled.unresolved(reason), budget.required, *shown)
    sums = acceleration(evidence.moments, *_derivatives(budget, *shown))
    capped = f", as many as {evidence.capped}" if evidence.capped else ""
    grouped = f" of {evidence.groups:,} groups" if evidence.groups is not None else ""
    basis = f"{evidence.examples:,} examples{grouped}, BCa bounds of {len(kept):,} paired bootstrap resamples{capped}"
    # As resamples are recorded, or a value that many of them repeat would lie beside them all.
    centre = budget.rule.measure(*(recorded(value) for value in shown))
    resamples = Resamples(point, kept, sums, centre if centre is not None else point)
    test = ResampledTest(resamples, budget.limit, upper_limit)
    return Assessed(Open(test, "examples", lambda _: basis), budget.required, *shown, mode=budget.mode)


def _derivatives(budget: Budget, candidate: float, reference: float) -> tuple[float, float]:
    """Of the value on the limit's scale, by the candidate's value and the reference's."""
    if budget.rule.scale == "drop":
        return -1.0, 1.0
    if budget.relative:
        return 1 / reference, -candidate / reference**2
    return 1.0, 0.0
