"""Codebooks: shared values, which weights use which, and how both survive training.

Everything is deterministic: k-means in one dimension on sorted weights, and a hash of positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weighbridge.compress.steps import Constraint

Init = Literal["linear", "density", "least_squares"]
GROUPS = 512
"""Places where clusters may end before k-means refines them, by ranks, and as many by values."""
ITERATIONS = 300
"""Rounds of k-means at most; in one dimension it settles long before."""
MULTIPLIERS = (0x9E3779B1, 0x85EBCA77 >> 1 | 1, 0xC2B2AE3D >> 1 | 1)
"""Of the hash of positions: primes of XXH32 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), the last two halved."""
SHIFTS = (15, 13, 16)
"""How far the hash folds its high bits down, as XXH32 does at its end."""


@dataclass(frozen=True)
class _Places:
    """The weights of one tensor that are not zero: flat positions, codes and signs, each (kept,)."""

    kept: Tensor
    codes: Tensor
    signs: Tensor | None


@dataclass(frozen=True)
class Codebook(Constraint):
    """Which shared value each weight of some tensors uses.

    `codes` maps a parameter's name to int64 codes of its shape; code `size` stands for zero, which never moves.
    `signs` are ±1 factors (HashedNets) or absent. Shared values are not kept here but read from the weights: the
    mean of those that use one.
    """

    owner: str
    """The tensor, the layer, or `all layers`."""
    size: int
    """Values, zero not counted."""
    codes: Mapping[str, Tensor]
    signs: Mapping[str, Tensor] | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"share codebook of {self.owner}"

    def before_step(self, module: nn.Module) -> None:
        """Give every weight the summed gradient of all that share its value; zeros get none."""
        parameters = dict(module.named_parameters())
        gradients = {name: parameters[name].grad for name in self.codes}
        present = {name: gradient for name, gradient in gradients.items() if gradient is not None}
        if len(present) == len(self.codes):
            sums = self._totals(present)
            for name, gradient in present.items():
                gradient.copy_(self._spread(sums, name))

    def project(self, module: nn.Module) -> None:
        """Set every weight to its shared value: the mean over the weights that use it."""
        values = self.values(module)
        parameters = dict(module.named_parameters())
        with torch.no_grad():
            for name in self.codes:
                parameters[name].copy_(self._spread(values, name))

    def violation(self, module: nn.Module) -> str | None:
        """Which parameter is gone, has another shape, or holds weights that differ from their shared value."""
        parameters = dict(module.named_parameters())
        for name, codes in self.codes.items():
            if name not in parameters:
                return f"{name} is gone"
            if parameters[name].shape != codes.shape:
                return f"{name} has shape {tuple(parameters[name].shape)}, its codes {tuple(codes.shape)}"
        values = self.values(module)
        for name in self.codes:
            found = parameters[name].detach().cpu()
            # Means are taken in float64, so that equal weights give themselves back.
            if not torch.equal(self._spread(values, name), found):
                return f"{name} holds {len(np.unique(found))} distinct values; at most {self.distinct} were shared"
        return None

    @property
    def distinct(self) -> int:
        """Distinct values that a tensor may hold: the shared ones, their negatives if signed, and zero if used."""
        zero = any(bool((codes == self.size).any()) for codes in self.codes.values())
        return self.size * (1 if self.signs is None else 2) + int(zero)

    def values(self, module: nn.Module) -> Tensor:
        """The shared values (size,), float64."""
        parameters = dict(module.named_parameters())
        return self._totals({name: parameters[name].detach() for name in self.codes}) / self._counts

    @cached_property
    def _places(self) -> dict[str, _Places]:
        """Where each tensor's weights that are not zero stand: all that a step of training touches."""
        places = {}
        for name, codes in self.codes.items():
            kept = (codes.flatten() != self.size).nonzero().flatten()
            signs = None if self.signs is None else self.signs[name].flatten()[kept]
            places[name] = _Places(kept, codes.flatten()[kept], signs)
        return places

    @cached_property
    def _counts(self) -> Tensor:
        return sum(
            (torch.bincount(place.codes, minlength=self.size) for place in self._places.values()),
            start=torch.zeros(self.size, dtype=torch.int64),
        ).clamp(min=1)

    def _totals(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The (signed) sum over the weights of each shared value (size,), float64."""
        totals = torch.zeros(self.size, dtype=torch.float64)
        for name, tensor in tensors.items():
            place = self._places[name]
            terms = tensor.cpu().flatten()[place.kept].double()
            terms = terms if place.signs is None else terms * place.signs
            totals += torch.bincount(place.codes, terms, minlength=self.size)
        return totals

    def _spread(self, values: Tensor, name: str) -> Tensor:
        """A tensor with `values` (size,) in the places that use them, zero elsewhere."""
        place = self._places[name]
        taken = values.float()[place.codes]
        spread = torch.zeros(self.codes[name].numel())
        spread[place.kept] = taken if place.signs is None else taken * place.signs
        return spread.reshape(self.codes[name].shape)


def shared_parameters(constraints: Iterable[Constraint]) -> frozenset[str]:
    """Names of the parameters that a codebook covers."""
    return frozenset(name for item in constraints if isinstance(item, Codebook) for name in item.codes)


def codebook_of(owner: str, tensors: Mapping[str, NDArray[Any]], size: int, init: Init) -> Codebook:
    """The k-means codebook of the weights of some tensors; exact zeros get the code of zero."""
    kept = np.concatenate([tensor[tensor != 0].ravel() for tensor in tensors.values()])
    centers = kmeans(kept, size, init) if len(kept) else np.zeros(1, dtype=np.float32)
    codes = {}
    for name, tensor in tensors.items():
        nearest = assign(tensor.ravel(), centers).reshape(tensor.shape)
        codes[name] = torch.from_numpy(np.where(tensor == 0, len(centers), nearest))
    return Codebook(owner, len(centers), codes)


def hashed_codebook(name: str, tensor: NDArray[Any], ratio: float, seed: int) -> Codebook:
    """Codes and signs by the hash of each weight's position; exact zeros get the code of zero.

    `ratio` is the number of values per weight. The values that the codebook starts from (signed means over the
    weights of a bucket) are those nearest to the weights in the least-squares sense.
    """
    size = max(1, round(ratio * tensor.size))
    codes, signs = hash_positions(tensor.size, size, seed)
    codes = np.where(tensor.ravel() == 0, size, codes).reshape(tensor.shape)
    factors = torch.from_numpy(signs.astype(np.float32).reshape(tensor.shape))
    return Codebook(name, size, {name: torch.from_numpy(codes)}, {name: factors})


def hash_positions(count: int, size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bucket (0 … size-1) and sign (±1) of the positions 0 … count-1, as two int64 arrays (count,).

    Mixed like the last lines of XXH32, on position times prime plus seed, with multipliers of 31 bits: every product
    stays below 2^63, so that int64 arithmetic of any runtime gives the same codes.
    """
    mixed = (np.arange(count, dtype=np.int64) * MULTIPLIERS[0] + seed) & 0xFFFFFFFF
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS[1:], strict=False):
        mixed = ((mixed ^ (mixed >> shift)) * multiplier) & 0xFFFFFFFF
    mixed ^= mixed >> SHIFTS[-1]
    return (mixed >> 1) % size, 1 - 2 * (mixed & 1)


