"""Weights inside the branches of an If or the body of a Loop: moved to the main graph, which every body can read."""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from weighbridge.compress.graph.normal.walk import bodies, copied, fresh, graphs, names, read_as


def hoisted(proto: ModelProto) -> ModelProto:
    """The model whose stored tensors of two or more axes all lie in its main graph."""
    if not any(_stored(body) for node in proto.graph.node for one in bodies(node) for body in graphs(one)):
        return proto
    model = copied(proto)
    taken = names(model.graph)
    for node in model.graph.node:
        for body in bodies(node):
            _hoist(body, model.graph, taken)
    return model


def _hoist(body: GraphProto, main: GraphProto, taken: set[str]) -> None:
    for node in body.node:
        for inner in bodies(node):
            _hoist(inner, main, taken)
    moved: dict[str, str] = {}
    outputs = {value.name for value in body.output}
    for tensor in _stored(body):
        if tensor.name in outputs:  # a branch that is a constant: its output must be made inside
            continue
        old = str(tensor.name)
        lifted = main.initializer.add()
        lifted.CopyFrom(tensor)
        # The same name may stand in both branches for two weights.
        shadowed = sum(old == item.name for item in main.initializer) > 1
        lifted.name = moved[old] = fresh(old, taken) if shadowed else old
    kept = [TensorProto.FromString(item.SerializeToString()) for item in body.initializer if item.name not in moved]
    rest = [NodeProto.FromString(item.SerializeToString()) for item in body.node if not _made(item, moved)]
    del body.initializer[:], body.node[:]
    body.initializer.extend(kept)
    body.node.extend(rest)
    read_as(body, moved)


def _stored(body: GraphProto) -> list[TensorProto]:
    """Initializers of a body, and its Constant nodes, as tensors under the name that is read."""
    found = [tensor for tensor in body.initializer if len(tensor.dims) > 1]
    for node in body.node:
        for item in node.attribute:
            if node.op_type == "Constant" and not node.domain and item.name == "value" and len(item.t.dims) > 1:
                tensor = TensorProto()
                tensor.CopyFrom(item.t)
                tensor.name = node.output[0]
                found.append(tensor)
    return found


def _made(node: NodeProto, moved: dict[str, str]) -> bool:
    return node.op_type == "Constant" and not node.domain and node.output[0] in moved
