"""How launches scatter: their standard deviation, and whether they fall into two modes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEAST = 3
_SEPARATION = 7.0


@dataclass(frozen=True)
class Modes:
    """Two groups that launches fall into."""

    low: float
    high: float
    share_high: float


def launch_sd(values: Sequence[float]) -> float:
    """Standard deviation over launches (of log ratios: the relative spread); infinite below two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.inf


def two_modes(values: Sequence[float]) -> Modes | None:
    """The two groups of a bimodal spread; None where one group explains the values.

    The best split of the sorted values into two, kept where Ashman's D, the distance of the groups' means in units of
    their own spread, is large and each group has at least three values and a fifth of all.
    Source: Ashman, Bird and Zepf, Astronomical Journal 108, 1994.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    least = max(_LEAST, math.ceil(count / 5))
    best: tuple[float, int] | None = None
    for cut in range(least, count - least + 1):
        left, right = ordered[:cut], ordered[cut:]
        within = float(np.sum((left - left.mean()) ** 2) + np.sum((right - right.mean()) ** 2))
        if best is None or within < best[0]:
            best = within, cut
    if best is None:
        return None
    left, right = ordered[: best[1]], ordered[best[1] :]
    spread = math.sqrt(float(left.var(ddof=1) + right.var(ddof=1)) / 2)
    distance = float(right.mean() - left.mean())
    if distance <= 0 or (spread > 0 and distance / spread < _SEPARATION):
        return None
    return Modes(float(left.mean()), float(right.mean()), len(right) / count)
