"""How examples become feeds: the data, checked against the inputs that both models have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weighbridge.core.documents import InputSection
from weighbridge.core.documents.inputs import missing_in
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import Port, Signature
from weighbridge.core.ragged import is_ragged, values_of
from weighbridge.data import Split
from weighbridge.gate.measure.signatures import listed, shape_of, written
from weighbridge.gate.measure.streams import stream_starts, worker_request

TIMED_SHARE = 1 << 25
"""Bytes of inputs at most that a timing process gets."""


@dataclass(frozen=True)
class Feeding:
    """How examples become feeds."""

    single: tuple[str, ...]
    """Inputs without an axis for examples: one example at a time."""
    batch: int | None
    """The batch that the model's shapes fix; None where it is open."""
    how: Mapping[str, Any] = field(default_factory=dict)
    """For the worker, where params say more: `axes`, `constant` (see `worker_inputs.feeds`), `carry` (input → index of
    the output that is fed back) and `output_axes` (index of an output → the axis that counts examples)."""
    begins: tuple[bool, ...] = ()
    """Of each example, whether a stream begins with it; empty where nothing is carried."""

    @property
    def streams(self) -> bool:
        """Whether an inference depends on the one before it."""
        return bool(self.begins)

    def at_most(self, wanted: int) -> int:
        """The batch to use where `wanted` is asked for: what the shapes fix comes first."""
        return 1 if self.single or self.streams else self.batch or wanted

    def request(self, begin: int, count: int) -> dict[str, Any]:
        """What a worker is told beside the arrays of `count` examples from `begin` on."""
        said: dict[str, Any] = {"single": list(self.single)}
        if self.how:
            said["how"] = dict(self.how)
        if self.streams:
            said["resets"] = list(self.begins[begin : begin + count])
        return said


def feeding(
    signature: Signature, split: Split, where: str, declared: Mapping[str, InputSection] | None = None
) -> Feeding:
    """Check the data against the model's inputs; every mismatch is an `InputError` that names the array.

    `declared` says how inputs are fed where shapes do not tell; `split` has an array for each (see `with_states`).
    """
    if len(split) == 0:
        raise InputError("the evaluation set is empty", where=where)
    told = declared or {}
    split.require_known(missing_in(told), where)
    ports = {port.name: port for port in signature.inputs}
    if unknown := sorted(split.inputs.keys() - ports.keys()):
        raise InputError(f"has {unknown[0]!r}, which is not an input of the model ({listed(ports)})", where=where)
    for name in (name for name in ports if name not in split.inputs):
        raise InputError(f"has no array for the model's input {name!r}", where=where, fix=f"inputs: {listed(ports)}")
    for name in told:
        if name not in ports:
            raise InputError(f"{name!r} is not an input of the model ({listed(ports)})", where="inputs")
    fits = {name: _fit(port, split.inputs[name], told.get(name), where) for name, port in ports.items()}
    check_unambiguous(signature, {name for name, fit in fits.items() if fit.axis is not None}, told)
    batches = {size for fit in fits.values() if isinstance(size := fit.batch, int)}
    if len(batches) > 1:
        raise InputError(f"the model's inputs fix different batches: {sorted(batches)}", where=where)
    constant = [name for name, section in told.items() if section.constant]
    single = tuple(name for name, fit in fits.items() if fit.axis is None and name not in constant)
    return Feeding(single, next(iter(batches), None), worker_request(signature, told), stream_starts(split, told))


@dataclass(frozen=True)
class _Fit:
    """How an array fits an input."""

    axis: int | None
    """The input's axis that counts examples; None where there is none."""
    batch: int | str | None = None
    """Its length by the model."""


