"""From a measurement to what a version's record says of each metric: value and 95 % interval, in base units.

Standard library only. Exact bounds (`core.intervals`) for proportions, as the gate has them; order statistics of the
median (e.g. Conover, Practical Nonparametric Statistics, 3.2) for launches; percentiles for resamples.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from weighbridge.core.documents.measurement import Evidence, Exact, Launches, Measurement, Proportions, Resampled
from weighbridge.core.facts.metrics import METRICS
from weighbridge.core.intervals import clopper_pearson
from weighbridge.registry.state.records import Estimate

ALPHA = 0.025
"""On either side."""


def estimates(measurement: Measurement) -> dict[str, Estimate]:
    """The candidate's metrics, by name, from its comparison with the baseline. What is absent has no entry."""
    found: dict[str, Estimate] = {}
    for comparison in measurement.comparisons:
        if comparison.against == "baseline":
            for name, evidence in comparison.metrics.items():
                estimate = _estimate(name, evidence)
                if estimate is not None:
                    found[name] = estimate
    return found


def _estimate(name: str, evidence: Evidence) -> Estimate | None:
    unit = METRICS[name].unit if name in METRICS else "score"
    if isinstance(evidence, Exact):
        value = evidence.candidate
        return Estimate(value=value, lower=value, upper=value, unit=unit, baseline=evidence.reference)
    if isinstance(evidence, Launches) and evidence.candidate:
        lower, upper = median_interval(evidence.candidate)
        middle = statistics.median(evidence.candidate)
        baseline = statistics.median(evidence.reference) if evidence.reference else None
        return Estimate(value=middle, lower=lower, upper=upper, unit=unit, baseline=baseline)
    if isinstance(evidence, Proportions) and evidence.examples:
        return _proportion(name, evidence, unit)
    if isinstance(evidence, Resampled) and evidence.candidate_resamples:
        ordered = sorted(evidence.candidate_resamples)
        return Estimate(
            value=evidence.candidate,
            lower=ordered[int(0.025 * (len(ordered) - 1))],
            upper=ordered[math.ceil(0.975 * (len(ordered) - 1))],
            unit=unit,
            baseline=evidence.reference,
        )
    return None


def _proportion(name: str, evidence: Proportions, unit: str) -> Estimate:
    n = evidence.examples
    if name == "accuracy.flips":
        lower, upper = clopper_pearson(evidence.only_reference, n, ALPHA, ALPHA)
        return Estimate(value=evidence.only_reference / n, lower=lower, upper=upper, unit=unit)
    right = evidence.both + evidence.only_candidate
    lower, upper = clopper_pearson(right, n, ALPHA, ALPHA)
    before = (evidence.both + evidence.only_reference) / n
    return Estimate(value=right / n, lower=lower, upper=upper, unit=unit, baseline=before)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """A distribution-free interval of the median: the narrowest pair of order statistics with ≥ 95 % coverage.

    With fewer than 6 values no pair reaches 95 %: smallest and largest are given.
    """
    ordered, n = sorted(values), len(values)
    below, tail = 0, 0.5**n  # tail = P(Binomial(n, 1/2) <= below)
    while below + 1 <= (n - 1) // 2:
        longer = tail + math.comb(n, below + 1) * 0.5**n
        if longer > 0.025:
            break
        below, tail = below + 1, longer
    if tail > 0.025:
        return ordered[0], ordered[-1]
    return ordered[below], ordered[n - 1 - below]
