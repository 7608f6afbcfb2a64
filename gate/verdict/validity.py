"""What makes evidence unusable: nothing that is missing, contradictory or impossible may reach a comparison.

Each function returns sentences that say what is wrong; an empty list or None means that nothing is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from weighbridge.core.documents import Comparison, Exact, Launches, Measurement, Proportions, Resampled
from weighbridge.gate.statistics.centre import SIGNED_RANK
from weighbridge.gate.statistics.looks import CONTROL_EVERY, CONTROLS
from weighbridge.gate.statistics.resampled import MOMENTS

DROPPED_AT_MOST = 0.30
"""Share of burst pairs that may be lost to other work on the machine before it is not fit to judge."""

NULL_ALPHA = 0.05
"""One-sided error rate of the bounds of baseline against baseline. Six values then let one disagree with the others."""

_AGREEMENT = 0.2
"""Largest log distance between a launch's ratio over bursts and the ratio of its two values."""


@dataclass(frozen=True)
class Unfit:
    """Why the device cannot judge a budget now."""

    reason: str
    passing: bool
    """Whether more launches may fix it."""


def measurement_problems(measurement: Measurement) -> list[str]:
    """What is wrong with the measurement as a whole; any of it makes every budget an error."""
    problems = [f"a fault while measuring: {fault}" for fault in measurement.faults]
    against = Counter(comparison.against for comparison in measurement.comparisons)
    problems += [f"the comparison against {name} stands {count} times" for name, count in against.items() if count > 1]
    if not measurement.comparisons:
        problems.append("the measurement has no comparison")
    for comparison in measurement.comparisons:
        if comparison.against == "baseline" and comparison.reference.digest != measurement.baseline.digest:
            problems.append("the reference that was measured is not the baseline: their digests differ")
        problems += _size_problems(measurement, comparison)
    return problems


def _size_problems(measurement: Measurement, comparison: Comparison) -> list[str]:
    """The sizes in the evidence must be those of the files that were measured."""
    size = comparison.metrics.get("size.bytes")
    if not isinstance(size, Exact):
        return []
    problems = []
    if size.candidate != measurement.candidate.bytes:
        problems.append("size.bytes of the candidate is not the size of the file that was measured")
    if size.reference != comparison.reference.bytes:
        problems.append(f"size.bytes of the {comparison.against} is not the size of the file that was measured")
    return problems


def exact_problems(evidence: Exact) -> list[str]:
    """A fact of a file is a finite number that is not negative."""
    values = (evidence.candidate, evidence.reference)
    return [] if all(math.isfinite(value) and value >= 0 for value in values) else ["it is not a number of a file"]


def launch_problems(evidence: Launches) -> list[str]:
    """Lists of one length, one positive value per artifact and launch, each launch once, ratios that fit the values."""
    lengths = {len(evidence.candidate), len(evidence.reference), len(evidence.log_ratio)}
    if len(lengths) > 1:
        return ["its lists of launches have different lengths"]
    if lengths == {0}:
        return ["it has no launches"]
    values = [*evidence.candidate, *evidence.reference]
    numbers = all(math.isfinite(value) and value > 0 for value in values)
    if not numbers or not all(math.isfinite(value) for value in evidence.log_ratio):
        return ["a launch gave a value that is not a positive number"]
    return [*_numbering_problems(evidence), *_agreement_problems(evidence)]


def _numbering_problems(evidence: Launches) -> list[str]:
    if len(evidence.numbers) != len(evidence.candidate):
        return ["its launch pairs are not numbered one by one"]
    if any(late <= early for early, late in pairwise(evidence.numbers)):
        return ["a launch pair was recorded twice or out of order"]
    return []


