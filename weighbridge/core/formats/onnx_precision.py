"""The narrowest floats that an ONNX file computes in."""

from __future__ import annotations

from onnx import AttributeProto, ModelProto, TensorProto

from weighbridge.core.formats.onnx_walk import all_tensors, every_node

FLOAT32 = 2.0**-24
"""Unit roundoff: the largest relative error of one rounding."""
_ROUNDOFF = {TensorProto.FLOAT16: 2.0**-11, TensorProto.BFLOAT16: 2.0**-8}


def roundoff(proto: ModelProto) -> float:
    """Unit roundoff of the narrowest floats among a file's tensors and casts: 2^-24 unless it has 16-bit ones.

    Processors without arithmetic of that width compute in float32 and round once, others round after every operation:
    both are the file's answers.
    """
    held = {tensor.data_type for tensor in all_tensors(proto)}
    casts = (item for node in every_node(proto) if node.op_type == "Cast" for item in node.attribute)
    held |= {item.i for item in casts if item.name == "to" and item.type == AttributeProto.INT}
    return max([FLOAT32, *(_ROUNDOFF[kind] for kind in held if kind in _ROUNDOFF)])
