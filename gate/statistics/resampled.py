"""BCa bounds of a paired bootstrap: order statistics of the resampled values, corrected for bias and skewness.

Source: Efron, "Better bootstrap confidence intervals", JASA 82, 1987; Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993, ch. 14. scipy's `bootstrap(method="BCa")` agrees. The acceleration comes from a jackknife that leaves
out groups of examples; seven sums of its products suffice for every scale that a budget may limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
MOMENTS = 7
"""Sums over jackknife groups of cc, cr, rr, ccc, ccr, crr, rrr: influences on the candidate and on the reference."""


def recorded(value: float) -> float:
    """A resampled value as measurements record it: in seven digits."""
    return float(f"{value:.7g}")


@dataclass(frozen=True)
class Resamples:
    """A value, and the same value over each resample of the examples.

    With `acceleration` 0 bounds are corrected for bias alone; where the resamples lie evenly around the value as well,
    they are the percentile bounds.
    """

    point: float
    values: Sequence[float]
    acceleration: float = 0.0
    centre: float | None = None
    """The value in as many digits as the resamples have, by which bias is told; `point` where they have all."""

    def lower(self, alpha: float) -> float:
        """The bound that lies above the truth with probability about `alpha`; minus infinity without enough resamples.

        It lies above c exactly where `p_above(c) <= alpha`.
        """
        # Rounding in the transform must not lose the resample that the p-value counts.
        rank = math.floor(self._corrected(alpha) * (len(self.values) + 1) + 1e-9)
        return float(self._sorted[min(rank, len(self.values)) - 1]) if rank >= 1 else -math.inf

    def upper(self, alpha: float) -> float:
        """The bound that lies below the truth with probability about `alpha`; infinity without enough resamples."""
        return -self._turned.lower(alpha)

    def p_above(self, limit: float) -> float:
        """One-sided p-value of the hypothesis that the true value is at most `limit`; the sample counts as one more."""
        share = (1 + int(np.searchsorted(self._sorted, limit, side="right"))) / (len(self.values) + 1)
        if share >= 1:
            return 1.0
        distance = float(ndtri(share)) - self._bias
        scale = 1 + self.acceleration * distance
        return 1.0 if scale <= 0 else float(ndtr(distance / scale - self._bias))

    def p_below(self, limit: float) -> float:
        """One-sided p-value of the hypothesis that the true value is at least `limit`."""
        return self._turned.p_above(-limit)

    def _corrected(self, alpha: float) -> float:
        """The share of resamples that lie below the bound of an error rate."""
        z = self._bias + float(ndtri(alpha))
        scale = 1 - self.acceleration * z
        return 0.0 if scale <= 0 else float(ndtr(self._bias + z / scale))

    @cached_property
    def _bias(self) -> float:
        """How far the value lies from the resamples' median, in standard normal units; ties count half."""
        centre = self.point if self.centre is None else self.centre
        below, at_or_below = (int(np.searchsorted(self._sorted, centre, side=side)) for side in ("left", "right"))
        count = len(self.values)
        share = min(max((below + at_or_below) / (2 * count), 1 / (count + 1)), count / (count + 1))
        return float(ndtri(share))

    @cached_property
    def _sorted(self) -> Floats:
        return np.sort(np.asarray(self.values, dtype=np.float64))

    @cached_property
    def _turned(self) -> Resamples:
        centre = None if self.centre is None else -self.centre
        return Resamples(-self.point, [-value for value in self.values], -self.acceleration, centre)


def moments(candidate: Floats, reference: Floats) -> list[float]:
    """The seven sums, from the two models' values (groups,) with each group of examples left out."""
    c, r = candidate.mean() - candidate, reference.mean() - reference
    return [float(product.sum()) for product in (c * c, c * r, r * r, c**3, c * c * r, c * r * r, r**3)]


def acceleration(sums: Sequence[float], candidate: float, reference: float) -> float:
    """Of a value with these partial derivatives by the candidate's and the reference's value; 0 where nothing varies.

    Any function's influences are, to first order, the two models' own ones, weighed by the derivatives.
    """
    if not sums:
        return 0.0
    cc, cr, rr, ccc, ccr, crr, rrr = sums
    c, r = candidate, reference
    spread = c * c * cc + 2 * c * r * cr + r * r * rr
    skew = c**3 * ccc + 3 * c * c * r * ccr + 3 * c * r * r * crr + r**3 * rrr
    # Below rounding error of its own terms, a spread is nothing.
    floor = 1e-12 * (c * c * cc + r * r * rr)
    return skew / (6 * spread**1.5) if spread > floor else 0.0
