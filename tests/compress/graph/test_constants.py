"""Weights read from a file, less their zero points: along the axis that the operator means."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.compress.graph.constants import effective_weights


@pytest.mark.parametrize("transposed", [0, 1])
def test_zero_points_of_a_fused_product_go_by_its_outputs(transposed: int) -> None:
    """QGemm's channels are its outputs: rows of a transposed weight, columns of one that is not."""
    stored = np.arange(12, dtype=np.int8).reshape(3, 4)
    zero = np.arange(3 if transposed else 4, dtype=np.int8)
    tensors = {
        "a_scale": np.float32(1), "a_zero": np.uint8(0), "w": stored, "w_scale": np.ones(len(zero), np.float32),
        "w_zero": zero,
    }  # fmt: skip
    names = ["a", "a_scale", "a_zero", "w", "w_scale", "w_zero"]
    node = helper.make_node("QGemm", names, ["y"], domain="com.microsoft", transB=transposed)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("a", "y")]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    model = helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:], constants))
    (found,) = effective_weights(model).values()
    expected = stored - (zero[:, None] if transposed else zero[None, :])
    np.testing.assert_array_equal(found, expected)
