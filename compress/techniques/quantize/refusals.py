"""What quantization cannot start from, said before anything is computed: the reason, the layer and a way out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from onnx import ModelProto, TensorProto

from weighbridge.compress.graph.layers import LEAST_REACH
from weighbridge.compress.graph.lowering import Layer
from weighbridge.compress.graph.normal.attention_masks import ELEMENTWISE
from weighbridge.compress.graph.normal.walk import bodies, nodes
from weighbridge.compress.techniques.quantize.config import FULLY_INTEGER, Quantize
from weighbridge.core.errors import InputError

WHERE = "quantize"


def refuse_quantized(scheme: str, proto: ModelProto) -> None:
    """An `InputError` where the scheme rewrites a whole graph and the graph has integer operators already."""
    if scheme not in (*FULLY_INTEGER, "fp16"):
        return
    found = [
        node for node in nodes(proto.graph) if node.op_type.startswith(("QLinear", "QuantizeLinear", "Dequantize"))
    ]
    if found:
        first = found[0].name or found[0].op_type
        raise InputError(
            f"the file is quantized already ({len(found)} operators, first {first}); {scheme} starts from floats",
            where=f"{WHERE}.scheme",
            fix="give the float model, or quantize the remaining weights by weight-int8 or dynamic-int8",
        )


def refuse_inside(config: Quantize, proto: ModelProto, known: Sequence[Layer]) -> None:
    """An `InputError` where an integer scheme would have to reach into the branches of an If or the body of a Loop."""
    if config.scheme not in (*FULLY_INTEGER, "dynamic-int8") and config.kernel != "matmulnbits":
        return
    main = {node.name for node in proto.graph.node}
    kept = set(config.keep)
    inside = [layer for layer in known if layer.node not in main and not kept & {layer.name, layer.node, layer.weight}]
    if not inside:
        return
    outer = next(
        node
        for node in proto.graph.node
        for body in bodies(node)
        if any(inside[0].weight in inner.input for inner in nodes(body))
    )
    raise InputError(
        f"layer {inside[0].name} ({inside[0].op_type}) lies inside {outer.op_type} {outer.name!r}; {config.scheme} "
        "has no form of branches and loop bodies",
        where=WHERE,
        fix="name it under 'keep', or choose weight-int8, weight-int4 or fp16",
    )


def nothing_stored(scheme: str, proto: ModelProto) -> InputError:
    """The error for a graph without a float32 weight: what its stored matrices are instead."""
    types = Counter(TensorProto.DataType.Name(tensor.data_type) for tensor in proto.graph.initializer if matrix(tensor))
    if not types:
        return InputError("the model has no convolution or matrix product with a stored float weight", where=WHERE)
    found = ", ".join(f"{count} {name.lower()}" for name, count in sorted(types.items()))
    return InputError(
        f"no convolution or matrix product reads a stored float32 weight; the file stores {found}",
        where=WHERE,
        fix=f"give the model before it was compressed: {scheme} has nothing to do here",
    )


def matrix(tensor: TensorProto) -> bool:
    """Whether a tensor has two or more axes and elements."""
    return len(tensor.dims) >= 2 and all(tensor.dims)


def refuse_little(scheme: str, proto: ModelProto, chosen: Sequence[Layer]) -> None:
    """An `InputError` where the layers to quantize are under a tenth of the matrices that operators multiply by.

    What operators add, mask or select by elements (positions, masks) is no such matrix.
    """
    reached = {layer.weight: math.prod(layer.shape) for layer in chosen}
    multiplied = {name for node in nodes(proto.graph) if node.op_type not in ELEMENTWISE for name in node.input}
    beyond = {
        str(tensor.name): math.prod(tensor.dims)
        for tensor in proto.graph.initializer
        if matrix(tensor) and tensor.data_type == TensorProto.FLOAT and tensor.name in multiplied - set(reached)
    }
    total = sum(reached.values()) + sum(beyond.values())
    if sum(reached.values()) < LEAST_REACH * total:
        largest = max(beyond, key=lambda name: beyond[name])
        reader = next(node for node in nodes(proto.graph) if largest in node.input)
        raise InputError(
            f"{scheme} reaches {sum(reached.values())} of {total} weights; {largest} is read by {reader.op_type} "
            f"{reader.name!r}, of which it has no form",
            where=WHERE,
            fix="export the model without fused operators, or choose fp16",
        )
