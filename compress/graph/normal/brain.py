"""bfloat16, in which onnxruntime computes on no CPU: weights stay stored in it, what computes is float32."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, helper

from weighbridge.compress.graph.normal.walk import copied, fresh, names, nodes, read_as, replaced
from weighbridge.compress.graph.normal.widths import in_float32

KIND = {TensorProto.BFLOAT16}


def stored_in_bfloat16(proto: ModelProto) -> ModelProto:
    """The model that computes in float32 from weights in bfloat16, which a Cast widens when the file is loaded.

    The widening is exact and the file is no larger. Inputs and outputs keep their types.
    """
    weights = {tensor.name for tensor in proto.graph.initializer if tensor.data_type in KIND}
    ports = any(value.type.tensor_type.elem_type in KIND for value in (*proto.graph.input, *proto.graph.output))
    if not ports and not any(_computes(node, weights) for node in nodes(proto.graph)):
        return proto
    model = copied(proto)
    taken = names(model.graph)
    renamed = {name: fresh(f"{name}/float32", taken) for name in sorted(weights)}
    stored = [tensor for tensor in proto.graph.initializer if tensor.name in weights]
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in weights]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    read_as(model.graph, renamed)
    model = copied(in_float32(model, KIND))
    casts = [helper.make_node("Cast", [old], [new], to=TensorProto.FLOAT) for old, new in renamed.items()]
    model.graph.initializer.extend(stored)
    replaced(model.graph, lambda _: True, casts)
    return model


def _computes(node: NodeProto, weights: set[str]) -> bool:
    """Whether a node reads a bfloat16 weight other than to cast it, or casts to bfloat16."""
    if node.op_type == "Cast":
        return any(item.name == "to" and item.i in KIND for item in node.attribute)
    return any(name in weights for name in node.input)
