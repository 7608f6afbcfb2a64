"""The paired bootstrap: each resample of the examples goes to both models; examples of a group are drawn together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Resampled
from weighbridge.gate.statistics.resampled import moments, recorded

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


@dataclass(frozen=True)
class Clusters:
    """What is drawn: single examples, or groups of them."""

    members: tuple[Array, ...]
    """Of each group, its examples' indices."""

    @classmethod
    def of(cls, groups: Array) -> Clusters:
        """The groups that examples name (n,), of integers or text."""
        _, member = np.unique(groups, return_inverse=True)
        order = np.argsort(member, kind="stable")
        return cls(tuple(np.split(order, np.cumsum(np.bincount(member))[:-1])))

    def __len__(self) -> int:
        return len(self.members)

    def examples(self, chosen: Array) -> Array:
        """Indices of the examples of the chosen groups, once for each time that a group was chosen."""
        return np.concatenate([self.members[index] for index in chosen])


def weighted(ours: Prepared, theirs: Prepared, count: int, seed: int, groups: Array | None = None) -> Resampled:
    """The bootstrap of a metric that takes how often each of `count` examples was drawn: reference, candidate."""

    def both(chosen: Array) -> tuple[float, float]:
        weights = np.bincount(chosen, minlength=count).astype(np.float64)
        return ours(weights), theirs(weights)

    return bootstrap(both, count, seed, groups=groups)


def bootstrap(
    both: Both, count: int, seed: int, clock: Callable[[], float] = time.perf_counter, groups: Array | None = None
) -> Resampled:
    """Value, resamples and jackknife of one metric, for as long as a metric may take.

    The first resamples are the same however many there is time for. With `groups` (n,) whole groups are drawn, as
    their examples do not vary independently (Davison and Hinkley, "Bootstrap Methods", 1997, section 3.8).
    """
    begin = clock()
    clusters = None if groups is None else Clusters.of(groups)
    whole = both(np.arange(count))
    left = METRIC_SECONDS - (clock() - begin)
    influences = _jackknife(both, count, seed, left * JACKKNIFE_SHARE, clock, clusters)
    rng = np.random.default_rng(seed)
    pairs: list[tuple[float, float]] = []
    while len(pairs) < RESAMPLES and (not pairs or clock() - begin < METRIC_SECONDS):
        drawn = count if clusters is None else len(clusters)
        chosen = rng.integers(0, drawn, drawn)
        pairs.append(both(chosen if clusters is None else clusters.examples(chosen)))
    return Resampled(
        candidate=whole[1],
        reference=whole[0],
        examples=count,
        candidate_resamples=[recorded(second) for _, second in pairs],
        reference_resamples=[recorded(first) for first, _ in pairs],
        moments=moments(influences[:, 1], influences[:, 0]) if len(influences) else [],
        capped="" if len(pairs) == RESAMPLES else f"{METRIC_SECONDS:g} s allow",
        groups=None if clusters is None else len(clusters),
    )


def _jackknife(  # noqa: PLR0913, PLR0917  # what `bootstrap` was given
    both: Both, count: int, seed: int, seconds: float, clock: Callable[[], float], clusters: Clusters | None
) -> Array:
    """Values of reference and candidate (groups, 2) with each group of examples left out; (0, 2) without the time.

    Two hundred groups tell the skewness to 0.003: the influences of a group are the sum of its examples'.
    """
    drawn = count if clusters is None else len(clusters)
    number = min(drawn, GROUPS)
    if number < 2:
        return np.zeros((0, 2))
    begin = clock()
    member = np.random.default_rng([seed, 1]).permutation(drawn) % number
    found = []
    for group in range(number):
        kept = np.flatnonzero(member != group)
        found.append(both(kept if clusters is None else clusters.examples(kept)))
        if clock() - begin > seconds:
            return np.zeros((0, 2))
    return np.asarray(found)
