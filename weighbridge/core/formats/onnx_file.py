"""ONNX files: load them safely, read their signature, count parameters and multiply-accumulates, size them.

Nothing here runs a model. A file is judged by its structure alone, so that a corrupt, truncated or hostile
file is one `InputError` before any runtime sees it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from weighbridge.core.errors import InputError
from weighbridge.core.files import read_bytes
from weighbridge.core.formats.onnx_count import Counts, counts
from weighbridge.core.formats.onnx_external import MAX_BYTES, external_locations, inline_external
from weighbridge.core.formats.onnx_walk import all_tensors, subgraphs, tensor_bytes
from weighbridge.core.opening import require_regular

__all__ = [
    "MAX_BYTES",
    "Counts",
    "Port",
    "Signature",
    "check_tensors",
    "counts",
    "external_names",
    "load_model",
    "parse_model",
    "serialize",
    "signature",
]

CLASSES = "weighbridge.classes:"
"""Before an output's name: the key of a file's metadata that lists the classes of its scores."""
UNKNOWN_RANK = ("...",)
"""`Port.shape` of a value whose rank the file does not state."""


@dataclass(frozen=True)
class Port:
    """One input or output of a model."""

    name: str
    dtype: str
    """As numpy names it (`float32`, `int64`, `bfloat16`); `sequence`, `map` or `optional` for what is no tensor."""
    shape: tuple[int | str | None, ...]
    """Sizes; a name where the size is symbolic, None where it is open, `("...",)` where the rank is unknown."""
    classes: tuple[int | str, ...] = ()
    """Of scores by class, the classes in the order of the scores, where the file names them."""


@dataclass(frozen=True)
class Signature:
    """What a caller feeds and gets. Weights that old files list among the inputs are left out."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def load_model(path: Path) -> ModelProto:
    """Load one ONNX file whole, external data inlined.

    Raises `InputError` for a file that is missing, empty, truncated, no ONNX model, too large for one protobuf
    message or inconsistent in itself, and for external data that does not lie inside the file's own folder.
    """
    require_size(path)
    proto = parse_model(read_bytes(path), str(path), complete=False)
    inline_external(proto, path)
    check_tensors(proto, str(path))
    return proto


