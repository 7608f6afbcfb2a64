"""Inputs that a model gets back from itself: where streams begin, and what a step of one token is fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weighbridge.core.documents import InputSection
from weighbridge.core.documents.inputs import rows_rule
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import Signature
from weighbridge.core.ragged import is_ragged
from weighbridge.data import Split
from weighbridge.gate.measure.signatures import shape_of


def worker_request(signature: Signature, told: Mapping[str, InputSection]) -> dict[str, Any]:
    """What a worker is told of declared inputs; empty where nothing differs from what shapes tell."""
    names = [port.name for port in signature.outputs]
    carry: dict[str, int] = {}
    for name, section in told.items():
        if section.carry is not None:
            if section.carry not in names:
                raise InputError(
                    f"has no output {section.carry!r}", where=f"inputs.{name}.carry", fix=f"outputs: {', '.join(names)}"
                )
            carry[name] = names.index(section.carry)
    axes = {name: section.axis for name, section in told.items() if section.axis}
    try:
        rule = rows_rule(told)
    except ValueError as error:
        raise InputError(str(error), where="inputs") from error
    found: dict[str, Any] = {
        "axes": axes,
        "constant": [name for name, section in told.items() if section.constant],
        "carry": carry,
        "output_axes": {str(index): axes[name] for name, index in carry.items() if name in axes},
        "step": _steps(signature, told) if carry else {},
        "rows": {"rule": rule, "inputs": [name for name, section in told.items() if section.rows]} if rule else {},
    }
    return {key: value for key, value in found.items() if value}


def _steps(signature: Signature, told: Mapping[str, InputSection]) -> dict[str, tuple[str, int]]:
    """By input: what a step of one token gets of a prompt, and along which axis tokens lie.

    Inputs without such an axis stay as they are; so do constant ones.
    """
    found: dict[str, tuple[str, int]] = {}
    for port in signature.inputs:
        section = told.get(port.name, InputSection(batch_axis=0))
        axis = 0 if section.axis == 1 else 1
        if not section.constant and section.carry is None and len(port.shape) > axis:
            found[port.name] = (section.step or "last", axis)
    return found


def no_steps(signature: Signature, told: Mapping[str, InputSection]) -> str | None:
    """Why single tokens of a model cannot be timed; None where they can."""
    if not any(section.carry for section in told.values()):
        return "no input carries a cache (`inputs: {NAME: {carry: OUTPUT}}`): there is no step of one token to time"
    for port in signature.inputs:
        mode, axis = _steps(signature, told).get(port.name, ("last", 0))
        if port.name in _steps(signature, told) and isinstance(size := port.shape[axis], int) and size > 1:
            return f"the input {port.name!r} {shape_of(port)} takes {size} tokens and no other number of them ({mode})"
    return None


def prompt_tokens(split: Split, signature: Signature, told: Mapping[str, InputSection]) -> int | None:
    """How many tokens a prompt has: one example's; None where no input has tokens."""
    steps = _steps(signature, told)
    names = [name for name, (mode, _) in steps.items() if mode == "last" and split.inputs[name].ndim > 1]
    names = [name for name in names if not is_ragged(split.inputs[name])]
    return split.inputs[names[0]].shape[1] if names else None


def stream_starts(split: Split, told: Mapping[str, InputSection]) -> tuple[bool, ...]:
    """Where streams begin: with the first example, and wherever the group is another one."""
    if not any(section.carry for section in told.values()):
        return ()
    if any(is_ragged(array) for array in split.inputs.values()):
        raise InputError(
            "a stream's steps have one shape; these examples differ in length",
            where="inputs",
            fix="cut them into steps of one length, with a group for each stream",
        )
    if split.groups is None:
        return (True, *(False,) * (len(split) - 1))
    return (True, *(bool(changed) for changed in split.groups[1:] != split.groups[:-1]))


def with_states(signature: Signature, split: Split, told: Mapping[str, InputSection]) -> Split:
    """The examples with zeros for each carried input that the data has no array for."""
    missing = [port for port in signature.inputs if port.name in told and port.name not in split.inputs]
    states = {}
    for port in missing:
        section = told[port.name]
        if section.carry is None:
            continue
        shape = [size for axis, size in enumerate(port.shape) if axis != section.axis]
        if not all(isinstance(size, int) for size in shape):
            raise InputError(
                f"input {port.name!r} has shape {shape_of(port)}: how large its first state is cannot be told",
                where=f"inputs.{port.name}",
                fix=f"give an array {port.name!r} in the data: what a stream begins with, for each example",
            )
        # Zeros without memory of their own: an array is needed for each example, and all are alike.
        states[port.name] = np.broadcast_to(np.zeros(shape, port.dtype), (len(split), *shape))  # type: ignore[arg-type]
    return split if not states else Split({**split.inputs, **states}, split.labels, split.slices, split.groups)
