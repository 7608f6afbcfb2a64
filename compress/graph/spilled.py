"""Large weights of a large graph lie in a file beside it while steps rewrite it: every copy of such a graph is small.

A *spilled* tensor is one of ONNX's own with external data, in a scratch folder of this process. What reads weights
does so by `to_array`, one at a time; what runs a graph lets onnxruntime map the file. Small graphs stay as they are.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper

from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_external import MAX_BYTES, external_place, inline_external
from weighbridge.core.formats.onnx_file import load_model, serialize
from weighbridge.core.formats.onnx_skim import skim_with_places
from weighbridge.core.formats.onnx_walk import all_tensors
from weighbridge.core.formats.onnx_weightless import LARGE
from weighbridge.core.opening import open_file

FROM = 1 << 26
"""Bytes of a model from which on its large weights are spilled."""
ALIGNED = 4096
"""Bytes to whose multiples weights are aligned, as pages are: onnxruntime maps them."""
CHUNK = 1 << 22
_WEIGHTS = "weights"

Array = NDArray[Any]


@cache
def folder() -> Path:
    """The scratch folder of this process; it goes with the process."""
    made = tempfile.TemporaryDirectory(prefix="weighbridge.")
    atexit.register(made.cleanup)
    return Path(made.name)


_numbers = count()


def fresh_path(name: str) -> Path:
    """A path in the scratch folder that no file has yet."""
    return folder() / f"{next(_numbers)}-{name}"


def is_spilled(item: ModelProto | TensorProto) -> bool:
    """Whether a tensor, or any weight of a model, lies in the scratch folder."""
    if isinstance(item, TensorProto):
        return bool(item.data_location == TensorProto.EXTERNAL)
    return any(is_spilled(tensor) for tensor in item.graph.initializer)


def opened(path: Path) -> ModelProto:
    """An ONNX file, checked as `load_model` checks it; the large weights of a large one are copied to scratch, unread.

    Its external data may be of any size. A file in the scratch folder itself is not copied.
    """
    proto, names, places = skim_with_places(path)
    size = sum(file.stat().st_size for file in (path, *(path.parent / name for name in names)))
    if size <= FROM:
        return load_model(path)
    found = {index: (path, *place) for index, place in places.items()}
    for index, tensor in enumerate(proto.graph.initializer):
        if is_spilled(tensor):
            found[index] = external_place(tensor, path)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    inline_external(proto, path)  # of branches and nodes
    for index, (source, offset, length) in found.items():
        tensor = proto.graph.initializer[index]
        if folder() in source.parents:
            _refer(tensor, source.relative_to(folder()).as_posix(), offset, length)
        else:
            _spill(tensor, _chunks(source, offset, length))
    return proto


def spill(proto: ModelProto) -> ModelProto:
    """The model itself, its large weights moved to scratch where it is large."""
    if proto.ByteSize() > FROM or is_spilled(proto):
        for tensor in proto.graph.initializer:
            kept(tensor)
    return proto


def kept(tensor: TensorProto) -> TensorProto:
    """The tensor itself, its bytes moved to scratch where they are many."""
    if tensor.HasField("raw_data") and len(tensor.raw_data) > LARGE:
        data = tensor.raw_data
        tensor.ClearField("raw_data")
        _spill(tensor, iter([data]))
    return tensor


def to_array(tensor: TensorProto) -> Array:
    """The values of a tensor, wherever they lie."""
    if not is_spilled(tensor):
        return np.asarray(numpy_helper.to_array(tensor))
    whole = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    if TensorProto.DataType.Name(tensor.data_type) in ("FLOAT", "FLOAT16", "DOUBLE", "INT8", "UINT8"):
        source, offset, length = _place(tensor)
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.fromfile(source, kind, length // kind.itemsize, offset=offset).reshape(tuple(tensor.dims))
    whole.raw_data = b"".join(tensor_chunks(tensor))
    return np.asarray(numpy_helper.to_array(whole))


def tensor_chunks(tensor: TensorProto) -> Iterator[bytes]:
    """The bytes of a spilled tensor, in pieces."""
    yield from _chunks(*_place(tensor))


def total_bytes(proto: ModelProto) -> int:
    """Bytes of the model with all its weights, within a few."""
    return int(proto.ByteSize()) + sum(_place(tensor)[2] for tensor in proto.graph.initializer if is_spilled(tensor))


def is_large(proto: ModelProto) -> bool:
    """Whether a model with spilled weights is too large to be held as bytes."""
    return is_spilled(proto) and total_bytes(proto) > FROM


def whole(proto: ModelProto) -> ModelProto:
    """The model with all its weights in memory, as steps take it that look at all of them at once."""
    if not is_spilled(proto):
        return proto
    if total_bytes(proto) > MAX_BYTES:
        raise InputError(
            f"the model has {total_bytes(proto)} bytes; this step takes at most {MAX_BYTES}",
            fix="choose fp16, weight-int8 or weight-int4 under quantize",
        )
    model = ModelProto()
    model.CopyFrom(proto)
    for tensor in model.graph.initializer:
        if is_spilled(tensor):
            data = b"".join(tensor_chunks(tensor))
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = data
    return model


def hollow(proto: ModelProto) -> ModelProto:
    """A copy whose spilled weights have type and shape and no data, for what looks at the graph alone."""
    model = ModelProto()
    model.CopyFrom(proto)
    for tensor in model.graph.initializer:
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    return model


def message(proto: ModelProto) -> bytes:
    """The bytes of a model with all its weights."""
    return serialize(whole(proto))


def bare_file(proto: ModelProto) -> Path:
    """A spilled model as a file in the scratch folder that names its weights there, for a runtime to map."""
    path = fresh_path("model.onnx")
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


def adopted(proto: ModelProto, path: Path) -> ModelProto:
    """The model read from a file in the scratch folder, its external data taken for spilled."""
    for tensor in all_tensors(proto):
        if is_spilled(tensor):
            source, offset, length = external_place(tensor, path)
            _refer(tensor, source.relative_to(folder()).as_posix(), offset, length)
    return proto


def _place(tensor: TensorProto) -> tuple[Path, int, int]:
    return external_place(tensor, folder() / "any")


def _chunks(source: Path, offset: int, length: int) -> Iterator[bytes]:
    with open_file(source) as file:
        file.seek(offset)
        while length > 0:
            chunk = file.read(min(CHUNK, length))
            if not chunk:
                raise InputError("was cut short while it was read", where=str(source))
            length -= len(chunk)
            yield chunk


def _spill(tensor: TensorProto, chunks: Iterator[bytes]) -> None:
    with (folder() / _WEIGHTS).open("ab") as file:
        file.write(bytes(-file.tell() % ALIGNED))
        start = file.tell()
        for chunk in chunks:
            file.write(chunk)
        length = file.tell() - start
    _refer(tensor, _WEIGHTS, start, length)


def _refer(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    entries = {"location": location, "offset": str(offset), "length": str(length)}
    tensor.ClearField("external_data")
    tensor.external_data.extend(StringStringEntryProto(key=key, value=value) for key, value in entries.items())
    tensor.data_location = TensorProto.EXTERNAL
