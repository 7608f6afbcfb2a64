"""What a recipe will lose on other examples, by the cross-entropy of its answers.

Whether answers are right tells a drop poorly: on 1,500 examples to a point, and where the baseline was lucky or
unlucky there, every recipe seems to lose more or less alike. Cross-entropy of calibrated answers (Guo et al., On
Calibration of Modern Neural Networks, ICML 2017: one temperature, fitted) varies far less from example to example. How
many points a nat costs, the search's own files tell: a line through their drops, whose value at no extra cross-entropy
is the luck that all share, since a file that answers as the baseline does loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from weighbridge.data import Split
from weighbridge.search.estimate.scores import classifies

Array = NDArray[Any]

HOTTEST = 4.0
"""Temperatures are looked for from one over this to this."""
NEAR = 0.1
"""Drops that a line is drawn through, at most: beyond, a nat costs fewer points. Three times the limit where that is
more.
"""
LEAST = 8
"""Files that a line needs."""
SURE = 4.0
"""Standard errors that its slope must be above zero by: where cross-entropy does not tell what is lost, drops do."""


@dataclass(frozen=True)
class Expected:
    """A drop of the mean score as it is expected on other examples, and its standard deviation."""

    drop: float
    spread: float


@dataclass(frozen=True)
class Line:
    """Drop per nat of extra cross-entropy, and the standard deviation of drops about the line."""

    slope: float
    spread: float

    def at(self, extra: float) -> Expected:
        """What a file of so many nats of extra cross-entropy is expected to lose."""
        return Expected(self.slope * extra, self.spread)


def calibrated_cross_entropy(outputs: Sequence[Array], split: Split) -> float | None:
    """Mean cross-entropy of the right class, in nats, at the temperature at which it is least.

    None where answers are values, or a label is no class of theirs.
    """
    first = outputs[0]
    labels = split.labels[: len(first)]
    if not classifies(first, labels) or not 0 <= labels.min() <= labels.max() < first.shape[1]:
        return None
    answers = first.astype(np.float64)
    if answers.min() >= 0 and np.allclose(answers.sum(1), 1, atol=1e-3):
        answers = np.log(np.maximum(answers, 1e-12))
    rows = np.arange(len(labels))

    def mean(log_temperature: float) -> float:
        return float(-log_softmax(answers * math.exp(-log_temperature), axis=1)[rows, labels].mean())

    ends = (-math.log(HOTTEST), math.log(HOTTEST))
    return float(minimize_scalar(mean, bounds=ends, method="bounded", options={"xatol": 0.01}).fun)


def largest_fitted(limit: float) -> float:
    """The largest drop that a line says anything of."""
    return max(NEAR, 3 * limit)


def fitted_line(seen: Iterable[tuple[float, float]], limit: float) -> Line | None:
    """The line of least squares through pairs of (extra cross-entropy in nats, drop).

    None where they are too few or tell nothing. `limit` is the largest drop that a recipe may have. The order of the
    pairs changes nothing.
    """
    pairs = np.array(sorted({pair for pair in seen if abs(pair[1]) <= largest_fitted(limit)}))
    if len(pairs) < LEAST:
        return None
    extra, drop = pairs.T
    centred = extra - extra.mean()
    squares = float(centred @ centred)
    if squares == 0:
        return None
    slope = float(centred @ drop) / squares
    rest = drop - drop.mean() - slope * centred
    spread = math.sqrt(float(rest @ rest) / (len(pairs) - 2))
    return Line(slope, spread) if slope > SURE * spread / math.sqrt(squares) else None


__all__ = ["Expected", "Line", "calibrated_cross_entropy", "fitted_line", "largest_fitted"]
