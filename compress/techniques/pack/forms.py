"""The forms that one weight can be stored in, and their exact sizes, from which the smallest is chosen.

A form is a decoder and the constants that it reads. Constants that several tensors share (powers, bases, shapes,
codebooks) are stored once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from weighbridge.compress.techniques.pack.decoders import DELTA, DELTA_RAW, DENSE, MASK, MASK_RAW, Decoder
from weighbridge.compress.techniques.pack.radix import LARGEST, RadixBase, best_base, encode

Array = NDArray[Any]

MOST_LEVELS = 256
"""Distinct values beyond which no codebook is tried."""

DENSE_SHARE = 0.6
"""Share of stored weights from which a bit for every weight is always smaller than gaps."""

_ALL, _ZERO, _ONE = np.array([-1]), np.array([0]), np.array([1])


@dataclass(frozen=True)
class Coded:
    """One weight as codes into a codebook whose entry 0 is zero, if it holds zeros."""

    shape: tuple[int, ...]
    codes: Array
    """(n,), flat."""
    book: Array
    """(levels,)"""
    sparse: bool
    """Whether code 0 stands for zero."""


@dataclass(frozen=True)
class Form:
    """One way to store one weight."""

    kind: str
    """`dense codes`, `delta`, `delta floats`, `bitmask` or `bitmask floats`."""
    decoder: Decoder
    constants: dict[str, Array]
    """By the decoder's roles."""


def tensor_bytes(value: Array) -> TensorProto:
    """The smallest standard form of one constant: small integers as varints, everything else raw."""
    raw = numpy_helper.from_array(value, "aa")
    if value.dtype != np.int64:
        return raw
    varints = helper.make_tensor("aa", TensorProto.INT64, value.shape, value.reshape(-1).tolist())
    return min(raw, varints, key=lambda tensor: int(tensor.ByteSize()))


def code(values: Array, book: Array | None = None) -> Coded | None:
    """Values as codes into `book`, or into their own distinct values; None where those are too many or missing."""
    flat = np.ascontiguousarray(values).reshape(-1)
    flat = np.where(flat == 0, np.zeros((), flat.dtype), flat)  # minus zero is zero
    distinct = np.unique(flat)
    sparse = bool((distinct == 0).any())
    if book is None:
        book = np.concatenate([distinct[distinct == 0], distinct[distinct != 0]])
    if len(distinct) > MOST_LEVELS or not np.isin(distinct, book).all():
        return None
    order = np.argsort(book, kind="stable")
    codes = order[np.searchsorted(book, flat, sorter=order)]
    return Coded(values.shape, codes, book, sparse and book[0] == 0)


