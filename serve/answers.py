"""What an answer says, for counting: classes, whether two answers agree, which slices a request belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from weighbridge.core.errors import InputError
from weighbridge.serve.tensors import Array, Feed

CLASSES = 1000
"""Classes that are told apart at most: each is a time series."""
TOLERANCE = 1e-2
"""Relative and absolute difference up to which outputs without classes agree."""

Outputs = Mapping[str, Array]
Reader = Callable[[Outputs], list[str] | None]
Slicer = Callable[[Feed], Iterable[str]]


def classes(outputs: Outputs) -> list[str] | None:
    """The class of each example: the largest of the scores in the first output of examples by classes, or a first
    output that is one whole number each; None where the answer is no classification.
    """
    for array in outputs.values():
        if array.ndim == 2 and array.dtype.kind == "f" and 2 <= array.shape[1] <= CLASSES:
            return [str(index) for index in array.argmax(axis=1).tolist()]
        if array.ndim == 1 and array.dtype.kind in "iub":
            return [str(int(value)) for value in array.tolist()]
    return None


def agree(first: Outputs, second: Outputs, read: Reader) -> bool:
    """Whether two answers to one request say the same."""
    one, two = read(first), read(second)
    if one is not None or two is not None:
        return one == two
    if first.keys() != second.keys():
        return False
    return all(
        first[name].shape == second[name].shape
        and np.allclose(first[name], second[name], rtol=TOLERANCE, atol=TOLERANCE)
        for name in first
    )


def slices_of(slicer: Slicer | None, feed: Feed) -> tuple[str, ...]:
    """The slices that a user's function says a request belongs to; anything but names is an `InputError`."""
    if slicer is None:
        return ()
    found = tuple(slicer(feed))
    if not all(isinstance(name, str) and 0 < len(name) <= 64 for name in found) or len(found) > 16:
        raise InputError("expected at most 16 names of at most 64 characters", where="slices")
    return found
