"""Linear layers as exporters write them, Gemm, rewritten as the matrix products that quantizers know."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from weighbridge.compress.graph.lowering import array_of, finished
from weighbridge.compress.graph.spilled import is_spilled, kept
from weighbridge.compress.steps import Graph


def matmuls(proto: ModelProto, *, only_factors: bool = False) -> ModelProto:
    """Rewrite every Gemm with a stored weight as MatMul and Add, which keep its name.

    Factors alpha and beta go into weight and bias; a transposed left side stays a Gemm. With `only_factors`, those
    whose factors are 1 stay too.
    """
    model = ModelProto()
    model.CopyFrom(proto)
    stored = {tensor.name for tensor in model.graph.initializer}
    body: list[NodeProto] = []
    for node in model.graph.node:
        options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        plain = all(options.get(name, 1.0) == 1 for name in ("alpha", "beta"))
        stays = options.get("transA", 0) or (only_factors and plain)
        if node.op_type != "Gemm" or node.input[1] not in stored or stays:
            body.append(node)
            continue
        body.extend(_as_matmul(model, node, options))
    if only_factors and all(new is old for new, old in zip(body, model.graph.node, strict=False)):
        return proto
    rest = [NodeProto.FromString(node.SerializeToString()) for node in body]
    del model.graph.node[:]
    model.graph.node.extend(rest)
    return finished(model)


def without_factors(graph: Graph) -> Graph:
    """The graph whose Gemms have no factors: onnxruntime's dynamic quantizer takes those alone for matrix products."""
    model = matmuls(graph.proto, only_factors=True)
    if model is graph.proto:
        return graph
    return with_origins(graph, model)


def with_origins(graph: Graph, model: ModelProto) -> Graph:
    """What a graph was rewritten into, whose weights under new names still answer to their layers' names."""
    origins = dict(graph.notes.get("parameters", {}))
    known = {str(tensor.name) for tensor in graph.proto.graph.initializer}
    for tensor in model.graph.initializer:
        source = str(tensor.name).rpartition("^")[0]
        if tensor.name not in known and source:
            origins[str(tensor.name)] = origins.get(source, source)
    return Graph(model, {**graph.notes, "parameters": origins})


def _as_matmul(model: ModelProto, node: NodeProto, options: dict[str, float]) -> list[NodeProto]:
    weight = array_of(model, node.input[1])
    alpha = options.get("alpha", 1.0)
    weight = (weight.T if options.get("transB", 0) else weight) * np.float32(alpha)
    # Two readers of one weight share what they read alike, and nothing else.
    name = f"{node.input[1]}{'^T' if options.get('transB', 0) else '^I'}{'' if alpha == 1 else f'*{alpha:g}'}"
    if all(tensor.name != name for tensor in model.graph.initializer):
        tensor = numpy_helper.from_array(np.ascontiguousarray(weight), name)
        model.graph.initializer.append(kept(tensor) if is_spilled(model) else tensor)
    if len(node.input) < 3 or not node.input[2]:
        return [helper.make_node("MatMul", [node.input[0], name], list(node.output), name=node.name)]
    product, bias = f"{node.output[0]}/product", node.input[2]
    beta = np.float32(options.get("beta", 1.0))
    nodes = [helper.make_node("MatMul", [node.input[0], name], [product], name=node.name)]
    if beta != 1 and any(tensor.name == bias for tensor in model.graph.initializer):
        scaled = f"{bias}*{beta:g}"  # a name of its own: another reader may take the bias as it is
        if all(tensor.name != scaled for tensor in model.graph.initializer):
            model.graph.initializer.append(numpy_helper.from_array(array_of(model, bias) * beta, scaled))
        bias = scaled
    elif beta != 1:
        scaled, factor = f"{node.output[0]}/bias", f"{node.output[0]}/beta"
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(beta), factor))
        nodes.append(helper.make_node("Mul", [bias, factor], [scaled], name=f"{node.name}/beta"))
        bias = scaled
    return [*nodes, helper.make_node("Add", [product, bias], list(node.output), name=f"{node.name}/bias")]
