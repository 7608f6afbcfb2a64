"""Where the centre of a few values lies: exact one-sided tests and the bounds that agree with them.

`SIGNED_RANK` assumes values spread evenly around their centre (log ratios of launch pairs) and estimates it by
Hodges and Lehmann; `SIGN` assumes nothing of the shape (tail percentiles) and estimates the median.
Bounds are order statistics, so they are exact for continuous values and on the safe side where values tie
(Noether, JASA 62, 1967). Sources: Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", 3rd ed.,
sections 3.1 to 3.6; scipy's `wilcoxon` and `binomtest` agree where they are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Location:
    """A centre: how it is estimated, and the ordered points that its test and bounds count.

    `points(values)` are sorted; under the hypothesis that the centre is c, the number of points at or below c
    follows `distribution(n)`, an array of probabilities of 0 … len(points).
    """

    name: str
    points: Callable[[Floats], Floats]
    distribution: Callable[[int], Floats]

    def estimate(self, values: Sequence[float]) -> float:
        """The median of the points: the Hodges-Lehmann estimate, or the median."""
        return float(np.median(self.points(_checked(values))))

    def p_above(self, values: Sequence[float], centre: float) -> float:
        """One-sided p-value of the hypothesis that the true centre is at most `centre`."""
        array = _checked(values)
        at_or_below = int(np.searchsorted(self.points(array), centre, side="right"))
        return float(self.distribution(len(array))[: at_or_below + 1].sum())

    def p_below(self, values: Sequence[float], centre: float) -> float:
        """One-sided p-value of the hypothesis that the true centre is at least `centre`."""
        return self.p_above([-value for value in values], -centre)

    def lower(self, values: Sequence[float], alpha: float) -> float:
        """The bound that lies above the true centre with probability at most `alpha`.

        Minus infinity where so few values cannot give one. It lies above c exactly where `p_above(values, c) <= alpha`.
        """
        array = _checked(values)
        rejected = int(np.searchsorted(np.cumsum(self.distribution(len(array))), alpha, side="right"))
        return -math.inf if rejected == 0 else float(self.points(array)[rejected - 1])

    def upper(self, values: Sequence[float], alpha: float) -> float:
        """The bound that lies below the true centre with probability at most `alpha`; infinity where there is none."""
        return -self.lower([-value for value in values], alpha)


def _checked(values: Sequence[float]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError("expected a non-empty list of finite numbers")
    return array


def _walsh_averages(values: Floats) -> Floats:
    """Means of all pairs, a value with itself included, sorted: n(n+1)/2 of them."""
    first, second = np.triu_indices(len(values))
    # Halves first: the sum of two huge values must not overflow.
    return np.sort(values[first] / 2 + values[second] / 2)


@lru_cache(maxsize=128)
def _signed_rank_distribution(count: int) -> Floats:
    """Exact null distribution of the signed-rank statistic of n values: probabilities of 0 … n(n+1)/2."""
    total = count * (count + 1) // 2
    mass = np.zeros(total + 1)
    mass[0] = 1.0
    for rank in range(1, count + 1):
        shifted = np.zeros_like(mass)
        shifted[rank:] = mass[:-rank]
        mass = (mass + shifted) / 2
    mass.setflags(write=False)
    return mass


@lru_cache(maxsize=128)
def _sign_distribution(count: int) -> Floats:
    """Binomial distribution with probability one half: probabilities of 0 … n."""
    mass = np.array([math.comb(count, successes) / 2**count for successes in range(count + 1)])
    mass.setflags(write=False)
    return mass


SIGNED_RANK = Location("Hodges-Lehmann, exact signed rank", _walsh_averages, _signed_rank_distribution)
SIGN = Location("median, binomial order statistics", np.sort, _sign_distribution)


def hodges_lehmann(values: Sequence[float]) -> float:
    """Median of the Walsh averages (Hodges and Lehmann, Annals of Mathematical Statistics 34, 1963)."""
    return SIGNED_RANK.estimate(values)
