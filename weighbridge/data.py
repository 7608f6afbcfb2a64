"""The contract of a user's data factory, and the `.npz` form of an evaluation set.

A data factory is a callable without arguments that returns a `Data`. Arrays are numpy's; nothing here
imports a deep-learning library, so that the gate can load the same factory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.core.callables import call_factory
from weighbridge.core.errors import InputError
from weighbridge.core.example_files import read_npz, split_of, write_npz
from weighbridge.core.examples import Array, LazySplit, Split
from weighbridge.core.ragged import Ragged

__all__ = [
    "Data",
    "Ragged",
    "Split",
    "StreamedSplit",
    "examples_of",
    "load_data",
    "read_npz",
    "write_npz",
]


class StreamedSplit(LazySplit):
    """A data set of PyTorch, Hugging Face or numpy, read example by example into a file, which is mapped."""

    def __init__(self, source: Any, names: Sequence[str], role: str) -> None:
        self.__dict__.update(source=source, names=tuple(names), role=role, most=None, missing=None)

    def bound(self, most: int | None) -> None:
        """Read `most` examples of a stream that does not say its length."""
        self.__dict__["most"] = most

    def require_known(self, missing: Collection[str], where: str) -> None:
        """As for any split, once the examples are read."""
        self.__dict__["missing"] = (missing, where)

    def read(self) -> None:
        """Read the examples now, where that was not done."""
        len(self.whole)

    def make(self) -> Split:
        """The examples, read; an `InputError` where one does not fit, or a stream to train on has no end."""
        from weighbridge.core.formats.example_stream import length_of, spooled  # noqa: PLC0415  # see `Split.digest`

        source, where = self.__dict__["source"], f"data.factory: {self.__dict__['role']}"
        most = None if length_of(source) is not None else self.__dict__["most"]
        if most is None and self.__dict__["role"] == "train" and length_of(source) is None:
            raise InputError(
                "is a stream of unknown length",
                where=where,
                fix="give train.steps in params.yaml, or the data set a __len__",
            )
        split = split_of(spooled(source, self.__dict__["names"], where, most))
        if self.__dict__["missing"] is not None:
            split.require_known(*self.__dict__["missing"])
        return split


@dataclass(frozen=True)
class Data:
    """What a data factory returns: named splits, and the code around the model that users wait for too.

    Each of `train`, `test` and `calibration` may be a data set instead of a `Split`: a torch `Dataset` or
    `IterableDataset`, a Hugging Face data set, a numpy memory map, any iterable. It is read example by example. An
    example is a mapping of names to values (`labels` or `label`, `groups` and `slice:NAME` among them), or a tuple of
    the inputs `names`, with a label last.
    """

    train: Split
    test: Split
    calibration: Split | None = None
    """Taken from train (class-balanced) where it is None; never from test."""
    preprocess: Callable[[Any], Mapping[str, Array]] | None = None
    """From one raw example to the model's inputs, each (1, …)."""
    postprocess: Callable[[list[Array]], Any] | None = None
    """From the model's outputs to the answer."""
    raw: Any = None
    """A sequence of raw examples for `preprocess`, as long as test."""
    names: Sequence[str] = ("input",)
    """The model's inputs in the order of an example that is a tuple."""

    def __post_init__(self) -> None:
        for role in ("train", "test", "calibration"):
            given: Any = getattr(self, role)
            if given is not None and not isinstance(given, Split):
                object.__setattr__(self, role, StreamedSplit(given, self.names, role))


def load_data(reference: str, where: str = "params.yaml: data.factory", missing: Collection[str] | None = ()) -> Data:
    """Call a data factory and check what it returned; inputs in `missing` may contain NaN, any where it is None."""
    data = call_factory(reference, where)
    if not isinstance(data, Data):
        raise InputError(
            f"{reference} returned {type(data).__name__}", where=where, fix="expected a weighbridge.data.Data"
        )
    for name, split in (("train", data.train), ("test", data.test)):
        if not isinstance(split, StreamedSplit) and len(split) == 0:
            raise InputError(f"the {name} split is empty", where=where)
    for part in (data.train, data.test, data.calibration):
        if part is not None and missing is not None:
            part.require_known(missing, where)
    return data


def examples_of(path: Path, test: float, seed: int = 7) -> Data:
    """One `.npz` of examples as test and training splits; `test` is the share of the first, drawn by the seed.

    Examples of one group stay together. Raises `InputError` as `read_npz` does, and where a split would be empty.
    """
    every = read_npz(path)
    units = np.arange(len(every)) if every.groups is None else np.unique(every.groups, return_inverse=True)[1]
    names = np.random.default_rng(seed).permutation(int(units.max(initial=-1)) + 1)
    if len(names) < 2:
        raise InputError("has fewer than two examples, or two groups", where=str(path), fix="give more")
    chosen = np.isin(units, names[: max(1, min(len(names) - 1, round(test * len(names))))])
    return Data(train=every.take(np.flatnonzero(~chosen)), test=every.take(np.flatnonzero(chosen)))
