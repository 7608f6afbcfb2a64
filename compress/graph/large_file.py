"""A large model as it ships, written as a stream: one file, or two where one message cannot hold it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import Message
from onnx import ModelProto, StringStringEntryProto, TensorProto

from weighbridge.compress.graph.spilled import ALIGNED, bare_file, fresh_path, is_spilled, tensor_chunks, total_bytes
from weighbridge.core.errors import InputError
from weighbridge.core.files import sha256_file
from weighbridge.core.formats.onnx_external import MAX_BYTES
from weighbridge.core.formats.onnx_weightless import copy_fields

ONE_FILE = MAX_BYTES - (1 << 20)
"""Bytes of a model up to which it ships as one file."""
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


@dataclass(frozen=True)
class LargeFile:
    """A model of one or two files in the scratch folder. Two of one content are equal."""

    path: Path = field(compare=False)
    mapped: Path = field(compare=False)
    """The same model for a runtime that maps its weights, which it would else hold twice."""
    digest: str
    """Of the model's file, which names the digest of the other one."""
    bytes: int
    """Of the model's file."""
    beside: Path | None = field(default=None, compare=False)
    """Its weights, where they are a file of their own."""
    beside_digest: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file, or both."""
        return (self.path,) if self.beside is None else (self.path, self.beside)

    def place(self, folder: Path, name: str) -> None:
        """Move the files into a folder, the model's under `name`; the other one keeps the name that the model says."""
        shutil.move(self.path, folder / name)
        if self.beside is not None:
            shutil.move(self.beside, folder / self.beside.name)


def as_bytes(data: bytes | LargeFile) -> bytes:
    """The file that ships, read whole; an `InputError` for a model in two files."""
    if isinstance(data, bytes):
        return data
    if data.beside is not None:
        raise InputError("the model is two files; a search takes models of one", fix="run recipes themselves")
    return data.path.read_bytes()


def written(proto: ModelProto, name: str, *, one_file: int | None = None) -> LargeFile:
    """Write a spilled model to scratch, byte for byte as one message where that holds it.

    Else its large weights go to `<name>.data` beside it. The model names that file's digest in its metadata
    (`sha256`), so that its own digest stands for both.
    """
    folder = fresh_path("shipped")
    folder.mkdir()
    path = folder / name
    if total_bytes(proto) <= (ONE_FILE if one_file is None else one_file):
        with path.open("wb") as file:
            _stream(proto, file)
        return LargeFile(path, bare_file(proto), sha256_file(path), path.stat().st_size)
    beside = path.with_name(f"{name}.data")
    bare = ModelProto()
    bare.CopyFrom(proto)
    digest = hashlib.sha256()
    with beside.open("wb") as file:
        for tensor in bare.graph.initializer:
            if is_spilled(tensor):
                _move(tensor, file, digest.update, beside.name)
    found = f"sha256:{digest.hexdigest()}"
    bare.metadata_props.add(key=beside.name, value=found)
    path.write_bytes(bare.SerializeToString(deterministic=True))
    return LargeFile(path, path, sha256_file(path), path.stat().st_size, beside, found)


def _move(tensor: TensorProto, file: BinaryIO, update: Callable[[bytes], object], location: str) -> None:
    def put(data: bytes) -> None:
        file.write(data)
        update(data)

    put(bytes(-file.tell() % ALIGNED))
    start = file.tell()
    for chunk in tensor_chunks(tensor):
        put(chunk)
    entries = {"location": location, "offset": str(start), "length": str(file.tell() - start)}
    tensor.ClearField("external_data")
    tensor.external_data.extend(StringStringEntryProto(key=key, value=value) for key, value in entries.items())


def _stream(proto: ModelProto, file: BinaryIO) -> None:
    """The bytes of `SerializeToString(deterministic=True)` of the model with its weights, which never lie in memory.

    The wire format is protobuf's (protobuf.dev/programming-guides/encoding): fields in the order of their numbers.
    """
    graph = proto.graph
    tensors = [_tensor_parts(tensor) for tensor in graph.initializer]
    lengths = [len(head) + size + len(tail) for head, size, tail in tensors]
    before = _fields(graph, lambda number: number < _INITIALIZER)
    after = _fields(graph, lambda number: number > _INITIALIZER)
    inside = sum(len(_tag(_INITIALIZER, length)) + length for length in lengths)
    file.write(_fields(proto, lambda number: number < _GRAPH))
    file.write(_tag(_GRAPH, len(before) + inside + len(after)))
    file.write(before)
    for tensor, (head, _, tail), length in zip(graph.initializer, tensors, lengths, strict=True):
        file.write(_tag(_INITIALIZER, length))
        file.write(head)
        file.writelines(tensor_chunks(tensor) if is_spilled(tensor) else ())
        file.write(tail)
    file.write(after)
    file.write(_fields(proto, lambda number: number > _GRAPH))


def _tensor_parts(tensor: TensorProto) -> tuple[bytes, int, bytes]:
    """A tensor's message around its raw data, and how long that is."""
    if not is_spilled(tensor):
        return tensor.SerializeToString(deterministic=True), 0, b""
    size = sum(int(entry.value) for entry in tensor.external_data if entry.key == "length")
    head = _fields(tensor, lambda number: number < _RAW_DATA) + _tag(_RAW_DATA, size)
    outside = (_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION)
    return head, size, _fields(tensor, lambda number: number > _RAW_DATA and number not in outside)


def _fields(message: Message, wanted: Callable[[int], bool]) -> bytes:
    part = type(message)()
    copy_fields(message, part, wanted)
    return bytes(part.SerializeToString(deterministic=True))


def _tag(number: int, length: int) -> bytes:
    """What stands before a field of `length` bytes."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
