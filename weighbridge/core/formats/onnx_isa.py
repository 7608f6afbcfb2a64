"""What an ONNX file needs of a processor to give the answers that it was made for.

onnxruntime multiplies U8 by S8 in pairs that are added in 16 bits where an x86-64 processor has no VNNI
(onnxruntime#6004): two products of 255 and a weight beyond 64 may saturate there, and nowhere else. Unsigned weights
have another kernel, which does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

Array = NDArray[Any]
Read = Callable[[TensorProto], Array]

SAFE = 64
"""Largest magnitude of signed 8-bit weights of which two products with 255 fit 16 bits: 2 * 255 * 64 = 32,640."""

INTEGER_OPERATORS = frozenset(
    {"QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "QGemm", "MatMulIntegerToFloat",
     "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "QEmbedLayerNormalization"}
)  # fmt: skip
"""Operators that multiply stored integers."""
QDQ_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that onnxruntime turns into integer ones where both sides come from DequantizeLinear."""


def requires(proto: ModelProto, read: Read = numpy_helper.to_array) -> tuple[str, ...]:
    """Instruction sets (`vnni`) without which an x86-64 processor would answer otherwise; none for most files.

    `read` gives a tensor's values, where they may lie elsewhere.
    """
    return ("vnni",) if any(_saturates(graph, read) for graph in _graphs(proto.graph)) else ()


def _saturates(graph: GraphProto, read: Read) -> bool:
    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.INT8}
    decoded = {node.output[0]: stored.get(node.input[0]) for node in graph.node if node.op_type == "DequantizeLinear"}
    return any(_beyond(read(tensor)) for node in graph.node for tensor in _weights(node, stored, decoded))


def _weights(
    node: NodeProto, stored: dict[str, TensorProto], decoded: dict[str, TensorProto | None]
) -> Iterator[TensorProto]:
    """The signed 8-bit weights that a node multiplies as integers."""
    if node.op_type in INTEGER_OPERATORS:
        yield from (stored[name] for name in node.input if name in stored)
    if node.op_type in QDQ_OPERATORS:
        sides = [decoded.get(name) for name in node.input[:2]]
        # Weights alone are decoded to floats; what is computed must be quantized too.
        if any(name in decoded and decoded[name] is None for name in node.input[:2]):
            yield from (tensor for tensor in sides if tensor is not None)


def _beyond(values: Array) -> bool:
    return values.ndim >= 2 and bool((np.abs(values.astype(np.int16)) > SAFE).any())


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and those of its branches and loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
            for found in inner:
                yield from _graphs(found)
