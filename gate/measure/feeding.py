"""What both models must agree on before anything is timed: inputs, outputs, and the data that feeds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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

    def at_most(self, wanted: int) -> int:
        """The batch to use where `wanted` is asked for: what the shapes fix comes first."""
        return 1 if self.single else self.batch or wanted


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


def feeding(signature: Signature, split: Split, where: str) -> Feeding:
    """Check the data against the model's inputs; every mismatch is an `InputError` that names the array."""
    if len(split) == 0:
        raise InputError("the evaluation set is empty", where=where)
    single: list[str] = []
    batches: set[int] = set()
    ports = {port.name: port for port in signature.inputs}
    if unknown := sorted(split.inputs.keys() - ports.keys()):
        raise InputError(f"has {unknown[0]!r}, which is not an input of the model ({_names(ports)})", where=where)
    for name, port in ports.items():
        if name not in split.inputs:
            raise InputError(
                f"has no array for the model's input {name!r}", where=where, fix=f"inputs: {_names(ports)}"
            )
        array = split.inputs[name]
        if array.dtype != np.dtype(port.dtype):
            raise InputError(f"{name!r} is {array.dtype}; the model takes {port.dtype}", where=where)
        if len(port.shape) == array.ndim - 1 and port.shape != ("...",):
            single.append(name)
            expected, found = port.shape, array.shape[1:]
        else:
            expected, found = port.shape[1:], array.shape[1:]
            if port.shape and isinstance(port.shape[0], int):
                batches.add(port.shape[0])
        if port.shape != ("...",) and not _fits(expected, found):
            raise InputError(
                f"{name!r} has shape {_tuple(array.shape)}; the model takes {_written(port)}",
                where=where,
                fix="the first axis counts examples",
            )
    if len(batches) > 1:
        raise InputError(f"the model's inputs fix different batches: {sorted(batches)}", where=where)
    return Feeding(tuple(single), next(iter(batches), None))


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
