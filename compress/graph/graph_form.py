"""The form in which an ONNX graph is stored, and the opset that a step needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from weighbridge.compress.graph.normal.walk import graphs
from weighbridge.compress.graph.spilled import hollow, is_spilled, spill
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.formats.onnx_strip import strip_metadata


def finished(proto: ModelProto) -> ModelProto:
    """The graph in the form that is stored: no metadata, no unused initializers, only the opsets that it uses; spilled.

    Nodes stand after what they read, as the standard asks and some converters forget. Weights that an exporter wrote
    as Constant nodes become initializers.
    """
    bare = strip_metadata(proto)
    _lift_constants(bare.graph)
    _sort(bare.graph)
    used = {name for node in _all_nodes(bare) for name in node.input}
    used |= {value.name for graph in graphs(bare.graph) for value in graph.output}
    kept = [tensor for tensor in bare.graph.initializer if tensor.name in used]
    if len(kept) < len(bare.graph.initializer):  # a message keeps the memory of what is deleted from it
        del bare.graph.initializer[:]
        bare.graph.initializer.extend(kept)
    domains = {node.domain if node.domain != "ai.onnx" else "" for node in _all_nodes(bare)}
    imports = {item.domain if item.domain != "ai.onnx" else "": item.version for item in bare.opset_import}
    del bare.opset_import[:]
    domains |= {""}
    bare.opset_import.extend(
        helper.make_opsetid(domain, imports.get(domain, 1)) for domain in sorted(domains) if domain or "" in imports
    )
    return spill(bare)


def at_opset(proto: ModelProto, least: int, where: str) -> ModelProto:
    """The model, converted to opset `least` where its own is older; an `InputError` where that does not work."""
    current = next((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), 0)
    if current >= least:
        return proto
    source = proto if not is_spilled(proto) else hollow(proto)
    try:
        converted = onnx.version_converter.convert_version(source, least)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise InputError(
            f"the model uses opset {current}; this needs {least}, and the model does not convert: {error}", where=where
        ) from error
    # Domains of runtimes (com.microsoft) have no IR version of their own.
    least_ir = helper.find_min_ir_version_for(converted.opset_import, ignore_unknown=True)
    converted.ir_version = max(converted.ir_version, least_ir)
    if source is not proto:
        stored = {tensor.name: tensor for tensor in proto.graph.initializer if is_spilled(tensor)}
        for tensor in converted.graph.initializer:
            if tensor.name in stored:
                tensor.CopyFrom(stored[tensor.name])
    return converted


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Constant nodes that hold a tensor become initializers of the same name."""
    kept = []
    for node in graph.node:
        values = [item.t for item in node.attribute if item.name == "value"]
        if node.op_type != "Constant" or node.domain or not values:
            kept.append(NodeProto.FromString(node.SerializeToString()))
            continue
        tensor = TensorProto()
        tensor.CopyFrom(values[0])
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)


def _sort(graph: onnx.GraphProto) -> None:
    """Order nodes topologically; those that already are in order stay where they are."""
    # An output that a node leaves out has the empty name, as an input that it leaves out.
    made = {name for node in graph.node for name in node.output if name}
    done: set[str] = set()
    waiting = [NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    ordered: list[NodeProto] = []
    while waiting:
        rest = []
        for node in waiting:
            if _reads(node) & made <= done:
                ordered.append(node)
                done.update(node.output)
            else:
                rest.append(node)
        if len(rest) == len(waiting):
            raise InvariantError("the graph has a cycle", where=rest[0].name or rest[0].op_type)
        waiting = rest
    del graph.node[:]
    graph.node.extend(ordered)


def _reads(node: NodeProto) -> set[str]:
    """What a node reads, its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for body in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
            for inner in body.node:
                names |= _reads(inner)
            names |= {value.name for value in body.output}
    return names


def _all_nodes(proto: ModelProto) -> Iterator[NodeProto]:
    bodies: list[Any] = [proto.graph, *proto.functions]
    while bodies:
        body = bodies.pop()
        for node in body.node:
            yield node
            for attribute in node.attribute:
                bodies.extend([attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs)