def coded_forms(weight: Coded) -> Iterator[Form]:
    """Every form of a weight with a codebook."""
    shape = np.array(weight.shape, np.int64)
    levels = len(weight.book)
    form = best_base(max(levels, 2))
    yield Form(
        "dense codes",
        DENSE,
        _words("words", weight.codes, form) | {"book": weight.book, "shape": shape, "all": _ALL, "zero": _ZERO},
    )
    if not weight.sparse or levels < 2:
        return
    common = {"book": weight.book, "shape": shape, "all": _ALL, "zero": _ZERO, "one": _ONE}
    kept = np.flatnonzero(weight.codes)
    present = best_base(max(levels - 1, 2))
    stored = np.concatenate([[0], weight.codes[kept] - 1])
    yield Form("bitmask", MASK, _mask(weight.codes != 0) | _words("words", stored, present) | common)
    for radix in gap_bases(kept, len(weight.codes), levels):
        places = entries(weight.codes != 0, radix.base // levels, radix.digits)
        if places is not None:
            digits = np.diff(places, append=places[-1] + 1) - 1
            words = _words("words", digits * levels + weight.codes[places], radix)
            yield Form("delta", DELTA, words | {"levels": np.array(levels)} | common)


def float_forms(values: Array) -> Iterator[Form]:
    """Every form of a sparse float32 or float16 weight without a codebook."""
    flat, shape = values.reshape(-1), np.array(values.shape, np.int64)
    kept = np.flatnonzero(flat)
    if values.dtype.kind != "f" or len(kept) == len(flat):
        return
    common = {"shape": shape, "all": _ALL, "zero": _ZERO}
    stored = np.concatenate([np.zeros(1, values.dtype), flat[kept]])
    yield Form("bitmask floats", MASK_RAW, _mask(flat != 0) | {"values": stored} | common)
    if values.dtype != np.float32:  # zeros that are scattered into are of ConstantOfShape's own type
        return
    for radix in gap_bases(kept, len(flat), 1, value_bits=32):
        places = entries(flat != 0, radix.base, radix.digits)
        if places is not None:
            words = _words("words", np.diff(places, append=places[-1] + 1) - 1, radix)
            yield Form("delta floats", DELTA_RAW, words | {"values": flat[places]} | common | {"one": _ONE})


def gap_bases(kept: Array, count: int, levels: int, value_bits: int = 0, most: int = 2) -> list[RadixBase]:
    """The bases gap-limit * levels that need the fewest bytes for stored places `kept` out of `count`, best first."""
    if not len(kept) or len(kept) > DENSE_SHARE * count:
        return []
    distances = np.bincount(np.diff(kept, prepend=0))
    # The largest limits that still leave so many digits in a word.
    limits: set[int] = set()
    found = []
    for digits in range(1, 64):
        largest = round(LARGEST ** (1 / digits))
        while largest**digits - 1 > LARGEST:
            largest -= 1
        limit = largest // levels
        if limit < 2:
            break
        limits.add(min(limit, count))
    limits |= {limit for limit in (256 // levels, 16 // levels, 4 // levels) if limit >= 2}
    for limit in sorted(limits):
        radix = best_base(limit * levels)
        fillers = (distances * np.maximum((np.arange(len(distances)) - 1) // limit, 0)).sum()
        needed = len(kept) + int(fillers)
        found.append((radix.size(needed) + needed * value_bits // 8, radix.base, radix))
    found.sort(key=lambda item: item[:2])
    unique = {radix.base: radix for _, _, radix in found}
    return list(unique.values())[:most]


def entries(present: Array, limit: int, multiple: int) -> Array | None:
    """Places (m,) to store, ascending from 0: all that are `present`, and zeros where they are needed.

    No two neighbours are more than `limit` apart, and m is a multiple of `multiple`, so that no digit of the last
    word is a filler that would point behind the end. None where there are too few zeros for that.
    """
    stored = present.copy()
    stored[0] = True  # where the first gap is counted from
    for zero in [-1, *np.flatnonzero(~stored)[: 2 * multiple].tolist()]:
        if zero >= 0:
            stored[zero] = True
        chosen = np.flatnonzero(stored)
        if (len(chosen) + int(_filler_counts(chosen, limit).sum())) % multiple == 0:
            return np.sort(np.concatenate([chosen, _fillers(chosen, limit)]))
    return None


def _filler_counts(places: Array, limit: int) -> Array:
    """How many places must be stored between each two neighbours."""
    return np.asarray(np.maximum((np.diff(places) - 1) // limit, 0))


def _fillers(places: Array, limit: int) -> Array:
    """Places between neighbours that are more than `limit` apart, `limit` from each other."""
    counts = _filler_counts(places, limit)
    starts = np.repeat(places[:-1], counts)
    ordinal = np.arange(len(starts)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(starts + (ordinal + 1) * limit, dtype=np.int64)


def _words(role: str, digits: Array, form: RadixBase) -> dict[str, Array]:
    return {
        role: encode(digits, form),
        "powers": np.array(form.powers, np.int64),
        "base": np.array(form.base, np.int64),
    }


def _mask(present: Array) -> dict[str, Array]:
    form = best_base(2)
    return {
        "mask": encode(present.astype(np.int64), form),
        "halves": np.array(form.powers, np.int64),
        "two": np.array(2, np.int64),
    }
