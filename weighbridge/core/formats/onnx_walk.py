"""The tensors of a model file, those of its subgraphs and functions included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor of a graph: initializers, attributes, and those of its subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for subgraph in subgraphs(attribute):
                yield from _tensors(subgraph)


def all_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that a file holds, in order."""
    yield from _tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def subgraphs(attribute: AttributeProto) -> list[GraphProto]:
    """The bodies (If, Loop, Scan) that an attribute holds."""
    return [*([attribute.g] if attribute.type == AttributeProto.GRAPH else []), *attribute.graphs]


def tensor_bytes(tensor: TensorProto) -> int | None:
    """Bytes of `raw_data` by type and shape; 4-bit types hold two values a byte, 2-bit types four. None for strings."""
    if tensor.data_type == TensorProto.STRING:
        return None
    count = 1
    for size in tensor.dims:  # Python integers: a forged shape must not wrap around
        count *= size
    name = TensorProto.DataType.Name(tensor.data_type)
    bits = 4 if name.endswith(("INT4", "E2M1")) else 2 if name.endswith("INT2") else None
    if bits is not None:
        return (count * bits + 7) // 8
    return count * int(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)


def every_node(proto: ModelProto) -> Iterator[NodeProto]:
    """Every node that a file holds, those of subgraphs and functions included."""
    yield from _nodes(proto.graph.node)
    for function in proto.functions:
        yield from _nodes(function.node)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for subgraph in subgraphs(attribute):
                yield from _nodes(subgraph.node)
