"""Splits as they lie in a file, and parts of them, chosen with every class in its share: calibration from train,
validation held out of train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import InputError
from weighbridge.core.examples import LazySplit
from weighbridge.core.ragged import buckets, is_ragged
from weighbridge.data import Data, Split, read_npz

CALIBRATION = 512
"""Examples that are taken from train where a data factory gives no calibration split."""


class StoredSplit(LazySplit):
    """A split in an `.npz` file, checked and mapped when something of it is asked for first.

    Examples stay on disk until a batch asks for them. `order` is that of the inputs. An `InputError` where the file is
    not readable.
    """

    def __init__(self, path: Path, order: Sequence[str]) -> None:
        self.__dict__.update(_path=path, _order=tuple(order))

    def make(self) -> Split:
        """The file's arrays."""
        split = read_npz(self.__dict__["_path"], mapped=True)
        inputs = {name: split.inputs[name] for name in self.__dict__["_order"]}
        return Split(inputs, split.labels, split.slices, split.groups)

    def forget(self) -> None:
        """Drop the arrays; they are mapped again when something asks."""
        self.__dict__.pop("whole", None)


class PartSplit(LazySplit):
    """Some examples of another split, in order. Batches are taken from that one; arrays are made where one asks."""

    def __init__(self, split: Split, rows: NDArray[np.intp]) -> None:
        self.__dict__.update(_of=split, _rows=rows)

    def make(self) -> Split:
        """A copy of the examples."""
        found: Split = self.__dict__["_of"].take(self.__dict__["_rows"])
        return found

    @property
    def labelled(self) -> bool:
        """As the whole is."""
        return bool(self.__dict__["_of"].labelled)

    def __len__(self) -> int:
        return len(self.__dict__["_rows"])

    def rows(self, chosen: NDArray[Any] | slice) -> tuple[Mapping[str, NDArray[Any]], NDArray[Any]]:
        """Inputs and labels of the chosen examples of these."""
        found: tuple[Mapping[str, NDArray[Any]], NDArray[Any]] = self.__dict__["_of"].rows(
            self.__dict__["_rows"][chosen]
        )
        return found

    def kinds(self) -> list[NDArray[Any]]:
        """As of any split, without a copy where all examples are alike."""
        alike = not any(is_ragged(array) for array in self.__dict__["_of"].inputs.values())
        return [np.arange(len(self))] if alike else buckets(self.inputs)

    def take(self, chosen: NDArray[Any] | slice) -> Split:
        """The chosen examples of these, by index or mask."""
        found: Split = self.__dict__["_of"].take(self.__dict__["_rows"][chosen])
        return found


def forget(data: Data) -> None:
    """Drop what stored splits hold, calibration apart, which every step and comparison looks at."""
    for split in (data.train, data.test):
        if isinstance(split, StoredSplit):
            split.forget()


def balanced(labels: NDArray[Any], count: int, seed: int) -> NDArray[np.intp]:
    """Indices of `count` examples at most, the classes in equal numbers as far as they go, sorted.

    Labels that are not classes (floats) are drawn without regard to their values.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    if labels.dtype.kind not in "iuU" or labels.ndim != 1:
        return np.sort(order[:count])
    # How many of its class come before an example: taking by that rank deals the classes out in turn.
    rank = np.empty(len(labels), dtype=np.intp)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        rank[of_class] = np.arange(len(of_class))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:count])


def holdout(split: Split, fraction: float, seed: int, *, streams: bool = False) -> tuple[Split, Split]:
    """`split` as (the part to train on, a validation part of about `fraction`), classes balanced in the latter; of
    `streams`, whole ones.

    Slices go with their examples. An `InputError` where either part would be empty.
    """
    count = round(len(split) * fraction)
    if not 0 < count < len(split):
        raise InputError(f"a validation part of {fraction:.0%} of {len(split)} examples leaves a part empty")
    held = np.zeros(len(split), dtype=bool)
    held[whole_groups(split, count, seed) if streams else balanced(split.labels, count, seed)] = True
    if held.all():
        raise InputError("one stream is all of the examples: no part can be held out", where="data")
    return PartSplit(split, np.flatnonzero(~held)), PartSplit(split, np.flatnonzero(held))


def whole_groups(split: Split, count: int, seed: int) -> NDArray[np.intp]:
    """Indices of whole groups, drawn until they are `count` examples or more, sorted; without groups the first `count`:
    they are one stream.
    """
    if split.groups is None:
        return np.arange(min(count, len(split)))
    names, sizes = np.unique(split.groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    most = int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1
    return np.flatnonzero(np.isin(split.groups, names[order[:most]]))


def calibration(train: Split, given: Split | None, seed: int, where: str, *, streams: bool = False) -> Split:
    """The calibration split: as given, or drawn class-balanced from train; of `streams`, whole ones.

    One without examples, or with a single class where train has several, is an `InputError`: ranges observed on
    it would clip what the other classes need.
    """
    drawn = whole_groups(train, CALIBRATION, seed) if streams else balanced(train.labels, CALIBRATION, seed)
    chosen = given if given is not None else train.take(drawn)
    if len(chosen) == 0:
        raise InputError("the calibration split is empty", where=where, fix="give examples, or leave it None")
    if chosen.labels.dtype.kind in "iuU" and len(np.unique(chosen.labels)) == 1 and len(np.unique(train.labels)) > 1:
        raise InputError(
            f"the calibration split holds one class alone ({chosen.labels.flat[0]})",
            where=where,
            fix="give examples of every class, or leave it None",
        )
    return chosen
