"""Count a model's parameters and multiply-accumulates per example, from the graph alone.

*Parameters* are the elements of the weights as the runtime computes with them: dense, after decoding. A weight
that is stored as int8, as 4-bit blocks, sparse or as a codebook counts as many parameters as its dense form, so
that quantizing, sharing and packing do not change the count, while removing channels and factorizing do; what
storage costs is the business of `size.bytes`. Scales, zero points, shapes and scalar constants are no parameters.
A weight that two nodes use counts once.

*MACs* are those of convolutions, matrix products and recurrent layers, for one example: a symbolic or open first
size of an input is taken as 1. What is computed from constants alone is folded when a runtime loads the file and
does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, inliner, shape_inference

from weighbridge.core.formats.onnx_weightless import weightless

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Counts:
    """Per example; see the module's text for what counts."""

    params: int
    macs: int
    unknown: tuple[str, ...]
    """Operators, sorted, whose MACs could not be computed and are missing from `macs`."""


FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}

# What shape inference of onnx does not know: runtime operators by the standard one whose output has their shape,
# with the inputs that it takes.
STAND_INS: dict[str, tuple[str, tuple[int, ...]]] = {
    "DynamicQuantizeLSTM": ("LSTM", (0, 1, 2)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "FusedConv": ("Conv", (0, 1)),
    "FusedMatMul": ("MatMul", (0, 1)),
    "Gelu": ("Identity", (0,)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "QGemm": ("Gemm", (0, 3)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearConv": ("Conv", (0, 3)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearLeakyRelu": ("Identity", (0,)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearReduceMean": ("ReduceMean", (0,)),
    "QLinearSigmoid": ("Identity", (0,)),
    "QLinearSoftmax": ("Identity", (0,)),
    "QuickGelu": ("Identity", (0,)),
}

# Constant inputs, by position, that are not parameters: scales, zero points, ratios, limits.
NOT_PARAMETERS: dict[str, frozenset[int]] = {
    "BatchNormalization": frozenset(),
    "Clip": frozenset({1, 2}),
    "DequantizeLinear": frozenset({1, 2}),
    "Dropout": frozenset({1, 2}),
    "Pad": frozenset({2}),
    "QuantizeLinear": frozenset({1, 2}),
    "Range": frozenset({0, 1, 2}),
    "Resize": frozenset({1, 2, 3}),
}

# The weights and biases of operators that take them as integers.
INTEGER_PARAMETERS: dict[str, tuple[int, ...]] = {
    "ConvInteger": (1,),
    "DynamicQuantizeLSTM": (1, 2, 3),
    "DynamicQuantizeMatMul": (1, 4),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (1, 6),
    "QGemm": (3, 6),
    "QLinearAdd": (0, 3),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "QLinearMul": (0, 3),
}

# Operators that compute nothing by MACs but hide a body or a product that is not counted here.
UNCOUNTED = {"Attention", "DeformConv", "Einsum", "If", "Loop", "MultiHeadAttention", "QAttention", "Scan"}


def counts(proto: ModelProto) -> Counts:
    """Parameters and MACs per example of one model; the data of its large weights is not needed."""
    graph = _inferred(weightless(proto)).graph
    shapes = _shapes(graph)
    types = _types(graph)
    constant = {tensor.name for tensor in graph.initializer}
    scales = {node.output[1] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    params: dict[str, int] = {}
    macs, unknown = 0, set()
    for node in graph.node:
        if all(name in constant for name in node.input if name) and not _has_body(node):
            constant.update(node.output)
            continue
        for index, name in enumerate(node.input):
            if scales & set(node.input):  # a weight's scale times that of a dynamically quantized input
                break
            if name in constant and _is_parameter(node, index, types.get(name), shapes.get(name)):
                params[name] = math.prod(shapes[name])
        blocks = _block_parameters(node)
        if blocks:
            params[f"{node.output[0]}: blocks"] = blocks
        found = _macs(node, shapes)
        if found is None:
            unknown.add(node.op_type)
        else:
            macs += found
    return Counts(sum(params.values()), macs, tuple(sorted(unknown)))


def macs_by_node(proto: ModelProto) -> dict[str, int]:
    """MACs per example of each node that has any and can be counted, by the node's name."""
    graph = _inferred(weightless(proto)).graph
    shapes = _shapes(graph)
    return {node.name: macs for node in graph.node if (macs := _macs(node, shapes))}


def _inferred(proto: ModelProto) -> ModelProto:
    """A copy for one example, functions inlined, with shapes of inner values where they can be known."""
    model = ModelProto()
    model.CopyFrom(inliner.inline_local_functions(proto) if proto.functions else proto)
    _fix_batch(model.graph)
    for value in model.graph.output:  # declared sizes of the batch would contradict the inferred ones
        value.type.tensor_type.ClearField("shape")
    model.graph.ClearField("value_info")
    for node in model.graph.node:
        _widen(node, model)
    originals = [(node, NodeProto()) for node in model.graph.node if node.op_type in STAND_INS]
    for node, kept in originals:
        kept.CopyFrom(node)
        op_type, slots = STAND_INS[node.op_type]
        inputs = [node.input[slot] for slot in slots if slot < len(node.input)]
        node.op_type, node.domain = op_type, ""
        del node.input[:]
        node.input.extend(inputs)
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError):  # what cannot be inferred is named as unknown
        inferred = model
    restored = {kept.output[0]: kept for _, kept in originals}
    for node in inferred.graph.node:
        if node.output and node.output[0] in restored:
            node.CopyFrom(restored[node.output[0]])
    return inferred


def _fix_batch(graph: onnx.GraphProto) -> None:
    """Take the open first size of every input as 1."""
    weights = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") == "dim_value" and dim.dim_value < 0:
                dim.Clear()  # an open size, as Paddle's exporter writes it
            if index == 0 and value.name not in weights and dim.WhichOneof("value") != "dim_value":
                dim.dim_value = 1


def _widen(node: NodeProto, model: ModelProto) -> None:
    """Give the runtime's 4-bit matrix product the shape of the standard one."""
    if node.op_type != "MatMulNBits":
        return
    sizes = {item.name: item.i for item in node.attribute}
    name = f"{node.output[0]}: dense weight"
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [sizes["K"], sizes["N"]]))
    product = helper.make_node("MatMul", [node.input[0], name], [node.output[0]])
    node.CopyFrom(product)
    node.doc_string = f"{sizes['K'] * sizes['N']}"


def _block_parameters(node: NodeProto) -> int:
    is_blocks = node.op_type == "MatMul" and node.input[1].endswith(": dense weight") and node.doc_string
    return int(node.doc_string) if is_blocks else 0


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    found: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        dims = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else -1 for dim in tensor.shape.dim]
        if tensor.HasField("shape") and all(size >= 0 for size in dims):
            found.setdefault(value.name, tuple(dims))
    return found


def _types(graph: onnx.GraphProto) -> dict[str, int]:
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    found.update({tensor.name: tensor.data_type for tensor in graph.initializer})
    return found


def _has_body(node: NodeProto) -> bool:
    return any(item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for item in node.attribute)


def _is_parameter(node: NodeProto, index: int, elem_type: int | None, shape: Shape | None) -> bool:
    if not shape:  # a scalar, or a size that nobody knows
        return False
    if node.op_type in INTEGER_PARAMETERS:
        return index in INTEGER_PARAMETERS[node.op_type]
    if node.op_type == "Gather" and index == 0:
        return elem_type in {*FLOATS, TensorProto.INT8, TensorProto.UINT8}
    return elem_type in FLOATS and index not in NOT_PARAMETERS.get(node.op_type, ())


def _macs(node: NodeProto, shapes: dict[str, Shape]) -> int | None:
    """MACs of one node; 0 for what has none, None where they cannot be known."""
    if node.op_type in UNCOUNTED:
        return None
    rule = MACS.get(node.op_type)
    if rule is None:
        known = node.domain in ("", "ai.onnx") or node.op_type in STAND_INS
        return 0 if known or node.domain in ("com.microsoft", "ai.onnx.ml") else None
    try:
        return rule(node, [shapes.get(name, ()) for name in node.input], shapes[node.output[0]])
    except (KeyError, IndexError):
        return None


def _conv(weight_slot: int) -> Callable[[NodeProto, Sequence[Shape], Shape], int]:
    # Each output element is a sum over the kernel of the channels of its group: weight (out, in / groups, *kernel).
    return lambda _, inputs, output: math.prod(output) * math.prod(_known(inputs[weight_slot])[1:])


def _conv_transpose(_: NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
    # Each input element is spread over the kernel: weight (in, out / groups, *kernel).
    del output
    return math.prod(_known(inputs[0])) * math.prod(_known(inputs[1])[1:])


def _product(node: NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
    flipped = any(item.name == "transA" and item.i for item in node.attribute)
    left = _known(inputs[0])
    return math.prod(output) * left[-2 if flipped else -1]


def _recurrent(gates: int) -> Callable[[NodeProto, Sequence[Shape], Shape], int]:
    # W (directions, gates*hidden, input) and R (directions, gates*hidden, hidden), once a time step and example.
    def rule(_: NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
        del output
        time, batch = _known(inputs[0])[:2]
        directions, rows, size = _known(inputs[1])
        return time * batch * directions * rows * (size + rows // gates)

    return rule


def _quantized_lstm(_: NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
    # As an LSTM, but with W (directions, input, 4*hidden).
    del output
    time, batch = _known(inputs[0])[:2]
    directions, size, rows = _known(inputs[1])
    return time * batch * directions * rows * (size + rows // 4)


def _known(shape: Shape) -> Shape:
    if not shape:
        raise KeyError("shape")
    return shape


MACS: dict[str, Callable[[NodeProto, Sequence[Shape], Shape], int]] = {
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "ConvTranspose": _conv_transpose,
    "DynamicQuantizeLSTM": _quantized_lstm,
    "DynamicQuantizeMatMul": _product,
    "FusedConv": _conv(1),
    "FusedMatMul": _product,
    "GRU": _recurrent(3),
    "Gemm": _product,
    "LSTM": _recurrent(4),
    "MatMul": _product,
    "MatMulInteger": _product,
    "MatMulIntegerToFloat": _product,
    "QGemm": _product,
    "QLinearConv": _conv(3),
    "QLinearMatMul": _product,
    "RNN": _recurrent(1),
}
