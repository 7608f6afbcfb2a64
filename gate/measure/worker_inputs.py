"""Examples cut into what single inferences get, and outputs back into examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from weighbridge.core.ragged import Ragged, buckets, stacked
from weighbridge.core.row_answers import of_rows
from weighbridge.gate.measure.frames import Array

Feed = Mapping[str, Array]


def feeds(
    arrays: Mapping[str, Array], batch: int, single: list[str], how: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Array]]:
    """Arrays (n, …) as feeds of `batch` examples; inputs in `single` have no axis for examples (batch is 1 then).

    `how` says more: `axes` (input → the axis that counts examples, where it is not the first), and `constant` inputs,
    which are the first example's value, and `shapes` (input → the shape of each example, where these differ): a batch
    has one length then, filled up with its own examples, in the order of its first one.
    """
    if (how or {}).get("shapes"):
        yield from _by_length(arrays, batch, single, how or {})
        return
    axes, constant = (how or {}).get("axes", {}), (how or {}).get("constant", ())
    count = min(len(array) for array in arrays.values())

    def fed(name: str, array: Array, begin: int) -> Array:
        if name in constant or name in single:
            return np.asarray(array[0 if name in constant else begin])
        part = array[begin : begin + batch]
        return np.ascontiguousarray(np.moveaxis(part, 0, axes[name])) if name in axes else part

    for begin in range(0, count - batch + 1, batch):
        yield {name: fed(name, array, begin) for name, array in arrays.items()}


def _by_length(
    arrays: Mapping[str, Array], batch: int, single: list[str], how: Mapping[str, Any]
) -> Iterator[dict[str, Array]]:
    ragged = {name: Ragged(arrays[name], np.array(shapes)) for name, shapes in how["shapes"].items()}
    every: dict[str, Any] = {**arrays, **ragged}
    batches = [
        np.resize(chosen[begin : begin + batch], batch)
        for chosen in buckets(every)
        for begin in range(0, len(chosen), batch)
    ]
    rest = {key: value for key, value in how.items() if key != "shapes"}
    for chosen in sorted(batches, key=lambda places: int(places[0])):
        yield from feeds(stacked(every, chosen), batch, single, rest)


def one_token(array: Array, mode: str, axis: int) -> Array:
    """What a step of one token gets of a prompt's array: its `last` entry, `grow`n by one, or the `count` after it."""
    end = np.take(array, [-1], axis)
    if mode == "grow":
        return np.concatenate([array, end], axis)
    return np.asarray(end + 1, array.dtype) if mode == "count" else end


def as_array(output: Any) -> Array:
    """One output as an array: text as unicode, a sequence of maps as scores (n, classes) in the order of their keys.

    onnxruntime gives tensors of text as Python objects, and ZipMap's maps with one key a class, the same for each row.
    """
    if isinstance(output, list):
        if not all(isinstance(row, dict) and row.keys() == output[0].keys() for row in output):
            raise TypeError("an output is a sequence of something else than maps with the same keys")
        return np.array([[row[key] for key in sorted(row)] for row in output], np.float32)
    array = np.asarray(output)
    return array.astype(np.str_) if array.dtype.kind == "O" else array


def by_example(outputs: list[Array], axes: Mapping[str, int]) -> list[Array]:
    """Outputs with examples along their first axis; `axes` says where it is another one, by index."""
    found = [as_array(output) for output in outputs]
    return [
        np.moveaxis(output, axes[str(index)], 0) if str(index) in axes else output for index, output in enumerate(found)
    ]


def whole_answers(outputs: list[Array], rows: Mapping[str, Any], feed: Feed, asked: list[int]) -> list[Array]:
    """Outputs with one answer an example where `rows` says that an example is several of them; see `of_rows`."""
    if not rows:
        return outputs
    count = len(feed[rows["inputs"][0]])
    return [of_rows(output, rows["rule"], count) if index in asked else output for index, output in enumerate(outputs)]
