"""Tensors of the Open Inference Protocol v2, as JSON and as binary data, checked against limits before allocation.

Source: KServe, Open Inference Protocol v2, and its binary tensor data extension (little-endian, row major).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import InputError
from weighbridge.core.files import parse_json
from weighbridge.serve.compact import compact

Array = NDArray[Any]
Feed = Mapping[str, Array]

DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Protocol's name of an element type → numpy's. BYTES and BF16 are not served."""
NAMES = {dtype: name for name, dtype in DATATYPES.items()}


_SMALL = 8192
"""Elements; from 10,000 on OpenBLAS starts threads of its own for a product."""


@dataclass(frozen=True)
class Spec:
    """One input or output of a model; a dimension of -1 may have any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As the protocol's metadata says it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Limits:
    """What a request may bring at most."""

    body_bytes: int = 16 * 2**20
    tensors: int = 64
    elements: int = 4 * 2**20
    """Of all its tensors together."""
    rows: int = 256
    """Examples in one request, where the first dimension of a model is free."""


class Request(NamedTuple):
    """What was asked, decoded."""

    id: str
    feed: dict[str, Array]
    binary: frozenset[str] | None
    """Outputs wanted as binary data; None: all of them."""
    outputs: tuple[str, ...]
    parameters: Mapping[str, Any]


def decode(body: bytes, header_bytes: int | None, inputs: Sequence[Spec], limits: Limits) -> Request:
    """A request's body; `header_bytes` is the length of its JSON where binary data follows.

    Whatever does not fit the model or the limits is an `InputError` that names the input; nothing is allocated for
    a tensor before its size was checked.
    """
    end = len(body) if header_bytes is None else header_bytes
    if not 0 < end <= len(body):
        raise InputError(f"is {end}; the body has {len(body)} bytes", where="Inference-Header-Content-Length")
    try:
        text = body[:end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", where="body") from error
    said = parse_json(text, "body")
    tensors = said.get("inputs") if isinstance(said, dict) else None
    feed = read_tensors(tensors, inputs, limits, memoryview(body)[end:])
    wanted, binary = _outputs(said)
    return Request(checked_id(said.get("id", "")), feed, binary, wanted, _mapping(said, "parameters"))


def read_tensors(tensors: Any, inputs: Sequence[Spec], limits: Limits, raw: bytes | memoryview) -> dict[str, Array]:
    """Input name → array, in the model's order, of tensors described as in JSON; `raw` has their binary data."""
    if not isinstance(tensors, list) or not all(isinstance(item, dict) for item in tensors):
        raise InputError("expected a list of tensors", where="inputs")
    if len(tensors) > limits.tensors:
        raise InputError(f"has {len(tensors)} tensors; at most {limits.tensors} are allowed", where="inputs")
    return _Feed(inputs, limits, memoryview(raw)).read(tensors)


def checked_id(identity: Any) -> str:
    """A request's id; anything but short text is an `InputError`."""
    if not isinstance(identity, str) or len(identity) > 256:
        raise InputError("expected text of at most 256 characters", where="id")
    return identity


def _mapping(item: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = item.get(key) or {}
    if not isinstance(value, dict):
        raise InputError("expected an object", where=key)
    return value


def _outputs(said: Mapping[str, Any]) -> tuple[tuple[str, ...], frozenset[str] | None]:
    wanted = said.get("outputs") or []
    if not isinstance(wanted, list) or not all(isinstance(o, dict) and isinstance(o.get("name"), str) for o in wanted):
        raise InputError("expected a list of objects with names", where="outputs")
    everything = bool(_mapping(said, "parameters").get("binary_data_output", False))
    names = tuple(item["name"] for item in wanted)
    if len(set(names)) != len(names):
        raise InputError("names an output twice", where="outputs")
    binary = {o["name"] for o in wanted if _mapping(o, "parameters").get("binary_data", everything)}
    return names, None if everything and not wanted else frozenset(binary)


class _Feed:
    """Reads a request's tensors one by one."""

    def __init__(self, inputs: Sequence[Spec], limits: Limits, raw: memoryview) -> None:
        self.inputs = {spec.name: spec for spec in inputs}
        self.limits, self.raw = limits, raw
        self.at = self.elements = 0

    def read(self, tensors: list[dict[str, Any]]) -> dict[str, Array]:
        """Input name → array, in the model's order."""
        found: dict[str, Array] = {}
        for item in tensors:
            spec = self.inputs.get(item["name"]) if isinstance(item.get("name"), str) else None
            if spec is None:
                known = ", ".join(self.inputs)
                raise InputError(f"the model has no input {item.get('name')!r}", where="inputs", fix=f"it has {known}")
            if spec.name in found:
                raise InputError("is given twice", where=f"inputs.{spec.name}")
            found[spec.name] = self._tensor(item, spec)
        missing = [name for name in self.inputs if name not in found]
        if missing:
            raise InputError(f"is missing: {', '.join(missing)}", where="inputs")
        if self.at != len(self.raw):
            raise InputError(f"{len(self.raw) - self.at} bytes belong to no input", where="body")
        return {name: found[name] for name in self.inputs}

    def _tensor(self, item: dict[str, Any], spec: Spec) -> Array:
        where = f"inputs.{spec.name}"
        shape = checked_shape(item.get("shape"), spec, where, self.limits)
        if item.get("datatype") != spec.datatype:
            raise InputError(f"expected {spec.datatype}, got {item.get('datatype')!r}", where=f"{where}.datatype")
        count = math.prod(shape)
        self.elements += count
        if self.elements > self.limits.elements:
            raise InputError(f"more than {self.limits.elements} elements", where="inputs")
        size = _mapping(item, "parameters").get("binary_data_size")
        if size is None:
            return _from_json(item.get("data"), spec, shape, where)
        if "data" in item:
            raise InputError("is given as JSON and as binary data", where=where)
        expected = count * DATATYPES[spec.datatype].itemsize
        if isinstance(size, bool) or size != expected:
            raise InputError(f"expected {expected} for this shape, got {size!r}", where=f"{where}.binary_data_size")
        start, self.at = self.at, self.at + expected
        if self.at > len(self.raw):
            raise InputError("the body ends before its data", where=where)
        return from_bytes(self.raw[start : self.at], spec, shape, where)


def checked_shape(shape: Any, spec: Spec, where: str, limits: Limits) -> tuple[int, ...]:
    """A shape that the model takes; anything else is an `InputError`."""
    if not isinstance(shape, list) or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape):
        raise InputError("expected a list of sizes", where=f"{where}.shape")
    fits = len(shape) == len(spec.shape) and all(e in (-1, n) for e, n in zip(spec.shape, shape, strict=True))
    if not fits:
        raise InputError(f"expected {list(spec.shape)}, got {shape[:16]}", where=f"{where}.shape")
    if spec.shape and spec.shape[0] == -1 and not 0 < shape[0] <= limits.rows:
        raise InputError(f"expected 1 to {limits.rows} examples, got {shape[0]}", where=f"{where}.shape")
    return tuple(shape)


