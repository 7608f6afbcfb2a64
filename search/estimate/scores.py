"""How good answers are, example by example, and what a recipe loses beside the baseline, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split
from weighbridge.gate.statistics.proportions import Pairs, tango_interval, tango_p_below

Array = NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """Mean score of the baseline minus that of the recipe, on the same examples."""

    drop: float
    lower: float
    upper: float
    flips: float
    """Share of examples right before and wrong now; 0 where answers are values."""
    p_drop: float
    """One-sided p-value of the hypothesis that the true drop is the limit or more."""


def scores(outputs: Sequence[Array], split: Split) -> Array:
    """One score per example: 1 for the right class, else 0; of values minus the squared error.

    NaN or infinite outputs are an `InvariantError`, labels that are neither classes nor values an `InputError`.
    """
    first = outputs[0]
    if not np.isfinite(first).all():
        raise InvariantError("outputs contain NaN or infinite values")
    labels = split.labels[: len(first)]
    if classifies(first, labels):
        return np.asarray(first.argmax(1) == labels, dtype=np.float64)
    if first.size == labels.size:
        error = np.square(first.reshape(len(labels), -1) - labels.reshape(len(labels), -1))
        return np.asarray(-error.mean(1), dtype=np.float64)
    raise InputError(
        f"a search compares classes or values; labels are {labels.dtype} {labels.shape[1:]} per example, "
        f"outputs {first.shape[1:]}",
        where="data",
    )


def classifies(answers: Array, labels: Array) -> bool:
    """Whether the largest entry of each answer is to be the example's label."""
    return labels.dtype.kind in "iub" and labels.ndim == 1 and answers.ndim == 2 and answers.shape[1] > 1


def loss(before: Array, now: Array, limit: float, alpha: float = 0.05) -> Loss:
    """What is lost, with bounds that are each missed with probability `alpha`: Tango's score interval for classes,
    the normal one of paired differences for values.
    """
    if set(np.unique(before)) | set(np.unique(now)) <= {0.0, 1.0}:
        right, kept = before > 0, now > 0
        counts = (right & kept, right & ~kept, ~right & kept, ~right & ~kept)
        pairs = Pairs(*(int(count.sum()) for count in counts))
        lower, upper = tango_interval(pairs, alpha, alpha)
        flips = pairs.only_reference / pairs.total
        return Loss(pairs.drop, lower, upper, flips, tango_p_below(pairs, limit))
    difference = before - now
    mean, spread = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(len(difference))
    reach = -float(special.ndtri(alpha)) * spread
    p_value = float(special.ndtr((mean - limit) / spread)) if spread else float(mean >= limit)
    return Loss(mean, mean - reach, mean + reach, 0.0, p_value)


__all__ = ["Loss", "classifies", "loss", "scores"]
