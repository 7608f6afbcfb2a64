"""The weights that an ONNX file computes with, decoded: what a runtime has after it folded the constants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, inliner

from weighbridge.compress.graph.normal.walk import bodies, nodes
from weighbridge.compress.graph.sessions import session
from weighbridge.compress.graph.spilled import to_array

Array = NDArray[Any]

_RECURRENT = ("DynamicQuantizeLSTM", "GRU", "LSTM", "RNN")
"""Their weights hold one matrix for each direction."""

# Which inputs of an integer operator are its weight and that weight's zero point.
_INTEGER_WEIGHTS = {
    "ConvInteger": (1, 3),
    "MatMulInteger": (1, 3),
    "MatMulIntegerToFloat": (1, 5),
    "QGemm": (3, 5),
    "QLinearConv": (3, 5),
    "QLinearMatMul": (3, 5),
}


def effective_weights(proto: ModelProto) -> dict[str, Array]:
    """Constants of two or more axes that data-dependent nodes read, decoded and dequantized, as float32.

    Codebooks, deltas and bitmasks are decoded by running the file's own nodes. Integer weights are given less
    their zero point (a scale would not change which of them are zero or equal, per channel).
    """
    flat = inliner.inline_local_functions(proto)
    constant = {tensor.name for tensor in flat.graph.initializer}
    decoders: list[NodeProto] = []
    wanted: dict[str, NodeProto] = {}
    for node in flat.graph.node:
        if _foldable(node, constant):
            constant.update(node.output)
            decoders.append(node)
            continue
        for reader in (node, *(inner for body in bodies(node) for inner in nodes(body))):
            wanted |= {name: reader for name in reader.input if name in constant}
    values = _evaluate(flat, decoders, sorted(wanted))
    found: dict[str, Array] = {}
    for name in sorted(wanted):
        weight = _less_zero_point(name, wanted[name], values)
        if weight is not None and wanted[name].op_type in _RECURRENT and len(weight) > 1:
            found |= {f"{name}[{direction}]": part for direction, part in enumerate(weight)}
        elif weight is not None:
            found[name] = weight
    return found


def _foldable(node: NodeProto, constant: set[str]) -> bool:
    return not bodies(node) and all(name in constant for name in node.input if name)


def _evaluate(proto: ModelProto, decoders: list[NodeProto], wanted: list[str]) -> dict[str, Array]:
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    values = {name: to_array(stored[name]) for name in wanted if name in stored}
    computed = [name for name in wanted if name not in stored]
    if computed:
        graph = helper.make_graph(
            decoders,
            "decoders",
            [],
            [helper.make_empty_tensor_value_info(name) for name in computed],
            initializer=list(proto.graph.initializer),
        )
        model = helper.make_model(graph, opset_imports=list(proto.opset_import), ir_version=proto.ir_version)
        values |= dict(zip(computed, session(model, "decoders").run(None, {}), strict=True))
    return values


def _less_zero_point(name: str, node: NodeProto, values: dict[str, Array]) -> Array | None:
    weight = values[name]
    if weight.ndim < 2 or weight.dtype.kind == "b" or weight.dtype == np.int64:
        return None
    if node.op_type == "MatMulNBits" and name == node.input[1]:
        return _blocks(node, weight, values)
    slots = _INTEGER_WEIGHTS.get(node.op_type)
    if slots and name == node.input[slots[0]]:
        given = node.input[slots[1]] if len(node.input) > slots[1] else ""
        zero = values.get(given, np.zeros((), weight.dtype)).astype(np.int32)
        transposed = any(item.name == "transB" and item.i for item in node.attribute)
        axis = 0 if "Conv" in node.op_type or transposed else weight.ndim - 1
        shape = [-1 if index == axis else 1 for index in range(weight.ndim)] if zero.size > 1 else []
        return (weight.astype(np.int32) - zero.reshape(shape)).astype(np.float32)
    return weight.astype(np.float32)


def _blocks(node: NodeProto, packed: Array, values: dict[str, Array]) -> Array:
    """The codes of a MatMulNBits weight less their zero points, (N, K).

    Source: onnxruntime, ContribOperators.md, MatMulNBits: `packed` is (N, blocks, bytes of a block).
    """
    given = {item.name: item.i for item in node.attribute}
    bits, columns, rows = given.get("bits", 4), given["K"], given["N"]
    blocks = packed.shape[1]
    zero: Array = np.full((rows, blocks, 1), 1 << (bits - 1), np.int32)
    if len(node.input) > 3 and node.input[3]:
        stored = values[node.input[3]]
        codes = _codes(stored.reshape(rows, -1), bits) if stored.dtype == np.uint8 else stored.reshape(rows, -1)
        zero = codes[:, :blocks, None].astype(np.int32)
    codes = _codes(packed.reshape(rows, -1), bits).reshape(rows, blocks, -1)
    return (codes - zero).reshape(rows, -1)[:, :columns].astype(np.float32)


def _codes(packed: Array, bits: int) -> Array:
    """The unsigned integers of `bits` bits in rows of bytes, lowest bits first."""
    spread: Array = np.unpackbits(packed, axis=1, bitorder="little").reshape(len(packed), -1, bits)
    codes: Array = (spread << np.arange(bits)).sum(axis=2, dtype=np.int32)
    return codes
