"""Inputs and outputs of two models, compared before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import Port, Signature


def same_inputs(reference: Signature, other: Signature, where: str, against: str) -> None:
    """Refuse a model whose inputs differ from the reference's in name, type or shape (`InputError`)."""
    ours = {port.name: port for port in reference.inputs}
    theirs = {port.name: port for port in other.inputs}
    if ours.keys() != theirs.keys():
        raise InputError(f"its inputs are {listed(theirs)}; those of {against} are {listed(ours)}", where=where)
    for name, port in ours.items():
        if theirs[name].dtype != port.dtype:
            raise InputError(f"input {name!r} is {theirs[name].dtype}; in {against} it is {port.dtype}", where=where)
        if _shape(theirs[name]) != _shape(port):
            raise InputError(
                f"input {name!r} has shape {shape_of(theirs[name])}; in {against} it has {shape_of(port)}", where=where
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
        if their.classes != our.classes:
            raise InputError(
                f"output {our.name!r} has the classes {_classes(their)}; in {against} they are {_classes(our)}",
                where=where,
            )
        if not _alike(our.shape, their.shape):
            raise InputError(
                f"output {our.name!r} has shape {shape_of(their)}; in {against} it has {shape_of(our)}", where=where
            )


def _classes(port: Port) -> str:
    return ", ".join(map(str, port.classes[:10])) + (", …" if len(port.classes) > 10 else "") or "of no names"


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


def shape_of(port: Port) -> str:
    """A shape as errors write it."""
    return written(port.shape)


def written(shape: tuple[int | str | None, ...]) -> str:
    """Sizes in parentheses; `?` where one is not known."""
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def listed(ports: dict[str, Port]) -> str:
    """Names in order, for errors."""
    return ", ".join(sorted(ports)) or "none"