def from_bytes(raw: memoryview | bytes, spec: Spec, shape: tuple[int, ...], where: str) -> Array:
    """A tensor from its little-endian bytes, whose number was checked."""
    return finite(np.frombuffer(raw, DATATYPES[spec.datatype]).reshape(shape), where)


def _from_json(data: Any, spec: Spec, shape: tuple[int, ...], where: str) -> Array:
    if not isinstance(data, list):
        raise InputError("expected a list of values", where=f"{where}.data")
    dtype, count = DATATYPES[spec.datatype], math.prod(shape)
    flat = _flat(data, len(shape) + 1, f"{where}.data")
    if len(flat) != count:
        raise InputError(f"expected {count} values, got {len(flat)}", where=f"{where}.data")
    kinds: tuple[type, ...] = (bool,) if dtype.kind == "b" else (int, float) if dtype.kind == "f" else (int,)
    if any(type(value) not in kinds for value in flat):
        raise InputError(f"has a value that is no {spec.datatype}", where=f"{where}.data")
    try:
        with np.errstate(over="raise"):
            return finite(np.asarray(flat, dtype).reshape(shape), where)
    except (OverflowError, FloatingPointError) as error:
        raise InputError(f"has a value out of the range of {spec.datatype}", where=f"{where}.data") from error


def _flat(data: list[Any], depth: int, where: str) -> list[Any]:
    """Values of nested lists, of which the protocol allows any that flatten row by row."""
    while data and isinstance(data[0], list):
        depth -= 1
        if depth < 1 or not all(isinstance(row, list) for row in data):
            raise InputError("lists are nested unlike the shape", where=where)
        data = [value for row in data for value in row]
    return data


def finite(array: Array, where: str) -> Array:
    """The tensor; an `InputError` where it has NaN or infinite values."""
    if array.dtype.kind != "f" or math.isfinite(_squares(array)):
        return array
    if np.count_nonzero(np.isfinite(array)) != array.size:
        raise InputError("contains NaN or infinite values", where=where)
    return array


def has_nan(array: Array) -> bool:
    """Whether a tensor has NaN values."""
    return array.dtype.kind == "f" and math.isnan(_squares(array)) and bool(np.count_nonzero(np.isnan(array)))


def _squares(array: Array) -> float:
    """The sum of squares of a small tensor, NaN of another: one quick call that says of most tensors that all values
    are finite. It is NaN where a value is, and infinite where a value is or where it overflows.
    """
    if array.size > _SMALL:
        return math.nan
    return float(np.vdot(array, array))


_JSON = compact(allow_nan=False)


@lru_cache(maxsize=1024)
def _described(layout: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]) -> bytes:
    """The end of an answer's JSON where all outputs are binary: it says the same again and again."""
    outputs = [
        {
            "name": name,
            "datatype": NAMES[dtype],
            "shape": list(shape),
            "parameters": {"binary_data_size": math.prod(shape) * dtype.itemsize},
        }
        for name, dtype, shape in layout
    ]
    return b"," + _JSON({"outputs": outputs})[1:]


def encode(
    names: bytes, identity: str, outputs: Mapping[str, Array], binary: frozenset[str] | None
) -> tuple[bytes, int | None]:
    """An answer's body, and the length of its JSON where binary data follows. `names` is how the JSON begins.

    An infinite value cannot be said in JSON: an `InputError` that says to ask for binary data.
    """
    if binary is None and outputs:
        layout = _described(tuple([(name, array.dtype, array.shape) for name, array in outputs.items()]))
        text = b'%b,"id":%b%b' % (names, quoted(identity).encode(), layout)
        return b"".join([text, *[array.tobytes() for array in outputs.values()]]), len(text)
    described, parts = [], []
    for name, array in outputs.items():
        item: dict[str, Any] = {"name": name, "datatype": NAMES[array.dtype], "shape": list(array.shape)}
        if binary is not None and name in binary:
            parts.append(array.tobytes())
            item["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            item["data"] = array.ravel().tolist()
        described.append(item)
    try:
        text = b'%b,"id":%b,%b' % (names, quoted(identity).encode(), _JSON({"outputs": described})[1:])
    except ValueError as error:
        raise InputError("contains infinite values", where="outputs", fix='ask for "binary_data": true') from error
    return (text, None) if not parts else (b"".join([text, *parts]), len(text))
