"""What both models must agree on before anything is timed: inputs, outputs, and the data that feeds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weighbridge.core.documents import InputSection
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import Port, Signature
from weighbridge.data import Split

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


def same_inputs(reference: Signature, other: Signature, where: str, against: str) -> None:
    """Refuse a model whose inputs differ from the reference's in name, type or shape (`InputError`)."""
    ours = {port.name: port for port in reference.inputs}
    theirs = {port.name: port for port in other.inputs}
    if ours.keys() != theirs.keys():
        raise InputError(f"its inputs are {_names(theirs)}; those of {against} are {_names(ours)}", where=where)
    for name, port in ours.items():
        if theirs[name].dtype != port.dtype:
            raise InputError(f"input {name!r} is {theirs[name].dtype}; in {against} it is {port.dtype}", where=where)
        if _shape(theirs[name]) != _shape(port):
            raise InputError(
                f"input {name!r} has shape {_written(theirs[name])}; in {against} it has {_written(port)}", where=where
            )


def same_outputs(reference: Signature, other: Signature, where: str, against: str) -> None:
    """Refuse a model whose outputs differ from the reference's in number, name, order, type, rank or a fixed size.

    Callers take outputs by name or by place: both are part of the contract. An ExecuTorch file has no names: where
    those of one side are made up (`output_0`, …), names are not compared.
    """
    ours, theirs = reference.outputs, other.outputs
    names, found = [port.name for port in ours], [port.name for port in theirs]
    compared = len(ours) != len(theirs) or not (_made_up(names) or _made_up(found))
    if compared and sorted(names) != sorted(found):
        gone = [name for name in names if name not in found]
        new = [name for name in found if name not in names]
        changes = [f"output {name!r} is missing" for name in gone] + [f"output {name!r} is new" for name in new]
        raise InputError(f"{'; '.join(changes)} (outputs of {against}: {', '.join(names)})", where=where)
    if compared and names != found:
        raise InputError(
            f"its outputs are in another order: {', '.join(found)}; in {against} they are {', '.join(names)}",
            where=where,
            fix="a caller that takes outputs by position would get another one",
        )
    for our, their in zip(ours, theirs, strict=True):
        if their.dtype != our.dtype:
            raise InputError(f"output {our.name!r} is {their.dtype}; in {against} it is {our.dtype}", where=where)
        if not _alike(our.shape, their.shape):
            raise InputError(
                f"output {our.name!r} has shape {_written(their)}; in {against} it has {_written(our)}", where=where
            )


def feeding(
    signature: Signature, split: Split, where: str, declared: Mapping[str, InputSection] | None = None
) -> Feeding:
    """Check the data against the model's inputs; every mismatch is an `InputError` that names the array.

    `declared` says how inputs are fed where shapes do not tell; `split` has an array for each (see `with_states`).
    """
    if len(split) == 0:
        raise InputError("the evaluation set is empty", where=where)
    told = declared or {}
    ports = {port.name: port for port in signature.inputs}
    if unknown := sorted(split.inputs.keys() - ports.keys()):
        raise InputError(f"has {unknown[0]!r}, which is not an input of the model ({_names(ports)})", where=where)
    for name in (name for name in ports if name not in split.inputs):
        raise InputError(f"has no array for the model's input {name!r}", where=where, fix=f"inputs: {_names(ports)}")
    for name in told:
        if name not in ports:
            raise InputError(f"{name!r} is not an input of the model ({_names(ports)})", where="inputs")
    fits = {name: _fit(port, split.inputs[name], told.get(name), where) for name, port in ports.items()}
    check_unambiguous(signature, {name for name, fit in fits.items() if fit.axis is not None}, told)
    batches = {size for fit in fits.values() if isinstance(size := fit.batch, int)}
    if len(batches) > 1:
        raise InputError(f"the model's inputs fix different batches: {sorted(batches)}", where=where)
    constant = [name for name, section in told.items() if section.constant]
    single = tuple(name for name, fit in fits.items() if fit.axis is None and name not in constant)
    return Feeding(single, next(iter(batches), None), _how(signature, told), _begins(split, told))


@dataclass(frozen=True)
class _Fit:
    """How an array fits an input."""

    axis: int | None
    """The input's axis that counts examples; None where there is none."""
    batch: int | str | None = None
    """Its length by the model."""


