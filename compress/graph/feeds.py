"""Examples as feeds of an ONNX model: along the first axis of each input, or as `inputs` of params.yaml says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import InputSection
from weighbridge.core.documents.inputs import rows_rule
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import Port
from weighbridge.core.row_answers import of_rows

Array = NDArray[Any]

_DECLARED: ContextVar[Mapping[str, InputSection]] = ContextVar("declared", default={})  # noqa: B039  # never changed


@contextmanager
def fed_as(inputs: Mapping[str, InputSection]) -> Iterator[None]:
    """Within it, inputs are fed as these sections say; a state that is carried starts afresh with each example."""
    token = _DECLARED.set(inputs)
    try:
        yield
    finally:
        _DECLARED.reset(token)


def declared() -> Mapping[str, InputSection]:
    """How inputs are fed, by name, within `fed_as`."""
    return _DECLARED.get()


def missing(ports: Sequence[Port], given: Mapping[str, Array]) -> list[str]:
    """Names of inputs that have no array and no declared state to begin with."""
    told = _DECLARED.get()
    return [port.name for port in ports if port.name not in given and not (port.name in told and told[port.name].carry)]


def fixed_batch(ports: Sequence[Port]) -> int | None:
    """The batch that the inputs' shapes fix."""
    told = _DECLARED.get()
    if rows_rule(told) is not None:
        return 1
    sizes = [
        port.shape[axis]
        for port in ports
        if not (port.name in told and told[port.name].constant)
        and (axis := told[port.name].axis if port.name in told else 0) < len(port.shape)
    ]
    return next((size for size in sizes if isinstance(size, int)), None)


def feed(ports: Sequence[Port], arrays: Mapping[str, Array], start: int, count: int) -> dict[str, Array]:
    """`count` examples from `start` on, for each input, from arrays (n, …)."""
    return {port.name: np.ascontiguousarray(_fed(port, arrays, start, count)) for port in ports}


def by_example(names: Sequence[str], outputs: Sequence[Array], fed: Mapping[str, Array]) -> list[Array]:
    """Outputs with examples along the first axis: one that is fed back has them where its input has.

    Of an example of several rows, which was `fed`, each output has one answer; one of what are no scores, the first's.
    """
    told, rule = _DECLARED.get(), rows_rule(_DECLARED.get())
    if rule is not None:
        rows = next(len(fed[name]) for name, section in told.items() if section.rows)
        return [
            np.asarray(found[:1] if found.dtype.kind != "f" and rule != "all" else of_rows(found, rule, rows))
            for found in map(np.asarray, outputs)
        ]
    axes = {section.carry: section.axis for section in _DECLARED.get().values() if section.carry}
    return [
        np.moveaxis(output, axes[name], 0) if axes.get(name) else output
        for name, output in zip(names, outputs, strict=True)
    ]


def _fed(port: Port, arrays: Mapping[str, Array], start: int, count: int) -> Array:
    section = _DECLARED.get().get(port.name)
    if section is None:
        return arrays[port.name][start : start + count]
    if section.constant:
        return np.asarray(arrays[port.name][0])
    if section.rows is not None:
        return np.asarray(arrays[port.name][start])
    if port.name in arrays:
        return np.asarray(np.moveaxis(arrays[port.name][start : start + count], 0, section.axis))
    shape = [count if axis == section.axis else size for axis, size in enumerate(port.shape)]
    if not all(isinstance(size, int) for size in shape):
        raise InputError(
            f"how large its first state is cannot be told from its shape {port.shape}",
            where=f"params.yaml: inputs.{port.name}",
            fix=f"give an array {port.name!r} in the data: what a stream begins with, for each example",
        )
    return np.zeros(shape, port.dtype)  # type: ignore[arg-type]
