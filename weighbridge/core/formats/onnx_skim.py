"""An ONNX file without the bytes of its large weights: what a file's facts need, in little memory.

A weight's bytes are passed over in the file, which is mapped, not read: only headers are touched. The wire format is
protobuf's (protobuf.dev/programming-guides/encoding), the field numbers are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from onnx import ModelProto

from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_external import external_locations, inline_external
from weighbridge.core.formats.onnx_file import check_tensors, parse_model, require_size
from weighbridge.core.formats.onnx_walk import tensor_bytes
from weighbridge.core.formats.onnx_weightless import LARGE
from weighbridge.core.opening import open_file

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT = 10

Buffer = bytes | mmap.mmap
Field = tuple[int, int, int, int]
"""Number, start of the tag, start and end of the value."""
Places = Mapping[int, tuple[int, int]]
"""Position among the graph's initializers → where in the file its bytes begin, and how many there are."""


class _MalformedError(ValueError):
    """The bytes are not what the wire format allows."""


def skim_model(path: Path, large: int = LARGE) -> tuple[ModelProto, tuple[str, ...]]:
    """The model without its large weights, and the names of its files of external data.

    Weights that are passed over keep type and shape and have no data. Every check of `load_model` holds but for the
    size of the whole: external data may be of any size. Raises `InputError` like it.
    """
    proto, names, _ = skim_with_places(path, large)
    return proto, names


def skim_with_places(path: Path, large: int = LARGE) -> tuple[ModelProto, tuple[str, ...], Places]:
    """As `skim_model`, with where in the file the weights lie that were passed over."""
    proto, places = _parsed(path, large)
    for index, (_, length) in places.items():
        _check_length(proto, index, length, str(path))
    names = external_locations(proto)
    inline_external(proto, path, up_to=large)
    check_tensors(proto, str(path), outside=True)
    return proto, names, places


def external_files(path: Path) -> tuple[Path, ...]:
    """The files of external data that a model names, sorted; `skim_model` checks that they lie in its folder."""
    return tuple(path.parent / name for name in external_locations(_parsed(path, LARGE)[0]))


def _parsed(path: Path, large: int) -> tuple[ModelProto, Places]:
    require_size(path)
    places: Places = {}
    with open_file(path) as file:
        # An empty file cannot be mapped, and is refused by the parser.
        view: Buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
        try:
            data, places = _skimmed(view, large)
        except _MalformedError:
            data = view[:]  # the parser says what is wrong with it
        finally:
            if isinstance(view, mmap.mmap):
                view.close()
    return parse_model(data, str(path), complete=False), places


def _check_length(proto: ModelProto, index: int, length: int, where: str) -> None:
    tensor = proto.graph.initializer[index]
    check_tensors(ModelProto(graph={"initializer": [tensor]}), where, outside=True)
    expected = tensor_bytes(tensor)
    if expected is not None and expected != length:
        raise InputError(f"tensor {tensor.name} has {length} bytes; its type and shape need {expected}", where=where)


def _skimmed(view: Buffer, large: int) -> tuple[bytes, dict[int, tuple[int, int]]]:
    """The message without large raw data of initializers, and where that was, by the initializer's position."""
    parts: list[bytes] = []
    places: dict[int, tuple[int, int]] = {}
    count = 0
    for number, tag, start, end in _fields(view, 0, len(view)):
        if number != _GRAPH:
            parts.append(view[tag:end])
            continue
        inner: list[bytes] = []
        for field, begin, value, stop in _fields(view, start, end):
            if field != _INITIALIZER:
                inner.append(view[begin:stop])
                continue
            kept, place = _without_data(view, value, stop, large)
            if place is not None:
                places[count] = place
            inner.append(_packed(_INITIALIZER, kept))
            count += 1
        parts.append(_packed(_GRAPH, b"".join(inner)))
    return b"".join(parts), places


def _without_data(view: Buffer, start: int, end: int, large: int) -> tuple[bytes, tuple[int, int] | None]:
    """A tensor's message, without its raw data where that is large, and where that was and how long."""
    kept, place = [], None
    for number, tag, value, stop in _fields(view, start, end):
        if number == _RAW_DATA and stop - value > large:
            place = (value, stop - value)
        else:
            kept.append(view[tag:stop])
    return b"".join(kept), place


def _fields(view: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of one message; `_MalformedError` where they do not fill it."""
    while start < end:
        tag = start
        key, start = _varint(view, start, end)
        kind = key & 7
        if kind == _VARINT:
            stop = _varint(view, start, end)[1]
        elif kind == _BYTES:
            length, start = _varint(view, start, end)
            stop = start + length
        elif kind in (_FIXED32, _FIXED64):
            stop = start + (4 if kind == _FIXED32 else 8)
        else:
            raise _MalformedError
        if stop > end:
            raise _MalformedError
        yield key >> 3, tag, start, stop
        start = stop


def _varint(view: Buffer, start: int, end: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for index in range(_MOST_VARINT):
        if start + index >= end:
            break
        byte = view[start + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, start + index + 1
    raise _MalformedError


def _packed(number: int, value: bytes) -> bytes:
    """A field of bytes."""
    return _number(number << 3 | _BYTES) + _number(len(value)) + value


def _number(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