def _fit(port: Port, array: np.ndarray, section: InputSection | None, where: str) -> _Fit:
    name = port.name
    if array.dtype != np.dtype(port.dtype):
        raise InputError(f"{name!r} is {array.dtype}; the model takes {port.dtype}", where=where)
    if port.shape == ("...",):
        return _Fit(None if section is not None and section.constant else 0)
    axis = section.axis if section is not None else 0
    unbatched = len(port.shape) == array.ndim - 1 if section is None else section.constant
    if not unbatched and axis >= len(port.shape) > 0:
        raise InputError(f"has no axis {axis}: its shape is {_written(port)}", where=f"inputs.{name}.batch_axis")
    expected = port.shape if unbatched else (*port.shape[:axis], *port.shape[axis + 1 :])
    if not _fits(expected, array.shape[1:]):
        raise InputError(
            f"{name!r} has shape {_tuple(array.shape)}; the model takes {_written(port)}",
            where=where,
            fix="the first axis counts examples",
        )
    if section is not None and section.constant and (array != array[:1]).any():
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
            f"the first axis of input {port.name!r} {_written(port)} is fixed at {port.shape[0]}, and {beside}: shapes "
            "do not tell which axis counts examples",
            where="inputs",
            fix=f"declare `inputs: {{{port.name}: {{batch_axis: 1}}}}`, or `constant: true`; see docs/howto/inputs.md",
        )


def _how(signature: Signature, told: Mapping[str, InputSection]) -> dict[str, Any]:
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
    found: dict[str, Any] = {
        "axes": axes,
        "constant": [name for name, section in told.items() if section.constant],
        "carry": carry,
        "output_axes": {str(index): axes[name] for name, index in carry.items() if name in axes},
        "step": _steps(signature, told) if carry else {},
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
            return f"the input {port.name!r} {_written(port)} takes {size} tokens and no other number of them ({mode})"
    return None


def prompt_tokens(split: Split, signature: Signature, told: Mapping[str, InputSection]) -> int | None:
    """How many tokens a prompt has: one example's; None where no input has tokens."""
    steps = _steps(signature, told)
    names = [name for name, (mode, _) in steps.items() if mode == "last" and split.inputs[name].ndim > 1]
    return split.inputs[names[0]].shape[1] if names else None


def _begins(split: Split, told: Mapping[str, InputSection]) -> tuple[bool, ...]:
    """Where streams begin: with the first example, and wherever the group is another one."""
    if not any(section.carry for section in told.values()):
        return ()
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
                f"input {port.name!r} has shape {_written(port)}: how large its first state is cannot be told",
                where=f"inputs.{port.name}",
                fix=f"give an array {port.name!r} in the data: what a stream begins with, for each example",
            )
        # Zeros without memory of their own: an array is needed for each example, and all are alike.
        states[port.name] = np.broadcast_to(np.zeros(shape, port.dtype), (len(split), *shape))  # type: ignore[arg-type]
    return split if not states else Split({**split.inputs, **states}, split.labels, split.slices, split.groups)


def find_output(signature: Signature, name: str | None, where: str) -> int:
    """Index of the judged output: the first, or the one of that name."""
    names = [port.name for port in signature.outputs]
    if name is None:
        return 0
    if name not in names:
        raise InputError(f"has no output {name!r}", where=where, fix=f"outputs: {', '.join(names)}")
    return names.index(name)


def timed_share(split: Split, wanted: int, seed: int) -> dict[str, np.ndarray]:
    """Up to `wanted` examples, drawn without replacement, for timing loops: real inputs, the same for every role."""
    size = sum(array[:1].nbytes for array in split.inputs.values())
    count = max(1, min(len(split), wanted, TIMED_SHARE // max(size, 1)))
    chosen = np.sort(np.random.default_rng(seed).choice(len(split), count, replace=False))
    return {name: np.ascontiguousarray(array[chosen]) for name, array in split.inputs.items()}


def _fits(expected: tuple[int | str | None, ...], found: tuple[int, ...]) -> bool:
    return len(expected) == len(found) and all(
        size == actual for size, actual in zip(expected, found, strict=True) if isinstance(size, int)
    )


def _shape(port: Port) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in port.shape)


def _made_up(names: Sequence[str]) -> bool:
    """Whether names are those that `pte_file.signature` gives to outputs without any."""
    return list(names) == [f"output_{index}" for index in range(len(names))]


def _alike(ours: tuple[int | str | None, ...], theirs: tuple[int | str | None, ...]) -> bool:
    """Whether two declared shapes can be one: same rank, and sizes that both fix are equal. Unknown ranks fit any."""
    if ("...",) in (ours, theirs):
        return True
    return len(ours) == len(theirs) and all(
        our == their for our, their in zip(ours, theirs, strict=True) if isinstance(our, int) and isinstance(their, int)
    )


def _written(port: Port) -> str:
    return _tuple(port.shape)


def _tuple(shape: tuple[int | str | None, ...]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def _names(ports: dict[str, Port]) -> str:
    return ", ".join(sorted(ports)) or "none"
