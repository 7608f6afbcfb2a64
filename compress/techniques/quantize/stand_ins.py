"""Small matrices that stand for large weights before onnxruntime's 8-bit quantizer, which holds a model several times.

A scale follows from the extremes of its channel alone. The quantizer gets two values a channel, its least and its
greatest, and gives the scale of the whole; the weight itself is then rounded by that scale, a piece at a time. The
result is that of the quantizer on the whole model, bit for bit.
"""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper
from onnxruntime.quantization.quant_utils import quantize_nparray

from weighbridge.compress.graph.lowering import Array, layers
from weighbridge.compress.graph.spilled import is_spilled, kept, to_array
from weighbridge.compress.steps import Graph

READERS = ("Gather", "Gemm", "MatMul")
PIECE = 1 << 20
"""Weights that are rounded at once."""


def with_stand_ins(proto: ModelProto) -> tuple[ModelProto, dict[str, int]]:
    """A copy with the stand-ins of its spilled matrices, and along which axis each matrix has its channels.

    A weight that other operators read too, or along two axes, is in the copy whole.
    """
    uses: dict[str, set[int]] = defaultdict(set)
    for layer in layers(Graph(proto)):
        uses[layer.weight].add(layer.axis if layer.op_type in READERS and len(layer.shape) == 2 else -1)
    # Types of values are inferred while shapes still fit; the quantizer asks for them.
    model = onnx.shape_inference.infer_shapes(proto)
    axes: dict[str, int] = {}
    for tensor in model.graph.initializer:
        if not is_spilled(tensor):
            continue
        values, known = to_array(tensor), uses.get(tensor.name, {-1})
        if len(known) == 1 and -1 not in known:
            axes[tensor.name] = axis = min(known)
            values = np.stack([values.min(1 - axis), values.max(1 - axis)], 1 - axis)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return model, axes


def refilled(made: ModelProto, source: ModelProto, axes: dict[str, int]) -> ModelProto:
    """What the quantizer made of a copy, with the weights of `source` for the stand-ins, quantized alike."""
    stored = {tensor.name: tensor for tensor in source.graph.initializer if tensor.name in axes}
    scales = {tensor.name: tensor for tensor in made.graph.initializer}
    for tensor in made.graph.initializer:
        # The quantizer may transpose the weight of a Gemm first.
        parts = re.fullmatch(r"(.+?)(_Transposed(?:_\d+)?)?(_quantized)?", tensor.name)
        if tensor.name in stored:
            tensor.CopyFrom(stored[tensor.name])
        elif parts is not None and parts[1] in stored:
            weight, axis = to_array(stored[parts[1]]), axes[parts[1]]
            if parts[2]:
                weight, axis = weight.T, 1 - axis
            if parts[3]:
                base = tensor.name.removesuffix("_quantized")
                scale, zero = (numpy_helper.to_array(scales[f"{base}_{name}"]) for name in ("scale", "zero_point"))
                weight = _rounded(weight, axis, tensor.data_type, scale, zero)
            tensor.CopyFrom(kept(numpy_helper.from_array(np.ascontiguousarray(weight), tensor.name)))
    return made


def _rounded(weight: Array, axis: int, kind: int, scale: Array, zero: Array) -> Array:
    spread = [(-1 if index == axis else 1) for index in range(2)] if scale.size > 1 else []
    scale, zero = scale.reshape(spread), zero.reshape(spread)
    codes = np.empty(weight.shape, np.int8 if kind == TensorProto.INT8 else np.uint8)
    height = max(1, PIECE // max(1, weight.shape[1]))
    for start in range(0, len(weight), height):
        part = slice(start, start + height)
        own = (part, slice(None)) if axis == 0 and scale.size > 1 else ()
        codes[part] = quantize_nparray(kind, weight[part], scale[own], zero[own])
    return codes