def _agreement_problems(evidence: Launches) -> list[str]:
    triples = zip(evidence.candidate, evidence.reference, evidence.log_ratio, strict=True)
    distances = sorted(abs(ratio - math.log(ours / theirs)) for ours, theirs, ratio in triples)
    if distances[len(distances) // 2] > _AGREEMENT:
        return ["its ratios do not fit its values: they may be swapped"]
    return []


def proportion_problems(evidence: Proportions, examples: int) -> list[str]:
    """Counts over exactly the examples of the evaluation set, and at least one."""
    if evidence.examples == 0:
        return ["it rests on no example"]
    if evidence.examples != examples:
        return [f"it counts {evidence.examples:,} examples where the evaluation set has {examples:,}"]
    return []


def slice_problems(comparison: Comparison) -> list[str]:
    """At least one slice; none empty; none with more of any kind than there are in the whole."""
    if not comparison.slices:
        return ["the evaluation set has no slices: add boolean masks named slice:<name>"]
    problems = [f"slice {name!r} has no examples" for name, part in comparison.slices.items() if part.examples == 0]
    whole = comparison.metrics.get("accuracy.top1")
    if not isinstance(whole, Proportions):
        return [*problems, "the whole set was not measured beside its slices"]
    kinds = ("both", "only_reference", "only_candidate", "neither")
    for name, part in comparison.slices.items():
        if any(getattr(part, kind) > getattr(whole, kind) for kind in kinds):
            problems.append(f"slice {name!r} counts more than the whole set")
    return problems


def resampled_problems(evidence: Resampled, examples: int) -> list[str]:
    """Paired, finite resamples over the evaluation set."""
    if evidence.examples == 0 or evidence.examples != examples:
        return [f"it rests on {evidence.examples:,} examples where the evaluation set has {examples:,}"]
    if not evidence.candidate_resamples:
        return ["it has no resamples"]
    if len(evidence.candidate_resamples) != len(evidence.reference_resamples):
        return ["its resamples are not paired"]
    if len(evidence.moments) not in (0, MOMENTS):
        return ["its sums over the jackknife are not all there"]
    resamples = (*evidence.candidate_resamples, *evidence.reference_resamples)
    values = (evidence.candidate, evidence.reference, *resamples, *evidence.moments)
    return [] if all(math.isfinite(value) for value in values) else ["a value is not a number"]


def control_problems(comparison: Comparison, pairs: int) -> list[str]:
    """The controls must have been taken: without them nobody knows whether the device was fit."""
    controls = comparison.controls
    problems = []
    if "dropped" not in controls.model_fields_set:
        problems.append("the share of burst pairs dropped was not recorded")
    if len(controls.null_log_ratio) < pairs // CONTROL_EVERY:
        problems.append(
            f"only {len(controls.null_log_ratio)} launches compared the baseline with itself; "
            f"every fourth of {pairs} must"
        )
    if not all(math.isfinite(value) for value in controls.null_log_ratio):
        problems.append("baseline against baseline gave a value that is not a number")
    return problems


def unfit(comparison: Comparison, resolution: float) -> Unfit | None:
    """Whether the device was fit to show an excess of `resolution`: other work on it, and the null control.

    Nothing is decided before the null control can speak: without it nobody knows whether the device was fit.
    """
    dropped = comparison.controls.dropped
    if dropped > DROPPED_AT_MOST:
        return Unfit(
            f"other work on the machine disturbed {dropped:.0%} of the burst pairs (at most {DROPPED_AT_MOST:.0%} may "
            "be), so the device was not fit to judge",
            passing=True,
        )
    taken = len(comparison.controls.null_log_ratio)
    interval = null_interval(comparison.controls.null_log_ratio)
    if interval is None:
        return Unfit(
            f"only {taken} launches compared the baseline with itself; {CONTROLS} must before anything is decided",
            passing=True,
        )
    lower, upper = interval
    band = math.log1p(resolution / 2)
    if lower > band or upper < -band:
        found = f"{math.expm1(lower):+.1%} to {math.expm1(upper):+.1%}"
        reason = (
            f"the baseline weighed against itself came out {found} where it should be 0% "
            f"(within ±{resolution / 2:.1%}), so the device was not fit to judge"
        )
        return Unfit(reason, passing=False)
    return None


def null_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Bounds of baseline against baseline as log ratios; None below six values."""
    if len(values) < CONTROLS:
        return None
    return SIGNED_RANK.lower(values, NULL_ALPHA), SIGNED_RANK.upper(values, NULL_ALPHA)