def require_size(path: Path) -> None:
    """Raise `InputError` for a path that is no regular file, or one that is too large for one message."""
    try:
        size = path.stat().st_size
        require_regular(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if size > MAX_BYTES:
        raise InputError(
            f"has {size} bytes; an ONNX file can have at most {MAX_BYTES}",
            where=str(path),
            fix="save its weights as external data",
        )


def external_names(data: bytes, where: str) -> tuple[str, ...]:
    """The files of external data that a model's bytes name, relative to its folder, sorted."""
    return external_locations(parse_model(data, where, complete=False))


def parse_model(data: bytes, where: str, *, complete: bool = True) -> ModelProto:
    """The model in `data`; `where` names its origin in messages.

    Raises `InputError` like `load_model`. With `complete` the bytes must hold all tensors themselves.
    """
    if not data:
        raise InputError("is empty", where=where)
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise InputError("is not a readable ONNX model", where=where, fix="is the file truncated?") from error
    if not proto.ir_version or not proto.opset_import or not proto.graph.node or not proto.graph.output:
        raise InputError("is not an ONNX model: it has no graph with nodes, outputs and an opset", where=where)
    _check_names(proto.graph, set(), where)
    if complete:
        check_tensors(proto, where)
    return proto


def serialize(proto: ModelProto) -> bytes:
    """A model's bytes; equal models give equal bytes."""
    if proto.ByteSize() > MAX_BYTES:
        raise InputError(f"the model has {proto.ByteSize()} bytes; an ONNX file can have at most {MAX_BYTES}")
    return bytes(proto.SerializeToString(deterministic=True))


def signature(proto: ModelProto) -> Signature:
    """Inputs and outputs in the file's order; initializers are not inputs."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    weights |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    classes = classes_of(proto)
    return Signature(
        tuple(_port(value) for value in proto.graph.input if value.name not in weights),
        tuple(replace(_port(value), classes=classes.get(value.name, ())) for value in proto.graph.output),
    )


def classes_of(proto: ModelProto) -> dict[str, tuple[int | str, ...]]:
    """By output, the classes in the order of its scores: of ZipMap, whose maps are read in the order of their keys, and
    of scores that our own files name so (see `name_classes`).
    """
    stated = [item for item in proto.metadata_props if item.key.startswith(CLASSES)]
    found = {item.key.removeprefix(CLASSES): tuple(json.loads(item.value)) for item in stated}
    for node in proto.graph.node:
        if node.domain == "ai.onnx.ml" and node.op_type == "ZipMap":
            found[node.output[0]] = tuple(sorted(zipmap_classes(node)))
    return found


def zipmap_classes(node: NodeProto) -> list[int | str]:
    """The classes of a ZipMap, in the order of the scores that it reads."""
    named = [item for item in node.attribute if item.name.startswith("classlabels")]
    return [
        label if isinstance(label, int) else label.decode() for item in named for label in (item.ints or item.strings)
    ]


def name_classes(proto: ModelProto, output: str, classes: Sequence[int | str]) -> None:
    """Have a file say which class each score of an output is."""
    proto.metadata_props.add(key=f"{CLASSES}{output}", value=json.dumps(list(classes)))


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Port(value.name, (kind or "unknown").removesuffix("_type"), UNKNOWN_RANK)
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return Port(value.name, _dtype_name(tensor.elem_type), UNKNOWN_RANK)
    dims = [_dim(dim) for dim in tensor.shape.dim]
    return Port(value.name, _dtype_name(tensor.elem_type), tuple(dims))


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    # Paddle's exporter writes open sizes as -1 and "?".
    match dim.WhichOneof("value"):
        case "dim_value" if dim.dim_value >= 0:
            return int(dim.dim_value)
        case "dim_param" if dim.dim_param not in ("", "?"):
            return str(dim.dim_param)
        case _:
            return None


def _dtype_name(elem_type: int) -> str:
    if elem_type == TensorProto.STRING:
        return "string"
    try:
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).name)
    except KeyError:
        return "unknown"


def _check_names(graph: GraphProto, outer: set[str], where: str) -> None:
    """Every value that is read is written before, and nothing is written twice."""
    known = set(outer)
    known |= {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        _check_node(node, known, where)
        known.update(node.output)
    for value in graph.output:
        if value.name not in known:
            raise InputError(f"output {value.name!r} is written by no node", where=where)


def _check_node(node: NodeProto, known: set[str], where: str) -> None:
    label = f"node {node.name!r} ({node.op_type})" if node.name else f"a {node.op_type or 'nameless'} node"
    if not node.op_type:
        raise InputError(f"is not an ONNX model: {label} has no operator", where=where)
    for name in node.input:
        if name and name not in known:
            raise InputError(f"{label} reads {name!r}, which nothing before it writes", where=where)
    for attribute in node.attribute:
        for subgraph in subgraphs(attribute):
            _check_names(subgraph, known, where)
    for name in node.output:
        if name and name in known:
            raise InputError(f"{label} writes {name!r}, which is already there", where=where)


def check_tensors(proto: ModelProto, where: str, *, outside: bool = False) -> None:
    """Every tensor holds as many bytes as its type and shape say; with `outside`, its data may lie elsewhere."""
    for tensor in all_tensors(proto):
        name = tensor.name or "without a name"
        if tensor.data_location == TensorProto.EXTERNAL and not outside:
            raise InputError(f"tensor {name} keeps its data in another file", where=where)
        if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
            raise InputError(f"tensor {name} has the unknown type {tensor.data_type}", where=where)
        if any(size < 0 for size in tensor.dims):
            raise InputError(f"tensor {name} has a negative size: {list(tensor.dims)}", where=where)
        expected = tensor_bytes(tensor)
        if tensor.HasField("raw_data") and expected is not None and len(tensor.raw_data) != expected:
            raise InputError(
                f"tensor {name} has {len(tensor.raw_data)} bytes; its type and shape need {expected}", where=where
            )
