"""Say the same graph in fewer bytes: no attribute at its default, short names for all but inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from weighbridge.compress.graph.normal.walk import bodies, graphs, nodes
from weighbridge.core.formats.onnx_strip import strip_metadata

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# All ones and `kernel_shape` follow from the operator's definition (onnx.ai/onnx/operators, Conv and pooling).
_WINDOWED = ("Conv", "MaxPool", "AveragePool")


def concise(proto: ModelProto) -> ModelProto:
    """A copy without metadata, default attributes and unused weights; values and nodes get short names.

    Inputs and outputs keep theirs. The same model always gives the same bytes.
    """
    bare = strip_metadata(proto)
    bare.graph.name = "g"
    opset = {item.domain: item.version for item in bare.opset_import}
    _drop_unused(bare.graph)
    for node in nodes(bare.graph):
        node.ClearField("name")
        _drop_defaults(node, opset)
    ports = {value.name for value in (*bare.graph.input, *bare.graph.output)}
    fresh = (name for name in short_names() if name not in ports)
    _rename(bare.graph, {name: name for name in ports}, fresh)
    _drop_domains(bare)
    return bare


def _drop_unused(graph: GraphProto) -> None:
    used = {name for node in nodes(graph) for name in node.input}
    used |= {value.name for one in graphs(graph) for value in one.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _drop_defaults(node: NodeProto, opset: dict[str, int]) -> None:
    known = _defaults(node, opset)
    kept = [item for item in node.attribute if not _implied(node, item, known)]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _defaults(node: NodeProto, opset: dict[str, int]) -> dict[str, AttributeProto]:
    try:
        schema = onnx.defs.get_schema(node.op_type, opset.get(node.domain, 1), node.domain)
    except onnx.defs.SchemaError:  # an operator of a runtime's own domain
        return {}
    return {name: item.default_value for name, item in schema.attributes.items() if item.default_value.type}


def _implied(node: NodeProto, item: AttributeProto, known: dict[str, AttributeProto]) -> bool:
    if node.op_type in _WINDOWED and not node.domain:
        if item.name in ("dilations", "strides") and all(value == 1 for value in item.ints):
            return True
        if item.name == "pads" and not any(item.ints):
            return True
        if item.name == "kernel_shape" and node.op_type == "Conv":
            return True
    return item.name in known and onnx.helper.get_attribute_value(item) == onnx.helper.get_attribute_value(
        known[item.name]
    )


def _rename(graph: GraphProto, outer: dict[str, str], fresh: Iterator[str]) -> None:
    """Give every value of a graph a name from `fresh`, subgraphs included; `outer` are the names in scope."""
    scope = dict(outer)

    def new(name: str) -> str:
        if name and name not in scope:
            scope[name] = next(fresh)
        return scope.get(name, "")

    for value in graph.input:
        value.name = new(value.name)
    for tensor in graph.initializer:
        tensor.name = new(tensor.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = new(sparse.values.name)
    for node in graph.node:
        node.input[:] = [scope.get(name, name) for name in node.input]
        for subgraph in bodies(node):
            _rename(subgraph, scope, fresh)
        node.output[:] = [new(name) for name in node.output]
    for value in graph.output:
        value.name = scope[value.name]


def short_names() -> Iterator[str]:
    """a, b, …, z, aa, ba, …"""
    for number in count():
        rest, name = number, ""
        while True:
            name += _LETTERS[rest % 26]
            rest = rest // 26 - 1
            if rest < 0:
                break
        yield name


def _drop_domains(proto: ModelProto) -> None:
    used = {node.domain for node in nodes(proto.graph)} | {function.domain for function in proto.functions}
    used |= {node.domain for function in proto.functions for node in function.node}
    kept = [item for item in proto.opset_import if item.domain in used or not item.domain]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
