"""What lowering steps share: the layers of an ONNX graph and their names, and running it; its form is in `graph_form`.

A *layer* is a node with a weight that is stored in the file. It answers to its module's name (`features.0`), where
the exporter noted which parameter a weight came from, or else to its weight's name without `.weight`; failing
both, to its node's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from weighbridge.compress.graph import spilled
from weighbridge.compress.graph.graph_form import at_opset as at_opset  # noqa: PLC0414  # lowering steps know it from here
from weighbridge.compress.graph.graph_form import finished as finished  # noqa: PLC0414
from weighbridge.compress.graph.normal.walk import bodies, nodes
from weighbridge.compress.graph.sessions import session
from weighbridge.compress.steps import Graph
from weighbridge.core.errors import InputError

Array = NDArray[Any]


# Operators with weights: which input holds them, and along which of its axes the output channels lie.
WEIGHT_SLOTS: dict[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "GRU": (1, 2),
    "Gather": (0,),
    "Gemm": (1,),
    "LSTM": (1, 2),
    "MatMul": (0, 1),
    "RNN": (1, 2),
}


"""Of onnxruntime_session_options_config_keys.h: where weights of an optimized model go."""


@dataclass(frozen=True)
class Layer:
    """A node and one weight of it that is stored in the file."""

    name: str
    node: str
    """The node's name."""
    op_type: str
    weight: str
    """The initializer's name."""
    shape: tuple[int, ...]
    axis: int
    """Along which the weight's output channels lie."""


def layers(graph: Graph) -> list[Layer]:
    """Every node that has a stored float weight of two or more dimensions, in the graph's order.

    Nodes in branches and loop bodies are among them; a weight without elements is none.
    """
    proto = graph.proto
    stored = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    origins: Mapping[str, str] = graph.notes.get("parameters", {})
    found = []
    for node in nodes(proto.graph):
        for slot in WEIGHT_SLOTS.get(node.op_type, ()):
            tensor = stored.get(node.input[slot]) if slot < len(node.input) else None
            if tensor is not None and len(tensor.dims) >= 2 and all(tensor.dims):
                name = layer_name(origins.get(tensor.name, tensor.name)) or node.name
                axis = _channel_axis(node, slot, len(tensor.dims))
                found.append(Layer(name, node.name, node.op_type, tensor.name, tuple(tensor.dims), axis))
    return found


def layer_name(parameter: str) -> str:
    """`features.0.weight` → `features.0`."""
    return parameter.removesuffix(".weight")


def select(known: Sequence[Layer], patterns: Sequence[str], where: str) -> list[Layer]:
    """The layers that any of the patterns (`*` and `?` as in file names) matches.

    A pattern that matches nothing is an `InputError` that lists the layers.
    """
    for pattern in patterns:
        if not any(_matches(layer, pattern) for layer in known):
            names = ", ".join(dict.fromkeys(layer.name for layer in known)) or "none"
            raise InputError(f"{pattern!r} matches no layer", where=where, fix=f"layers: {names}")
    return [layer for layer in known if any(_matches(layer, pattern) for pattern in patterns)]


def _matches(layer: Layer, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (layer.name, layer.node, layer.weight))


def _channel_axis(node: NodeProto, slot: int, rank: int) -> int:
    match node.op_type:
        case "ConvTranspose" | "GRU" | "LSTM" | "RNN":
            return 1
        case "Gemm":
            transposed = any(item.name == "transB" and item.i for item in node.attribute)
            return 0 if transposed else 1
        case "MatMul":
            return rank - 1 if slot == 1 else rank - 2
        case _:
            return 0


def array_of(proto: ModelProto, name: str) -> Array:
    """The values of one initializer."""
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    return spilled.to_array(tensor)


def named(proto: ModelProto) -> ModelProto:
    """A copy whose nodes all have names of their own, as quantizers need them."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    inner = [node for outer in copy.graph.node for body in bodies(outer) for node in nodes(body)]
    every = [*copy.graph.node, *inner]
    taken = Counter(node.name for node in every)
    for index, node in enumerate(every):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.op_type}_{index}"
    return copy


def agreement(ours: Sequence[Array], theirs: Sequence[Array]) -> dict[str, float]:
    """How two models' outputs on the same examples agree.

    `relative_error`: root mean square of the difference over that of `theirs`, the worst output.
    `same_class`: share of examples with the same largest entry along the last axis of the first output.
    """
    errors = [_relative_error(a, b) for a, b in zip(ours, theirs, strict=True) if b.dtype.kind == "f"]
    same = 1.0
    if ours[0].ndim >= 2:
        same = float((ours[0].argmax(-1) == theirs[0].argmax(-1)).mean())
    return {"relative_error": max(errors, default=0.0), "same_class": same}


def _relative_error(ours: Array, theirs: Array) -> float:
    scale = float(np.sqrt(np.mean(np.square(theirs, dtype=np.float64))))
    error = float(np.sqrt(np.mean(np.square(ours.astype(np.float64) - theirs))))
    return error / scale if scale else error


def optimized(proto: ModelProto, where: str) -> ModelProto:
    """The graph after onnxruntime's processor-independent optimizations: constants folded, normalisations fused."""
    path = spilled.fresh_path("optimized.onnx")
    try:
        session(proto, where, level="basic", save=path)
        if not spilled.is_spilled(proto):
            return finished(onnx.load(path))
        return finished(spilled.adopted(onnx.load(path, load_external_data=False), path))
    finally:
        path.unlink(missing_ok=True)


def integer_tensors(proto: ModelProto) -> dict[str, int]:
    """Initializers with two or more elements by integer type, and nodes that quantize or compute on integers."""
    integers = {"INT8", "UINT8", "INT4", "UINT4"}
    found: Counter[str] = Counter()
    for tensor in proto.graph.initializer:
        kind = TensorProto.DataType.Name(tensor.data_type)
        if kind in integers and int(np.prod(tensor.dims)) > 1:
            found[f"{kind.lower()}_tensors"] += 1
    operators = Counter(node.op_type for node in proto.graph.node if _is_integer(node.op_type))
    return {**dict(sorted(found.items())), **dict(sorted(operators.items()))}


def _is_integer(op_type: str) -> bool:
    return op_type.startswith(("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "QGemm")) or op_type in {
        "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits",
    }  # fmt: skip
