"""Half precision: weights and computation in float16, inputs and outputs in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from weighbridge.compress.graph.lowering import finished, named, quiet
from weighbridge.core.errors import InvariantError

HALF_MIN = 5.961e-08
"""Weights of a smaller magnitude become this: float16's smallest, and the least that the converter takes."""
HALF_MAX = float(np.finfo(np.float16).max)


def half(proto: ModelProto, *, exclude: Sequence[str] = ()) -> ModelProto:
    """Convert weights and operators to float16; `exclude` names nodes that stay in float32.

    A weight beyond float16's range (65,504) is an `InvariantError` that names it: it would be clipped in silence.
    """
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
            if largest > HALF_MAX:
                raise InvariantError(
                    f"the weight {tensor.name} reaches {largest:.4g}, beyond float16", where="quantize"
                )
    with quiet():
        converted = convert_float_to_float16(
            named(proto), keep_io_types=True, node_block_list=list(exclude) or None, min_positive_val=HALF_MIN
        )
    return finished(converted)
