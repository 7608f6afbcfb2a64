"""Holm's step-down procedure: many budgets, one promise (Holm, Scandinavian Journal of Statistics 6, 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rejection:
    """What Holm's procedure says of one hypothesis."""

    rejected: bool
    alpha: float
    """The level that this hypothesis was tested at, for a bound that agrees with the decision."""


def holm(p_values: Sequence[float], alpha: float) -> list[Rejection]:
    """Test each p-value so that the probability of any false rejection is at most `alpha`.

    The i-th smallest (from 0) of m is tested at `alpha / (m - i)`; the first that is not rejected keeps all larger
    ones from being rejected, and lends them its level.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    rejections: dict[int, Rejection] = {}
    stopped_at: float | None = None
    for rank, index in enumerate(order):
        level = alpha / (len(p_values) - rank)
        if stopped_at is None and p_values[index] <= level:
            rejections[index] = Rejection(rejected=True, alpha=level)
        else:
            stopped_at = level if stopped_at is None else stopped_at
            rejections[index] = Rejection(rejected=False, alpha=stopped_at)
    return [rejections[index] for index in range(len(p_values))]
