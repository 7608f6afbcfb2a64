"""A data set read one example after the other into arrays on disk, so that memory holds one example at a time.

Takes what PyTorch, Hugging Face and numpy call a data set: something to iterate (a torch `IterableDataset`, a
`datasets.Dataset` or `IterableDataset`, a list, a memory map), or something with a length and an index (a torch
`Dataset`). Nothing here imports any of them.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import InputError

Array = NDArray[Any]

LABEL_KEYS = ("labels", "label")
BESIDE = ("labels", "groups")
"""What an example has besides the model's inputs; and `slice:NAME`, a truth value."""


def length_of(source: Any) -> int | None:
    """How many examples a data set says it has; None where it does not say."""
    try:
        return len(source)
    except TypeError:
        return None


def spooled(source: Any, names: Sequence[str], where: str, most: int | None = None) -> dict[str, Array]:
    """Every example of `source`, `most` of them at most, as arrays (n, …) by name that are mapped from a file.

    `names` are those of the inputs where an example is a tuple. The files lie in the working folder's file system and
    have no name: they go with the arrays. Where examples differ in shape, `NAME` has their values one after the other
    and `NAME.shapes` their shapes. Raises `InputError` that names the example where one has other names, another type
    or number of axes than the first, where reading fails, and where there are none or not as many as the data set says.
    """
    if not names or len(set(names)) < len(names):
        raise InputError(f"names are {tuple(names)}; expected a different one for each input", where=where)
    expected = length_of(source)
    columns: dict[str, _Column] = {}
    count = 0
    for count, example in enumerate(itertools.islice(_examples(source, where), most), start=1):
        row = _named(example, names, f"{where}: example {count - 1}")
        if count == 1:
            columns = {name: _Column(value) for name, value in row.items()}
        if row.keys() != columns.keys():
            raise InputError(
                f"has {', '.join(row)}; the first example has {', '.join(columns)}",
                where=f"{where}: example {count - 1}",
            )
        for name, value in row.items():
            columns[name].add(value, f"{where}: example {count - 1}: {name}")
    wanted = expected if most is None or expected is None else min(expected, most)
    if count == 0 or (wanted is not None and count != wanted):
        says = "" if wanted is None else f"; the data set says {wanted}"
        raise InputError(f"gave {count} examples{says}", where=where)
    found: dict[str, Array] = {}
    for name, column in columns.items():
        found[name], shapes = column.whole()
        if shapes is not None:
            found[f"{name}.shapes"] = shapes
    return found


class _Column:
    """One array on its way to a file: values one after the other, and the shape of each example."""

    def __init__(self, first: Array) -> None:
        self.dtype, self.ndim = first.dtype, first.ndim
        self.texts: list[Array] | None = [] if first.dtype.kind == "U" else None
        self.shapes: list[tuple[int, ...]] = []
        self.file: IO[bytes] = nameless_file()

    def add(self, value: Array, where: str) -> None:
        if value.dtype.kind not in "iufbU":
            raise InputError(f"is {value.dtype}, not numbers or text", where=where, fix="convert it, or leave it out")
        alike = value.dtype.kind == "U" if self.texts is not None else value.dtype == self.dtype
        if not alike or value.ndim != self.ndim:
            raise InputError(
                f"is {value.dtype} {value.shape}; the first example has {self.dtype} {(*self.shapes[0],)}",
                where=where,
                fix="bring all examples to one type and number of axes",
            )
        self.shapes.append(value.shape)
        if self.texts is not None:
            self.texts.append(value)
        else:
            self.file.write(np.ascontiguousarray(value).data)

    def whole(self) -> tuple[Array, Array | None]:
        """The array (n, …); or, where examples differ in shape, all values and the shapes (n, axes)."""
        alike = all(shape == self.shapes[0] for shape in self.shapes)
        if self.texts is not None:
            flat = np.concatenate([text.reshape(-1) for text in self.texts])
        else:
            self.file.flush()
            flat = on_disk(self.file, (sum(map(prod, self.shapes)),), self.dtype)
        return (flat.reshape(len(self.shapes), *self.shapes[0]), None) if alike else (flat, np.array(self.shapes))


def nameless_file() -> IO[bytes]:
    """A file on the working folder's disk that vanishes with its last reader; /tmp may be memory, or small."""
    try:
        return tempfile.TemporaryFile(dir=Path.cwd())  # its arrays keep it
    except OSError:
        return tempfile.TemporaryFile()


def on_disk(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array mapped from a file's start, of which the system keeps in memory what it has room for.

    Writing to it changes nothing in the file.
    """
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(file, dtype, "c", shape=shape))


def _examples(source: Any, where: str) -> Iterator[Any]:
    """The examples in order; whatever reading them raises is an `InputError` that names the example."""
    if hasattr(source, "batch_sampler"):
        raise InputError("is a DataLoader, which gives batches", where=where, fix="give its data set")
    iterates = hasattr(source, "__iter__")
    count = length_of(source)
    if not iterates and (count is None or not hasattr(source, "__getitem__")):
        raise InputError(
            f"is a {type(source).__name__}, which can neither be iterated nor indexed up to a length",
            where=where,
            fix="give a Split, a data set with __len__ and __getitem__, or one with __iter__",
        )
    index = 0
    try:
        for example in source if iterates else (source[index] for index in range(count or 0)):
            yield example
            index += 1
    except InputError:
        raise
    except Exception as error:  # a user's data set may raise anything
        raise InputError(f"reading failed: {error!r}", where=f"{where}: example {index}") from error


def _named(example: Any, names: Sequence[str], where: str) -> dict[str, Array]:
    """An example's arrays by name: a mapping, a pair of one and a label, or the inputs in order, maybe with a label."""
    if isinstance(example, Mapping):
        given = dict(example)
    elif isinstance(example, tuple | list) and len(example) == 2 and isinstance(example[0], Mapping):
        given = {**example[0], LABEL_KEYS[0]: example[1]}
    else:
        parts = tuple(example) if isinstance(example, tuple | list) else (example,)
        if len(parts) not in (len(names), len(names) + 1):
            raise InputError(
                f"has {len(parts)} parts; expected the inputs {', '.join(names)}, and a label or none",
                where=where,
                fix="Data(…, names=(…)): the model's inputs in the order of the tuple",
            )
        given = dict(zip((*names, LABEL_KEYS[0]), parts, strict=False))
    if LABEL_KEYS[1] in given and LABEL_KEYS[0] not in given:
        given[LABEL_KEYS[0]] = given.pop(LABEL_KEYS[1])
    return {str(name): _array(value, f"{where}: {name}") for name, value in given.items()}


def _array(value: Any, where: str) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"is no array: {error}", where=where) from error
    plain = not hasattr(value, "dtype")  # Python's floats are float64 for want of another type
    return array.astype(np.float32) if plain and array.dtype == np.float64 else array
