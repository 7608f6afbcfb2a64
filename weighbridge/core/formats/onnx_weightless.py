"""Copies of a model that share no bytes of its large weights: without them, or with them in a file beside."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

from google.protobuf.message import Message
from onnx import ModelProto, StringStringEntryProto, TensorProto

_GRAPH, _INITIALIZER = 7, 5
LARGE = 1 << 16
"""Bytes of a weight from which on it is left out: shapes, scales and small tables stay."""


def weightless(proto: ModelProto, large: int = LARGE) -> ModelProto:
    """A copy whose large weights have type and shape and no data. What follows from the graph alone is the same."""
    return _copied(proto, large, lambda _: {})


def beside(proto: ModelProto, path: Path, large: int = LARGE) -> None:
    """Write a model to `path`, its large weights to a file beside it, one after the other, without a copy of all."""
    weights = path.with_name(f"{path.name}.data")
    with weights.open("wb") as file:

        def place(tensor: TensorProto) -> dict[str, str]:
            data = tensor.raw_data
            file.seek(-file.tell() % 64, 1)  # runtimes map what is aligned
            start = file.tell()
            file.write(data)
            return {"location": weights.name, "offset": str(start), "length": str(len(data))}

        bare = _copied(proto, large, place, raw=True)
    path.write_bytes(bare.SerializeToString(deterministic=True))


def without(proto: ModelProto, names: Container[str]) -> ModelProto:
    """A copy without some of its initializers: what is deleted from a copy would keep its memory."""
    bare = ModelProto()
    copy_fields(proto, bare, lambda number: number != _GRAPH)
    copy_fields(proto.graph, bare.graph, lambda number: number != _INITIALIZER)
    bare.graph.initializer.extend(tensor for tensor in proto.graph.initializer if tensor.name not in names)
    return bare


def _copied(
    proto: ModelProto, large: int, place: Callable[[TensorProto], dict[str, str]], *, raw: bool = False
) -> ModelProto:
    bare = ModelProto()
    copy_fields(proto, bare, lambda number: number != _GRAPH)
    copy_fields(proto.graph, bare.graph, lambda number: number != _INITIALIZER)
    for tensor in proto.graph.initializer:
        new = bare.graph.initializer.add()
        if tensor.ByteSize() <= large or (raw and not tensor.HasField("raw_data")):
            new.CopyFrom(tensor)
            continue
        new.name, new.data_type = tensor.name, tensor.data_type
        new.dims.extend(tensor.dims)
        entries = place(tensor)
        if entries:
            new.data_location = TensorProto.EXTERNAL
            new.external_data.extend(StringStringEntryProto(key=key, value=value) for key, value in entries.items())
    return bare


def copy_fields(source: Message, target: Message, wanted: Callable[[int], bool]) -> None:
    """Copy the fields of one message whose numbers are wanted to another one of its type."""
    for field, value in source.ListFields():
        if not wanted(field.number):
            continue
        if field.is_repeated:
            getattr(target, field.name).extend(value)
        elif field.message_type is not None:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)
