"""ZipMap, by which converters of scikit-learn and gradient boosting wrap probabilities as a sequence of maps."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, helper

from weighbridge.compress.graph.normal.walk import copied
from weighbridge.core.formats.onnx_file import name_classes, zipmap_classes


def unwrapped(proto: ModelProto) -> ModelProto:
    """The model whose ZipMap outputs are the tensors inside: (n, classes), which the file names in their order."""
    zips = {node.output[0]: node for node in proto.graph.node if _is_zipmap(node)}
    if not zips:
        return proto
    model = copied(proto)
    for value in model.graph.output:
        if value.name in zips:
            classes = zipmap_classes(zips[value.name])
            value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, [None, len(classes) or None]))
            name_classes(model, value.name, classes)
    body = [_plain(node) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(body)
    return model


def _is_zipmap(node: NodeProto) -> bool:
    return bool(node.domain == "ai.onnx.ml" and node.op_type == "ZipMap")


def _plain(node: NodeProto) -> NodeProto:
    if _is_zipmap(node):
        return helper.make_node("Identity", list(node.input), list(node.output), name=node.name)
    return NodeProto.FromString(node.SerializeToString())
