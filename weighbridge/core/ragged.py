"""Examples that differ in length: their values one after the other, and the shape of each.

Numpy alone: a device gets this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Ragged:
    """Examples of one type and rank whose shapes differ; they are never padded.

    `flat` has the values of all examples one after the other; `shapes` (n, rank) has their shapes. `len`, one index,
    slices, masks and arrays of indices work as on an array (n, …). Raises `ValueError` where both do not fit.
    """

    def __init__(self, flat: Array, shapes: Array) -> None:
        if shapes.ndim != 2 or shapes.dtype.kind not in "iu" or (shapes < 0).any():
            raise ValueError(f"shapes are {shapes.dtype} of shape {shapes.shape}; expected whole numbers (n, rank)")
        self.flat = flat.reshape(-1)
        self.shapes = shapes.astype(np.int64)
        sizes = self.shapes.prod(axis=1)
        if int(sizes.sum()) != len(self.flat):
            raise ValueError(f"the lengths describe {int(sizes.sum()):,} values; there are {len(self.flat):,}")
        self._ends = np.concatenate([[0], np.cumsum(sizes)])

    @classmethod
    def of(cls, examples: Sequence[Array]) -> Ragged:
        """From one array for each example; `ValueError` where types or ranks differ, or there is none."""
        arrays = [np.asarray(example) for example in examples]
        kinds = {(array.dtype.kind if array.dtype.kind == "U" else array.dtype.str, array.ndim) for array in arrays}
        if len(kinds) != 1 or arrays[0].ndim == 0:
            raise ValueError(f"expected arrays of one type and rank, found {len(kinds)} kinds of them")
        return cls(np.concatenate([array.reshape(-1) for array in arrays]), np.array([a.shape for a in arrays]))

    @classmethod
    def by_lengths(cls, values: Array, lengths: Array) -> Ragged:
        """From values (sum of lengths, …), which the lengths (n,) cut along their first axis."""
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
            raise ValueError(f"lengths are {lengths.dtype} of shape {lengths.shape}; expected whole numbers (n,)")
        rest = np.tile(np.array(values.shape[1:], np.int64), (len(lengths), 1))
        return cls(values, np.concatenate([lengths[:, None].astype(np.int64), rest], axis=1))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.flat.dtype

    @property
    def nbytes(self) -> int:
        """Of the values."""
        return int(self.flat.nbytes)

    @property
    def ndim(self) -> int:
        """The examples' rank, and one for the axis that counts them."""
        return 1 + int(self.shapes.shape[1])

    def __len__(self) -> int:
        return len(self.shapes)

    def __iter__(self) -> Iterator[Array]:
        return (self._one(index) for index in range(len(self)))

    def __getitem__(self, chosen: Any) -> Any:
        if isinstance(chosen, int | np.integer):
            return self._one(int(chosen) % len(self))
        places = np.arange(len(self))[chosen]
        parts = [self._one(int(place)).reshape(-1) for place in places]
        return Ragged(np.concatenate(parts) if parts else self.flat[:0], self.shapes[places])

    def _one(self, index: int) -> Array:
        return self.flat[self._ends[index] : self._ends[index + 1]].reshape(self.shapes[index])

    def changed(self, values: Callable[[Array], Array]) -> Ragged:
        """The same shapes with other values; the function gets and gives all of them, flat."""
        return Ragged(values(self.flat), self.shapes)

    def padded(self, fill: Any = 0, least: int = 0) -> Array:
        """As one array (n, …) of the largest size along each axis, and `least` along the first, filled up behind: for
        answers, never for inputs.
        """
        sizes = self.shapes.max(axis=0)
        whole = np.full((len(self), max(int(sizes[0]), least), *sizes[1:]), fill, self.dtype)
        for index, example in enumerate(self):
            place: Any = (index, *(slice(size) for size in example.shape))
            whole[place] = example
        return whole

    def inside(self, least: int = 0) -> Array:
        """Booleans (n, longest): which places along the first axis of `padded` have a value."""
        return np.asarray(np.arange(max(int(self.shapes[:, 0].max(initial=0)), least)) < self.shapes[:, :1])


def is_ragged(array: Any) -> TypeGuard[Ragged]:
    """Whether examples differ in length."""
    return isinstance(array, Ragged)


def values_of(array: Any) -> Array:
    """All values of an array, or of examples that differ in length."""
    return array.flat if is_ragged(array) else np.asarray(array)


def plain(arrays: Mapping[str, Any]) -> dict[str, Array]:
    """Plain arrays alone: values and `NAME.shapes` for examples that differ in length."""
    found: dict[str, Array] = {}
    for name, array in arrays.items():
        found[name] = values_of(array)
        if is_ragged(array):
            found[f"{name}.shapes"] = array.shapes
    return found


def buckets(arrays: Mapping[str, Any]) -> list[Array]:
    """Indices (k,) of examples that are alike in every shape, one array a kind, by the first example of each."""
    ragged = [array.shapes for array in arrays.values() if is_ragged(array)]
    if not ragged:
        return [np.arange(min(len(array) for array in arrays.values()))]
    _, first, kinds = np.unique(np.concatenate(ragged, axis=1), axis=0, return_index=True, return_inverse=True)
    kinds = kinds.reshape(-1)
    return [np.flatnonzero(kinds == kind) for kind in np.argsort(first, kind="stable")]


def stacked(arrays: Mapping[str, Any], chosen: Array) -> dict[str, Array]:
    """The chosen examples, which are alike in every shape, as plain arrays (k, …)."""
    return {
        name: np.stack([array[int(index)] for index in chosen]) if is_ragged(array) else array[chosen]
        for name, array in arrays.items()
    }


def joined(parts: Sequence[tuple[Array, Array]]) -> Any:
    """Answers by bucket, as (indices, answers (k, …)), in the examples' order; ragged where their shapes differ."""
    order = np.argsort(np.concatenate([chosen for chosen, _ in parts]), kind="stable")
    if len({part.shape[1:] for _, part in parts}) == 1:
        return np.concatenate([part for _, part in parts])[order]
    rows = [row for _, part in parts for row in part]
    return Ragged.of([rows[place] for place in order])


def token_width(labels: Array) -> int:
    """How many tokens the labels have places for; 0 where they are not labels of tokens."""
    return labels.shape[1] if labels.ndim == 2 + (labels.dtype.kind == "f") else 0


def filled_up(answers: Any, labels: Array) -> Array:
    """Answers as one array; those that differ in length get zeros behind, as far as labels of tokens reach."""
    return answers.padded(least=token_width(labels)) if is_ragged(answers) else np.asarray(answers)
