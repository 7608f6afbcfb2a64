"""Frames between the gate and its workers: a fixed header with two lengths, a JSON object, a binary payload."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HEADER = struct.Struct("<4sIQ")
"""Magic, bytes of JSON, bytes of payload; little-endian."""
MAGIC = b"WBW1"
MAX_JSON = 1 << 20
MAX_PAYLOAD = 1 << 33


class ProtocolError(Exception):
    """The bytes on the pipe are not a frame."""


def pack(message: Mapping[str, Any], payload: bytes | memoryview = b"") -> bytes:
    """One frame as bytes."""
    text = json.dumps(message, allow_nan=False).encode()
    return HEADER.pack(MAGIC, len(text), len(payload)) + text + payload


def unpack_header(header: bytes) -> tuple[int, int]:
    """Lengths of JSON and payload; raises `ProtocolError` where the header is not one of ours."""
    if len(header) != HEADER.size:
        raise ProtocolError("the stream ended within a header")
    magic, text, payload = HEADER.unpack(header)
    if magic != MAGIC or not 0 < text <= MAX_JSON or payload > MAX_PAYLOAD:
        raise ProtocolError(f"not a frame: {header[:16]!r}")
    return text, payload


def pack_arrays(arrays: Mapping[str, Array]) -> tuple[list[dict[str, Any]], bytes]:
    """Arrays as a description for the JSON part and their bytes, one after the other."""
    described = [{"name": name, "dtype": a.dtype.str, "shape": list(a.shape)} for name, a in arrays.items()]
    return described, b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())


def unpack_arrays(described: Any, payload: bytes) -> dict[str, Array]:
    """The arrays of a payload; raises `ProtocolError` where lengths, types and shapes do not agree."""
    arrays: dict[str, Array] = {}
    offset = 0
    try:
        for item in described:
            dtype = np.dtype(item["dtype"])
            shape = tuple(int(size) for size in item["shape"])
            if dtype.hasobject or any(size < 0 for size in shape):
                raise ProtocolError(f"not an array of numbers: {item}")
            count = int(np.prod(shape, dtype=np.int64)) if shape else 1
            arrays[str(item["name"])] = np.frombuffer(payload, dtype, count, offset).reshape(shape)
            offset += count * dtype.itemsize
    except (TypeError, KeyError, ValueError, OverflowError, SyntaxError) as error:  # numpy parses words as types
        raise ProtocolError(f"arrays that do not fit their payload: {error}") from error
    if offset != len(payload):
        raise ProtocolError(f"{len(payload)} bytes of payload, {offset} described")
    return arrays
