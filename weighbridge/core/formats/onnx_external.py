"""Data of tensors that lies in other files: where it may lie, and reading it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from onnx import ModelProto, TensorProto

from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_walk import all_tensors, tensor_bytes
from weighbridge.core.opening import open_file

MAX_BYTES = 2**31 - 1
"""Largest model that one protobuf message can hold (protobuf.dev: 2 GiB), external data included."""


def inline_external(proto: ModelProto, path: Path, *, up_to: int | None = None) -> None:
    """Read the external data of a model's tensors into them; with `up_to`, only where a tensor has no more bytes.

    Raises `InputError` for data that does not lie inside the model's folder, that has another length than the tensor
    needs, or that ends beyond its file; and for a whole that one message cannot hold.
    """
    total = proto.ByteSize()
    for tensor in all_tensors(proto):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        source, offset, length = external_place(tensor, path)
        if up_to is not None and length > up_to:
            continue
        total += length
        if total > MAX_BYTES:
            raise InputError(f"with its external data has over {MAX_BYTES} bytes", where=str(path))
        with open_file(source) as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")


def external_place(tensor: TensorProto, path: Path) -> tuple[Path, int, int]:
    """The file that has the external data of one tensor of the model at `path`, where in it, and how many bytes.

    Raises `InputError` as `inline_external` does.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    where = f"{path}: external data of tensor {tensor.name}"
    source = _inside(path.parent, entries.get("location", ""), where)
    expected = tensor_bytes(tensor) or 0
    offset, length = _number(entries, "offset", 0, where), _number(entries, "length", expected, where)
    if length != expected:
        raise InputError(f"has length {length}; the tensor needs {expected}", where=where)
    if offset + length > source.stat().st_size:
        raise InputError(f"ends beyond the end of {source.name}", where=where)
    return source, offset, length


def external_locations(proto: ModelProto) -> tuple[str, ...]:
    """The files of external data that a model names, relative to its folder, sorted."""
    external = (tensor for tensor in all_tensors(proto) if tensor.data_location == TensorProto.EXTERNAL)
    return tuple(sorted({entry.value for item in external for entry in item.external_data if entry.key == "location"}))


def _number(entries: dict[str, str], key: str, default: int, where: str) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"has the {key} {text[:40]!r}, which is not a number of bytes", where=where)
    return int(text)


def _inside(folder: Path, location: str, where: str) -> Path:
    """The file that `location` names, if it lies in `folder` by a plain relative path without links."""
    parts = PurePosixPath(location).parts
    outside = (
        not parts or PurePosixPath(location).is_absolute() or ".." in parts or "\\" in location or "\0" in location
    )
    current = folder
    for part in () if outside else parts:
        current /= part
        outside = outside or current.is_symlink()
    if outside:
        raise InputError(f"is outside the model's folder: {location!r}", where=where, fix="save the model as one file")
    if not current.is_file():
        raise InputError(f"external data not found: {location!r}", where=where)
    return current