def kmeans(values: NDArray[Any], size: int, init: Init = "linear") -> NDArray[np.float32]:
    """At most `size` centers, ascending, that minimise the squared distance of `values` (n,) to the nearest.

    Lloyd's rounds in one dimension: clusters are runs of the sorted values. They end in a minimum near their start,
    whose error is a third above the least for some weights; `least_squares` starts at the least one. A center that
    lost all its values splits the cluster with the largest squared error. Where there are no more distinct values
    than centers, they are the centers.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    if len(distinct) <= size:
        return distinct.astype(np.float32)
    sums = np.stack([_running(counts * distinct**power) for power in (0, 1, 2)])
    centers = _start(distinct, sums, size, init)
    cuts = np.zeros(0, dtype=np.intp)
    for _ in range(ITERATIONS):
        before, cuts = cuts, _cuts(distinct, centers)
        bounds = np.concatenate(([0], cuts, [len(distinct)]))
        weight, total, squares = np.diff(sums[:, bounds])
        used = weight > 0
        if used.all() and np.array_equal(before, cuts):
            break
        centers = total[used] / weight[used]
        if not used.all():
            spread = np.where(np.diff(bounds)[used] > 1, squares[used] - total[used] * centers, -1)
            widest = int(np.argmax(spread))
            halves = _halves(distinct, sums, bounds[:-1][used][widest], bounds[1:][used][widest])
            centers = np.concatenate((centers[:widest], halves, centers[widest + 1 :]))
            # Those still without values wait beyond the last value; one is placed in each round.
            centers = np.concatenate((centers, np.full(size - len(centers), np.inf)))
    return np.unique(centers[np.isfinite(centers)].astype(np.float32))


def _start(distinct: NDArray[np.float64], sums: NDArray[np.float64], size: int, init: Init) -> NDArray[np.float64]:
    if init == "linear":
        return np.linspace(distinct[0], distinct[-1], size)
    if init == "least_squares":
        return _least_squares(distinct, sums, size)
    ranks = (np.arange(size) + 0.5) / size * sums[0, -1]
    return np.asarray(distinct[np.searchsorted(sums[0, 1:], ranks)])


def _least_squares(distinct: NDArray[np.float64], sums: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The centers (size,) of least squared error among clusters that end at some of about 2 x `GROUPS` places.

    By dynamic programming over the sorted values (Wang and Song, "Ckmeans.1d.dp", The R Journal 3/2, 2011). With
    fewer distinct values than `GROUPS` every place between two is one of them, and the result is exact.
    """
    count = len(distinct)
    by_value = np.searchsorted(distinct, np.linspace(distinct[0], distinct[-1], GROUPS + 1)[1:-1])
    by_rank = np.linspace(0, count, min(count, GROUPS) + 1).round().astype(np.intp)
    # As many places as centers at least, whatever the values.
    places = np.unique(np.concatenate((by_rank, by_value, np.linspace(0, count, min(count, size) + 1).astype(np.intp))))
    weight, total, squares = (row[places][None, :] - row[places][:, None] for row in sums)
    filled = np.triu(np.ones_like(weight, dtype=bool), 1)
    error = np.where(filled, squares - total**2 / np.where(filled, weight, 1), np.inf)
    least, ends = error[0], []
    for _ in range(size - 1):
        through = least[:, None] + error
        ends.append(through.argmin(axis=0))
        least = through.min(axis=0)
    cuts = [len(places) - 1]
    for before in reversed(ends):
        cuts.append(int(before[cuts[-1]]))
    bounds = places[[0, *reversed(cuts)]]
    weight, total, _ = np.diff(sums[:, bounds])
    return np.asarray(total / weight)


def _halves(distinct: NDArray[np.float64], sums: NDArray[np.float64], low: int, high: int) -> NDArray[np.float64]:
    """The means below and above the mean of the run low … high-1 of at least two values."""
    mean = (sums[1, high] - sums[1, low]) / (sums[0, high] - sums[0, low])
    middle = np.clip(np.searchsorted(distinct, mean), low + 1, high - 1)
    weight, total, _ = np.diff(sums[:, [low, middle, high]])
    return np.asarray(total / weight)


def _cuts(distinct: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.intp]:
    """Where the run of values nearest to one of the ascending centers ends and the next begins."""
    return np.searchsorted(distinct, (centers[1:] + centers[:-1]) / 2)


def _running(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))


def assign(values: NDArray[Any], centers: NDArray[Any]) -> NDArray[np.int64]:
    """The index of the nearest of the ascending `centers` for each of `values` (n,), as int64 (n,)."""
    middle = (centers[1:].astype(np.float64) + centers[:-1]) / 2
    return np.searchsorted(middle, values.astype(np.float64)).astype(np.int64)
