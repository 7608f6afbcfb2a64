"""Proportions: Tango's score interval for paired ones, and exact p-values for a single one (bounds: `core.intervals`).

Sources: Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
design", Statistics in Medicine 17, 1998; Newcombe, "Improved confidence intervals for the difference between binomial
proportions based on paired data", ibid. (method 10); Nam and Blackwelder, "Analysis of the ratio of marginal
probabilities in a matched-pair setting", Statistics in Medicine 21, 2002.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import special


@dataclass(frozen=True)
class Pairs:
    """Paired right and wrong answers, counted."""

    both: int
    only_reference: int
    only_candidate: int
    neither: int

    @property
    def total(self) -> int:
        """How many examples there are."""
        return self.both + self.only_reference + self.only_candidate + self.neither

    @property
    def drop(self) -> float:
        """Share right of the reference minus share right of the candidate."""
        return (self.only_reference - self.only_candidate) / self.total

    @property
    def discordance(self) -> float:
        """Share of examples on which the two disagree."""
        return (self.only_reference + self.only_candidate) / self.total

    @property
    def reference_right(self) -> int:
        """How many the reference answers rightly."""
        return self.both + self.only_reference

    @property
    def candidate_right(self) -> int:
        """How many the candidate answers rightly."""
        return self.both + self.only_candidate


def tango_z(pairs: Pairs, drop: float) -> float:
    """Tango's score statistic of the hypothesis that the true drop is `drop`; standard normal if it is.

    Positive where the observed drop lies above; zero where nothing speaks against the hypothesis.
    """
    total, worse, better = pairs.total, pairs.only_reference, pairs.only_candidate
    residual = worse - better - total * drop
    if residual == 0:
        return 0.0
    # The constrained maximum-likelihood estimate of the probability of `only_candidate`.
    linear = -worse - better + (2 * total - worse + better) * drop
    constant = -better * drop * (1 - drop)
    # Nobody better leaves the linear part alone, whose square could underflow.
    root = math.sqrt(max(linear * linear - 8 * total * constant, 0.0)) if better else abs(linear)
    better_given = max((root - linear) / (4 * total), 0.0)
    variance = total * (2 * better_given + drop * (1 - drop))
    return math.copysign(math.inf, residual) if variance <= 0 else residual / math.sqrt(variance)


def tango_p_above(pairs: Pairs, drop: float) -> float:
    """One-sided p-value of the hypothesis that the true drop is at most `drop`."""
    return float(special.ndtr(-tango_z(pairs, drop)))


def tango_p_below(pairs: Pairs, drop: float) -> float:
    """One-sided p-value of the hypothesis that the true drop is at least `drop`."""
    return float(special.ndtr(tango_z(pairs, drop)))


def tango_interval(pairs: Pairs, lower_alpha: float, upper_alpha: float) -> tuple[float, float]:
    """Bounds of the true drop, each missed with about its own probability; within [-1, 1]."""
    return (
        _crossing(lambda drop: tango_z(pairs, drop), _quantile(lower_alpha), -1.0, pairs.drop),
        _crossing(lambda drop: tango_z(pairs, drop), -_quantile(upper_alpha), pairs.drop, 1.0),
    )


def newcombe_interval(pairs: Pairs, lower_alpha: float, upper_alpha: float) -> tuple[float, float]:
    """Bounds of the true drop by Newcombe's method 10: Wilson's intervals joined by the pairs' correlation."""
    total = pairs.total
    reference, candidate = pairs.reference_right / total, pairs.candidate_right / total
    phi = _phi(pairs)

    def reach(alpha: float, *, downwards: bool) -> float:
        low_r, high_r = wilson_interval(pairs.reference_right, total, alpha)
        low_c, high_c = wilson_interval(pairs.candidate_right, total, alpha)
        first = reference - low_r if downwards else high_r - reference
        second = high_c - candidate if downwards else candidate - low_c
        return math.sqrt(max(first * first - 2 * phi * first * second + second * second, 0.0))

    return (
        pairs.drop - reach(lower_alpha, downwards=True),
        pairs.drop + reach(upper_alpha, downwards=False),
    )


