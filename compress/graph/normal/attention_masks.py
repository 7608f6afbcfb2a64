"""Additive masks: constants like the lowest float32 that are added to scores so that softmax gives them no weight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from weighbridge.compress.graph.normal.walk import copied
from weighbridge.compress.graph.spilled import to_array

LARGE = 1e4
"""From this magnitude on, a constant on the way to a softmax masks: exp(-1e4) is zero in every format."""
SATURATED = 3e4
"""What masks become. Float16 holds it, and the sum of two of them."""

ELEMENTWISE = {
    "Add", "Cast", "Concat", "Div", "Expand", "Gather", "Identity", "Max", "Min", "Mul", "Neg", "Reshape", "Slice",
    "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
_ENDS = {"LogSoftmax", "Softmax"}


def masks(graph: GraphProto) -> dict[str, tuple[NodeProto, ...]]:
    """Stored constants of large magnitude that reach nothing but softmax → the nodes on the way, softmax included."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers[name].append(node)
    outputs = {value.name for value in graph.output}
    found = {}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and _largest(tensor) >= LARGE:
            way = _way(tensor.name, readers, outputs)
            if way is not None:
                found[str(tensor.name)] = way
    return found


def saturated(proto: ModelProto) -> ModelProto:
    """The model whose masks are at most `SATURATED` in magnitude; their softmax is the same."""
    known = masks(proto.graph)
    if not known:
        return proto
    model = copied(proto)
    for tensor in model.graph.initializer:
        if tensor.name in known:
            values = to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.clip(values, -SATURATED, SATURATED), tensor.name))
    return model


def _largest(tensor: TensorProto) -> float:
    return float(np.abs(to_array(tensor)).max(initial=0.0))


def _way(name: str, readers: Mapping[str, list[NodeProto]], outputs: set[str]) -> tuple[NodeProto, ...] | None:
    """The nodes between a value and the softmaxes that it reaches; None where it also reaches something else."""
    way: dict[int, NodeProto] = {}
    waiting, seen = [name], {name}
    while waiting:
        value = waiting.pop()
        if value in outputs or not readers.get(value):
            return None
        for node in readers[value]:
            if node.op_type not in ELEMENTWISE | _ENDS:
                return None
            way[id(node)] = node
            fresh = [] if node.op_type in _ENDS else [item for item in node.output if item not in seen]
            waiting += fresh
            seen |= set(fresh)
    return tuple(way.values())
