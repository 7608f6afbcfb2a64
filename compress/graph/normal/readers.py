"""One stored matrix that several nodes read: each reader whose quantized form differs gets a copy of its own."""

from __future__ import annotations

from collections import defaultdict

from onnx import TensorProto

from weighbridge.compress.graph.lowering import Layer, layers
from weighbridge.compress.graph.normal.walk import copied, fresh, names
from weighbridge.compress.steps import Graph


def untied(graph: Graph) -> Graph:
    """The model in which no stored weight is read along two different axes, or as an embedding and as a matrix too.

    Quantizers give a stored tensor one scale an output channel, along one axis: a second reader along the other axis
    would read other weights. The notes say from which parameter each copy comes.
    """
    uses: dict[str, dict[tuple[bool, int], list[Layer]]] = defaultdict(lambda: defaultdict(list))
    for layer in layers(graph):
        uses[layer.weight][layer.op_type == "Gather", layer.axis].append(layer)
    shared = {weight: list(groups.values()) for weight, groups in uses.items() if len(groups) > 1}
    if not shared:
        return graph
    proto = copied(graph.proto)
    taken = names(proto.graph)
    origins = dict(graph.notes.get("parameters", {}))
    for weight, groups in shared.items():
        for group in groups[1:]:
            name = fresh(weight, taken)
            copy = TensorProto()
            copy.CopyFrom(next(tensor for tensor in proto.graph.initializer if tensor.name == weight))
            copy.name = name
            proto.graph.initializer.append(copy)
            origins[name] = origins.get(weight, weight)
            readers = {layer.node for layer in group}
            for node in proto.graph.node:
                if node.name in readers:
                    node.input[:] = [name if item == weight else item for item in node.input]
    return Graph(proto, {**graph.notes, "parameters": origins})
