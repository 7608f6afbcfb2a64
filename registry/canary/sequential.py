"""Confidence sequences: intervals that stay valid however often one looks. Standard library only.

All come from one martingale. For counts c over K classes the mixture of likelihoods under a Dirichlet(1/2) prior,
divided by the likelihood under p, is a non-negative martingale with mean 1 if p is true. By Ville's inequality it
ever exceeds 1/alpha with probability at most alpha. So the p whose martingale is below 1/alpha are a confidence
sequence, and only the counts are needed. Sources: Robbins (1970); Krichevsky and Trofimov (1981); Ramdas et al.
(2023), "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38(4).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weighbridge.core.intervals import clopper_pearson

_PRIOR = 0.5


@dataclass(frozen=True)
class Interval:
    """An estimate with bounds; all between -1 and 1."""

    estimate: float
    lower: float
    upper: float


def log_mixture(counts: Sequence[float]) -> float:
    """Log of the Dirichlet(1/2) mixture likelihood of one sequence with these counts."""
    classes, total = len(counts), sum(counts)
    value = math.lgamma(classes * _PRIOR) - classes * math.lgamma(_PRIOR)
    value += sum(math.lgamma(count + _PRIOR) for count in counts)
    return value - math.lgamma(total + classes * _PRIOR)


def proportion(hits: float, n: int, alpha: float) -> Interval:
    """A confidence sequence of a probability after `n` trials; (0, 1) before the first.

    Over all n at once it misses the truth with probability at most `alpha`. `hits` may be a sum of values between 0
    and 1: the likelihood ratio is convex in each, so that its mean is largest for trials that are 0 or 1 (Hoeffding,
    1963), and the interval is valid for their mean.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits in {n} trials")
    if n == 0:
        return Interval(0.5, 0.0, 1.0)
    threshold = log_mixture([hits, n - hits]) + math.log(alpha)
    share, at = hits / n, functools.partial(log_likelihood, hits, n)
    return Interval(share, crossing(at, threshold, 0.0, share), crossing(at, threshold, 1.0, share))


def crossing(
    log_likelihood_at: Callable[[float], float], threshold: float, outside: float, inside: float, halvings: int = 60
) -> float:
    """Where a concave log likelihood falls to `threshold`, between `inside`, where it lies above, and `outside`, which
    is the answer where it does not fall so far. Never nearer to `inside` than the truth.
    """
    if log_likelihood_at(outside) >= threshold:
        return outside
    for _ in range(halvings):
        middle = (outside + inside) / 2
        if log_likelihood_at(middle) < threshold:
            outside = middle
        else:
            inside = middle
    return outside


def log_likelihood(hits: float, n: int, p: float) -> float:
    """Log likelihood of one sequence with so many hits; minus infinity for what cannot be."""
    value = 0.0
    for count, share in ((hits, p), (n - hits, 1 - p)):
        if count > 0:
            value += count * math.log(share) if share > 0 else -math.inf
    return value


def difference(first: tuple[float, int], second: tuple[float, int], alpha: float) -> Interval:
    """A confidence sequence of p1 - p2 from (hits, n) of two independent groups, half of `alpha` to each."""
    one, two = proportion(*first, alpha / 2), proportion(*second, alpha / 2)
    return Interval(one.estimate - two.estimate, one.lower - two.upper, one.upper - two.lower)


@functools.lru_cache(maxsize=1000, typed=True)
def fixed(hits: float, n: int, alpha: float) -> Interval:
    """Bounds of a probability after trials whose number was fixed before, and that are looked at once: each misses it
    with probability at most `alpha`. Exact for hits that are an `int`; Hoeffding's (1963) for a sum of values between 0
    and 1.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits in {n} trials")
    if n == 0:
        return Interval(0.5, 0.0, 1.0)
    share = hits / n
    if isinstance(hits, int):
        return Interval(share, *clopper_pearson(hits, n, alpha, alpha))
    at = functools.partial(log_likelihood, hits, n)
    threshold = at(share) + math.log(alpha)
    return Interval(share, crossing(at, threshold, 0.0, share), crossing(at, threshold, 1.0, share))


def below(before: tuple[float, int], now: tuple[float, int], once: float, always: float) -> Interval:
    """How far `now` lies below `before`: bounds of what was fixed at `once`, a confidence sequence at `always`."""
    one, two = fixed(*before, once), proportion(*now, always)
    return Interval(one.estimate - two.estimate, one.lower - two.upper, one.upper - two.lower)


def paired(worse: int, better: int, n: int, alpha: float) -> Interval:
    """A confidence sequence of a drop between two answers to each of `n` requests: `worse` only the first got right,
    `better` only the second. What both get right or wrong costs no width, unlike in `difference`.
    """
    one, two = proportion(worse, n, alpha / 2), proportion(better, n, alpha / 2)
    return Interval(one.estimate - two.estimate, one.lower - two.upper, one.upper - two.lower)


def radius(counts: Sequence[int], alpha: float) -> float:
    """How far, in total variation, the true distribution can lie from the observed one; 1 before the first trial.

    n·KL(observed, true) stays below log(1/alpha) plus the mixture's regret (Ville), and TV ≤ √(KL/2) (Pinsker).
    """
    n = sum(counts)
    if n == 0:
        return 1.0
    at_best = sum(count * math.log(count / n) for count in counts if count)
    regret = at_best - log_mixture(counts)
    return min(1.0, math.sqrt((math.log(1 / alpha) + regret) / (2 * n)))


def total_variation(first: Sequence[int], second: Sequence[int], alpha: float) -> Interval:
    """A confidence sequence of the total variation distance between two distributions over the same classes."""
    n1, n2 = sum(first), sum(second)
    if n1 == 0 or n2 == 0:
        return Interval(0.5, 0.0, 1.0)
    seen = sum(abs(a / n1 - b / n2) for a, b in zip(first, second, strict=True)) / 2
    slack = radius(first, alpha / 2) + radius(second, alpha / 2)
    return Interval(seen, max(0.0, seen - slack), min(1.0, seen + slack))