def _fit(port: Port, array: np.ndarray, section: InputSection | None, where: str) -> _Fit:
    name = port.name
    if array.dtype.kind != "U" if port.dtype == "string" else array.dtype != np.dtype(port.dtype):
        raise InputError(f"{name!r} is {array.dtype}; the model takes {port.dtype}", where=where)
    if port.shape == ("...",):
        return _Fit(None if section is not None and section.constant else 0)
    axis = section.axis if section is not None else 0
    whole = section is not None and (section.constant or section.rows is not None)
    unbatched = len(port.shape) == array.ndim - 1 if section is None else whole
    if not unbatched and axis >= len(port.shape) > 0:
        raise InputError(f"has no axis {axis}: its shape is {shape_of(port)}", where=f"inputs.{name}.batch_axis")
    expected = port.shape if unbatched else (*port.shape[:axis], *port.shape[axis + 1 :])
    shapes = array.shapes if is_ragged(array) else np.array([array.shape[1:]])
    for place, shape in enumerate(shapes.tolist()):
        if not _fits(expected, shape):
            which = f"example {place} of {name!r} has shape {written(shape)}"
            raise InputError(
                f"{which if is_ragged(array) else f'{name!r} has shape {written(array.shape)}'}; "
                f"the model takes {shape_of(port)}",
                where=where,
                fix="the first axis counts the rows of an example" if whole else "the first axis counts examples",
            )
    if section is not None and section.constant and (is_ragged(array) or (array != array[:1]).any()):
        raise InputError(f"{name!r} has several values", where=where, fix="one that changes is not `constant: true`")
    return _Fit(None) if unbatched else _Fit(axis, port.shape[axis] if port.shape else None)


def check_unambiguous(signature: Signature, batched: set[str], told: Mapping[str, InputSection]) -> None:
    """A fixed first axis is the batch only where every input and output agrees; else it must be declared.

    With `state (2, n, 128)` beside `x (n, 16)`, a 2 that counts layers would be taken for two examples.
    """
    ports = [port for port in signature.inputs if port.name in batched and port.shape and port.shape != ("...",)]
    fixed = [port for port in ports if port.name not in told and isinstance(port.shape[0], int)]
    open_ones = [port for port in ports if port.name not in told and not isinstance(port.shape[0], int)]
    symbols = {port.shape[0] for port in signature.outputs if port.shape and isinstance(port.shape[0], str)} - {"..."}
    for port in fixed:
        elsewhere = next((size for size in port.shape[1:] if isinstance(size, str) and size in symbols), None)
        if open_ones:
            beside = f"of {open_ones[0].name!r} it is open"
        elif len({other.shape[0] for other in fixed}) > 1:
            other = next(other for other in fixed if other.shape[0] != port.shape[0])
            beside = f"of {other.name!r} it is {other.shape[0]}"
        elif elsewhere is not None:
            beside = f"outputs begin with {elsewhere!r}, which is another axis of it"
        else:
            continue
        raise InputError(
            f"the first axis of input {port.name!r} {shape_of(port)} is fixed at {port.shape[0]}, and {beside}: shapes "
            "do not tell which axis counts examples",
            where="inputs",
            fix=f"declare `inputs: {{{port.name}: {{batch_axis: 1}}}}`, or `constant: true`; see docs/howto/inputs.md",
        )


def find_output(signature: Signature, name: str | None, where: str) -> int:
    """Index of the judged output: the first, or the one of that name."""
    names = [port.name for port in signature.outputs]
    if name is None:
        return 0
    if name not in names:
        raise InputError(f"has no output {name!r}", where=where, fix=f"outputs: {', '.join(names)}")
    return names.index(name)


def timed_share(split: Split, wanted: int, seed: int) -> dict[str, Any]:
    """Up to `wanted` examples, drawn without replacement, for timing loops: real inputs, the same for every role.

    Where examples differ in length they stay in the order in which they were drawn: data may be sorted by length.
    """
    ragged = any(is_ragged(array) for array in split.inputs.values())
    size = sum(array.nbytes for array in split.inputs.values()) // len(split)
    count = max(1, min(len(split), wanted, TIMED_SHARE // max(size, 1)))
    chosen = np.random.default_rng(seed).choice(len(split), count, replace=False)
    chosen = chosen if ragged else np.sort(chosen)
    parts = {name: array[chosen] for name, array in split.inputs.items()}
    return {name: part if is_ragged(part) else np.ascontiguousarray(part) for name, part in parts.items()}


def launch_inputs(split: Split, feed: Feeding, wanted: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """`timed_share` as a launch gets it: plain arrays, and what the worker must know of them."""
    share = timed_share(split, wanted, seed)
    shapes = {name: array.shapes.tolist() for name, array in share.items() if is_ragged(array)}
    how = {**feed.how, "shapes": shapes} if shapes else dict(feed.how)
    return {name: values_of(array) for name, array in share.items()}, how


def _fits(expected: tuple[int | str | None, ...], found: tuple[int, ...]) -> bool:
    return len(expected) == len(found) and all(
        size == actual for size, actual in zip(expected, found, strict=True) if isinstance(size, int)
    )
