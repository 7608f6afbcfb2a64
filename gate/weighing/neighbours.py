"""What a change of embeddings does to those who use them: the neighbours that a search finds, the order of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NEIGHBOURS = 10
GALLERY = 5_000
"""Examples that are searched at most, drawn at random."""
PARTNERS = 16
"""Pairs that each example is part of, at most twice as many."""
_ROWS = 512


def recall(reference: Array, candidate: Array, seed: int) -> Array:
    """Of each example (n,): which share of the reference's ten nearest neighbours the candidate finds among its ten.

    `reference` and `candidate` are embeddings (n, d), compared by cosine; an example is not its own neighbour.
    """
    count = len(reference)
    nearest = min(NEIGHBOURS, count - 1)
    gallery = np.sort(np.random.default_rng(seed).permutation(count)[:GALLERY])
    found = np.empty(count)
    units = [_units(array) for array in (reference, candidate)]
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        theirs, ours = (_nearest(unit, rows, gallery, nearest) for unit in units)
        found[rows] = (theirs[:, :, None] == ours[:, None, :]).any(axis=2).mean(axis=1)
    return found


class PairOrder:
    """Spearman's correlation of the similarity of pairs, between two sets of embeddings (n, d)."""

    def __init__(self, reference: Array, candidate: Array, seed: int) -> None:
        count = len(reference)
        rng = np.random.default_rng([seed, 5])
        shifts = 1 + rng.permutation(count - 1)[:PARTNERS]
        self.first = np.tile(np.arange(count), len(shifts))
        self.second = (self.first + np.repeat(shifts, count)) % count
        ranks = [self._ranks(_units(array)) for array in (reference, candidate)]
        self.products = ranks[0] * ranks[1], ranks[0] ** 2, ranks[1] ** 2
        self.ranks = ranks

    def value(self, weights: Array) -> float:
        """The correlation where example i was drawn `weights[i]` times; a pair counts by the product of both."""
        drawn = weights[self.first] * weights[self.second]
        total = drawn.sum()
        if total == 0:
            return 1.0
        means = [float(drawn @ rank) / total for rank in self.ranks]
        both, first, second = (float(drawn @ product) / total for product in self.products)
        spread = np.sqrt(max(first - means[0] ** 2, 0) * max(second - means[1] ** 2, 0))
        return float((both - means[0] * means[1]) / spread) if spread > 1e-12 else 1.0

    def _ranks(self, unit: Array) -> Array:
        from scipy.stats import rankdata  # noqa: PLC0415  # takes a second of every weighing that ranks nothing

        similar = np.einsum("ij,ij->i", unit[self.first], unit[self.second])
        ranks = rankdata(similar)
        return np.asarray((ranks - ranks.mean()) / max(float(ranks.std()), 1e-12))


def _units(array: Array) -> Array:
    flat = array.reshape(len(array), -1).astype(np.float64)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, length, out=np.zeros(flat.shape), where=length > 0))


def _nearest(unit: Array, rows: Array, gallery: Array, count: int) -> Array:
    similar = unit[rows] @ unit[gallery].T
    similar[rows[:, None] == gallery[None, :]] = -np.inf
    best = np.argpartition(-similar, count - 1, axis=1)[:, :count]
    return np.asarray(gallery[best])
