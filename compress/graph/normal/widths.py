"""Graphs that compute in float64, bfloat16 or float16: the same graph in float32, with the types of its ports kept."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from weighbridge.compress.graph.normal.walk import copied, fresh, graphs, names, nodes, read_as, replaced
from weighbridge.compress.graph.spilled import is_spilled, kept, to_array
from weighbridge.core.errors import InputError

WIDTHS = {TensorProto.DOUBLE, TensorProto.BFLOAT16, TensorProto.FLOAT16, TensorProto.FLOAT}
_DTYPED = {"Cast", "EyeLike", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
"""Operators with an attribute that names the type of their output."""


def in_float32(proto: ModelProto, kinds: Iterable[int]) -> ModelProto:
    """The model whose values of the given types are float32; inputs and outputs keep theirs, by a Cast.

    Raises `InputError` for a weight that float32 cannot hold.
    """
    kinds = set(kinds)
    if not _uses(proto.graph, kinds):
        return proto
    model = copied(proto)
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            _narrow(tensor, kinds)
        for value in (*graph.input, *graph.output) if graph is not model.graph else ():
            if value.type.tensor_type.elem_type in kinds:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        del graph.value_info[:]
    for node in nodes(model.graph):
        for item in node.attribute:
            if item.name in ("to", "dtype", "output_dtype") and item.i in kinds and node.op_type in _DTYPED:
                item.i = TensorProto.FLOAT
            if item.HasField("t"):
                _narrow(item.t, kinds)
    _cast_ports(model.graph, kinds)
    return model


def decoded(proto: ModelProto) -> ModelProto:
    """The model whose weights of other widths that are cast to float32 at once are float32 themselves."""
    stored = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.data_type in WIDTHS}
    casts = {
        node.output[0]: stored[node.input[0]]
        for node in proto.graph.node
        if node.op_type == "Cast" and node.input[0] in stored and _to(node) == TensorProto.FLOAT
    }
    outputs = {value.name for value in proto.graph.output}
    casts = {name: tensor for name, tensor in casts.items() if len(tensor.dims) > 1 and name not in outputs}
    if not casts:
        return proto
    model = copied(proto)
    replaced(model.graph, lambda node: node.op_type != "Cast" or node.output[0] not in casts, [])
    for name, tensor in casts.items():
        wide = numpy_helper.from_array(to_array(tensor).astype(np.float32), name)
        model.graph.initializer.append(kept(wide) if is_spilled(tensor) else wide)
    return model


def _uses(graph: GraphProto, kinds: set[int]) -> bool:
    stored = any(tensor.data_type in kinds for one in graphs(graph) for tensor in one.initializer)
    ports = any(value.type.tensor_type.elem_type in kinds for value in (*graph.input, *graph.output))
    made = any(
        (item.HasField("t") and item.t.data_type in kinds) or (node.op_type in _DTYPED and item.i in kinds)
        for node in nodes(graph)
        for item in node.attribute
        if item.name in ("to", "dtype", "value")
    )
    return stored or ports or made


def _narrow(tensor: TensorProto, kinds: set[int]) -> None:
    if tensor.data_type not in kinds:
        return
    with np.errstate(over="ignore"):
        values = to_array(tensor)
        narrow = values.astype(np.float32)
    if np.isfinite(values.astype(np.float64)).all() and not np.isfinite(narrow).all():
        raise InputError(
            f"the weight {tensor.name} is float64 and has values beyond float32",
            where="quantize",
            fix="keep the model in float64: no step on files can hold these values",
        )
    in_scratch = is_spilled(tensor)
    tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    if in_scratch:
        kept(tensor)


def _to(node: NodeProto) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "to"), 0)


def _cast_ports(graph: GraphProto, kinds: set[int]) -> None:
    taken = names(graph)
    casts, renamed = [], {}
    for value in graph.input:
        if value.type.tensor_type.elem_type in kinds:
            renamed[value.name] = fresh(f"{value.name}/float32", taken)
            casts.append(helper.make_node("Cast", [value.name], [renamed[value.name]], to=TensorProto.FLOAT))
    read_as(graph, renamed)
    replaced(graph, lambda _: True, casts)
    made = {}
    for value in graph.output:
        kind = value.type.tensor_type.elem_type
        if kind in kinds:
            made[value.name] = fresh(f"{value.name}/float32", taken)
            graph.node.append(helper.make_node("Cast", [made[value.name]], [value.name], to=kind))
    body = list(graph.node)[: len(graph.node) - len(made)]
    for node in body:
        node.output[:] = [made.get(name, name) for name in node.output]
    for node in body:
        node.input[:] = [made.get(name, name) for name in node.input]
