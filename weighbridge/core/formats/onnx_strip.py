"""Removing what a model file says of where it was made."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from weighbridge.core.formats.onnx_file import CLASSES
from weighbridge.core.formats.onnx_walk import subgraphs


def strip_metadata(proto: ModelProto) -> ModelProto:
    """A copy without what no runtime needs: doc strings, producer, inferred shapes of inner values, and metadata except
    names of classes.

    Exporters store stack traces with absolute paths there; sizes and digests must not depend on them.
    """
    bare = ModelProto()
    bare.CopyFrom(proto)
    for name in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        bare.ClearField(name)
    kept = [item for item in proto.metadata_props if item.key.startswith(CLASSES)]
    bare.ClearField("metadata_props")
    bare.metadata_props.extend(kept)
    for function in bare.functions:
        function.ClearField("doc_string")
        function.ClearField("metadata_props")
        function.ClearField("value_info")
        _strip_nodes(function.node)
    _strip_graph(bare.graph)
    return bare


def _strip_graph(graph: GraphProto) -> None:
    for name in ("doc_string", "metadata_props", "value_info", "quantization_annotation"):
        graph.ClearField(name)
    for value in (*graph.input, *graph.output):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    for tensor in graph.initializer:
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Iterator[NodeProto]) -> None:
    for node in nodes:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            if attribute.type == AttributeProto.TENSOR:
                attribute.t.ClearField("doc_string")
            for subgraph in subgraphs(attribute):
                _strip_graph(subgraph)
