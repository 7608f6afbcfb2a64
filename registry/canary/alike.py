"""Bounds for canaries that are meant to be no worse: narrow where two groups are alike, and valid whatever they are.

`sequential.difference` bounds each group by itself, and adds the widths. Here one martingale looks at both: half of its
prior says that they have one distribution, half that each has its own. Divided by the likelihood at its largest under
a null hypothesis it exceeds 1/alpha with probability at most alpha, whenever one looks: it is below the mixture over
the likelihood at the truth, a martingale with mean 1 (Ville). So hypotheses whose ratio is larger are excluded.
Sources: Wasserman, Ramdas, Balakrishnan (2020), "Universal inference", PNAS 117(29), section 8 for sequences;
Turner, Grünwald (2023), "Exact anytime-valid confidence intervals for contingency tables and beyond"; Miettinen and
Nurminen (1985), Statistics in Medicine 4, for the likelihood's largest value at a given difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from weighbridge.registry.canary.sequential import Interval, crossing, log_likelihood, log_mixture

_HALVES = 30
"""Halvings of an interval until its ends differ by a billionth."""


def difference(first: tuple[float, int], second: tuple[float, int], alpha: float) -> Interval:
    """A confidence sequence of p1 - p2 from (hits, n) of two independent groups."""
    (hits1, n1), (hits2, n2) = first, second
    if n1 == 0 or n2 == 0:
        return Interval(0.0, -1.0, 1.0)
    estimate = hits1 / n1 - hits2 / n2
    counts = [hits1, n1 - hits1], [hits2, n2 - hits2]
    threshold = _log_mixture(*counts) + math.log(alpha)
    at = partial(largest, first, second)
    lower, upper = (crossing(at, threshold, outside, estimate, _HALVES) for outside in (-1.0, 1.0))
    return Interval(estimate, lower, upper)


def total_variation(first: Sequence[int], second: Sequence[int], alpha: float) -> Interval:
    """A confidence sequence of the total variation distance between two distributions over the same classes.

    By Pinsker, distributions p and q that are a and b from what was seen have a log likelihood of at least
    2·n1·a² + 2·n2·b² below the largest; over all with a + b = c that is at least 2·c²·n1·n2/(n1 + n2).
    """
    n1, n2 = sum(first), sum(second)
    if n1 == 0 or n2 == 0:
        return Interval(0.5, 0.0, 1.0)
    seen = sum(abs(a / n1 - b / n2) for a, b in zip(first, second, strict=True)) / 2
    below = _at_best(first) + _at_best(second) - _log_mixture(first, second) - math.log(alpha)
    slack = math.sqrt(max(0.0, below) * (n1 + n2) / (2 * n1 * n2))
    return Interval(seen, max(0.0, seen - slack), min(1.0, seen + slack))


def _log_mixture(first: Sequence[float], second: Sequence[float]) -> float:
    """Log of the mixture likelihood of two sequences: half of the prior on one distribution, half on two."""
    one = log_mixture([a + b for a, b in zip(first, second, strict=True)])
    two = log_mixture(first) + log_mixture(second)
    return max(one, two) + math.log1p(math.exp(-abs(one - two))) - math.log(2)


def _at_best(counts: Sequence[float]) -> float:
    n = sum(counts)
    return sum(count * math.log(count / n) for count in counts if count)


def largest(first: tuple[float, int], second: tuple[float, int], difference_of: float) -> float:
    """The largest log likelihood of two groups' (hits, n) whose probabilities differ by so much.

    It is concave in the difference: what is beyond an excluded one is excluded too.
    """
    (hits1, n1), (hits2, n2), d = first, second, difference_of
    low, high = max(0.0, -d), min(1.0, 1.0 - d)
    inside = min(max(_second_share(first, second, d), low), high)
    return max(
        log_likelihood(hits1, n1, min(max(p2 + d, 0.0), 1.0)) + log_likelihood(hits2, n2, p2)
        for p2 in (inside, low, high)
    )


def _second_share(first: tuple[float, int], second: tuple[float, int], d: float) -> float:
    """The second group's probability where the likelihood is largest: the root of a cubic (Miettinen, Nurminen)."""
    (hits1, n1), (hits2, n2) = first, second
    n, hits = n1 + n2, hits1 + hits2
    c2 = ((n1 + 2 * n2) * d - n - hits) / n
    c1 = ((n2 * d - n - 2 * hits2) * d + hits) / n
    c0 = hits2 * d * (1 - d) / n
    q = (c2 / 3) ** 3 - c1 * c2 / 6 + c0 / 2
    p = math.copysign(math.sqrt(max(0.0, (c2 / 3) ** 2 - c1 / 3)), q)
    if p == 0:
        return -c2 / 3
    angle = (math.pi + math.acos(min(1.0, max(-1.0, q / p**3)))) / 3
    return 2 * p * math.cos(angle) - c2 / 3
