"""Percentile bounds of a bootstrap: order statistics of the resampled values (Efron and Tibshirani, 1993, ch. 13).

Percentile bounds, not BCa: the evidence holds the resamples and the point, not the examples that BCa's acceleration
needs. They miss a little more often than they say on small sets; the judge names the number of examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile_lower(values: Sequence[float], alpha: float) -> float:
    """The bound with a share of at most `alpha` of the resamples below it; minus infinity where they are too few."""
    rank = math.floor(alpha * (len(values) + 1))
    return sorted(values)[rank - 1] if rank >= 1 else -math.inf


def percentile_upper(values: Sequence[float], alpha: float) -> float:
    """The bound with a share of at most `alpha` of the resamples above it; infinity where they are too few."""
    return -percentile_lower([-value for value in values], alpha)


def resampled_p_above(values: Sequence[float], limit: float) -> float:
    """Share of resamples at or below `limit`, the observed sample counted as one of them."""
    return (1 + sum(value <= limit for value in values)) / (len(values) + 1)