def wilson_interval(successes: int, total: int, alpha: float) -> tuple[float, float]:
    """Wilson's score bounds of one proportion, each missed with probability about `alpha`."""
    z = _quantile(alpha)
    centre = successes + z * z / 2
    reach = z * math.sqrt(successes * (total - successes) / total + z * z / 4)
    return (centre - reach) / (total + z * z), (centre + reach) / (total + z * z)


def ratio_z(pairs: Pairs, ratio: float) -> float:
    """Score statistic of the hypothesis that candidate accuracy / reference accuracy is `ratio` (Nam and Blackwelder).

    Positive where the observed ratio lies above.
    """
    total = pairs.total
    candidate, reference = pairs.candidate_right / total, pairs.reference_right / total
    worse, better = pairs.only_reference / total, pairs.only_candidate / total
    residual = candidate - ratio * reference
    if residual == 0:
        return 0.0
    root = math.sqrt((candidate - ratio * ratio * reference) ** 2 + 4 * ratio * ratio * worse * better)
    only_reference_given = (-candidate + ratio * ratio * (reference + 2 * better) + root) / (2 * ratio * (ratio + 1))
    better_given = ratio * only_reference_given - (ratio - 1) * (1 - pairs.neither / total)
    variance = ratio * (max(only_reference_given, 0.0) + max(better_given, 0.0)) / total
    return math.copysign(math.inf, residual) if variance <= 0 else residual / math.sqrt(variance)


def ratio_interval(pairs: Pairs, lower_alpha: float, upper_alpha: float) -> tuple[float, float]:
    """Score bounds of candidate accuracy / reference accuracy; the upper one is infinite where nothing bounds it."""
    if pairs.reference_right == 0:
        return 0.0, math.inf
    estimate = pairs.candidate_right / pairs.reference_right
    ceiling = 1e6
    lower = _crossing(lambda ratio: ratio_z(pairs, ratio), _quantile(lower_alpha), 1e-9, max(estimate, 1e-9))
    upper = _crossing(lambda ratio: ratio_z(pairs, ratio), -_quantile(upper_alpha), max(estimate, 1e-9), ceiling)
    return lower, math.inf if upper >= ceiling * 0.999 else upper


def binomial_p_above(successes: int, total: int, limit: float) -> float:
    """Exact one-sided p-value of the hypothesis that the true proportion is at most `limit`."""
    return 1.0 if successes == 0 else float(special.bdtrc(successes - 1, total, limit))


def binomial_p_below(successes: int, total: int, limit: float) -> float:
    """Exact one-sided p-value of the hypothesis that the true proportion is at least `limit`."""
    return 1.0 if successes == total else float(special.bdtr(successes, total, limit))


def mcnemar_p(pairs: Pairs) -> float:
    """Exact two-sided p-value of McNemar's test that neither of the two is right more often."""
    discordant = pairs.only_reference + pairs.only_candidate
    fewer = min(pairs.only_reference, pairs.only_candidate)
    return 1.0 if discordant == 0 else min(1.0, 2 * float(special.bdtr(fewer, discordant, 0.5)))


def _phi(pairs: Pairs) -> float:
    """Newcombe's corrected correlation of the two answers."""
    a, b, c, d = pairs.both, pairs.only_reference, pairs.only_candidate, pairs.neither
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    excess = float(a * d - b * c)
    if excess > 0:
        excess = max(excess - pairs.total / 2, 0.0)
    return excess / math.sqrt(product)


def _quantile(alpha: float) -> float:
    """The standard normal value that is exceeded with probability `alpha`."""
    return -float(special.ndtri(alpha))


def _crossing(falling: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where a falling function crosses a level within [low, high], by bisection; an end where it does not."""
    if falling(low) <= level:
        return low
    if falling(high) >= level:
        return high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if falling(middle) > level else (low, middle)
    return (low + high) / 2
