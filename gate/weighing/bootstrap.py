"""The paired bootstrap: each resample of the examples goes to both models."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Resampled
from weighbridge.gate.statistics.resampled import moments

Array = NDArray[Any]
Prepared = Callable[[Array], float]
"""A metric as a function of how often each example was drawn (n,)."""
Both = Callable[[Array], tuple[float, float]]
"""A metric of reference and candidate over the examples at these indices (m,)."""

RESAMPLES = 2000
GROUPS = 200
"""Of a jackknife, at most."""
METRIC_SECONDS = 20.0
"""A slow metric gets fewer resamples, so that it takes about this long; the report says so."""
JACKKNIFE_SHARE = 0.25
"""Of that time, at most; without a jackknife the bounds are corrected for bias alone."""


def weighted(ours: Prepared, theirs: Prepared, count: int, seed: int) -> Resampled:
    """The bootstrap of a metric that takes how often each of `count` examples was drawn: reference, candidate."""

    def both(chosen: Array) -> tuple[float, float]:
        weights = np.bincount(chosen, minlength=count).astype(np.float64)
        return ours(weights), theirs(weights)

    return bootstrap(both, count, seed)


def bootstrap(both: Both, count: int, seed: int, clock: Callable[[], float] = time.perf_counter) -> Resampled:
    """Value, resamples and jackknife of one metric, for as long as a metric may take.

    The first resamples are the same however many there is time for.
    """
    begin = clock()
    whole = both(np.arange(count))
    left = METRIC_SECONDS - (clock() - begin)
    groups = _jackknife(both, count, seed, left * JACKKNIFE_SHARE, clock)
    rng = np.random.default_rng(seed)
    pairs: list[tuple[float, float]] = []
    while len(pairs) < RESAMPLES and (not pairs or clock() - begin < METRIC_SECONDS):
        pairs.append(both(rng.integers(0, count, count)))
    return Resampled(
        candidate=whole[1],
        reference=whole[0],
        examples=count,
        candidate_resamples=[float(f"{second:.7g}") for _, second in pairs],
        reference_resamples=[float(f"{first:.7g}") for first, _ in pairs],
        moments=moments(groups[:, 1], groups[:, 0]) if len(groups) else [],
        capped="" if len(pairs) == RESAMPLES else f"{METRIC_SECONDS:g} s allow",
    )


def _jackknife(both: Both, count: int, seed: int, seconds: float, clock: Callable[[], float]) -> Array:
    """Values of reference and candidate (groups, 2) with each group of examples left out; (0, 2) without the time.

    Two hundred groups tell the skewness to 0.003: the influences of a group are the sum of its examples'.
    """
    number = min(count, GROUPS)
    if number < 2:
        return np.zeros((0, 2))
    begin = clock()
    member = np.random.default_rng([seed, 1]).permutation(count) % number
    found = []
    for group in range(number):
        found.append(both(np.flatnonzero(member != group)))
        if clock() - begin > seconds:
            return np.zeros((0, 2))
    return np.asarray(found)
