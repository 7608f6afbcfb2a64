"""Outputs that are not rounded, and outputs that are not cut off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from tests.compress import nets
from weighbridge.compress.graph.lowering import array_of
from weighbridge.compress.graph.sessions import run
from weighbridge.compress.steps import Graph
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.core.errors import InputError
from weighbridge.data import Split

Array = NDArray[Any]
CALIBRATION = Split({"x": np.random.default_rng(7).normal(0, 1, (256, 16)).astype(np.float32)})
SURER = Split({"x": 3 * CALIBRATION.inputs["x"]})


def net(*, last: str = "Gemm") -> Graph:
    """Two layers, and an end: a matrix product, or one that is added to itself."""
    rng = np.random.default_rng(8)
    weights = {"one": rng.normal(0, 0.4, (16, 32)), "two": rng.normal(0, 0.4, (32, 300)), "b": np.zeros(300)}
    nodes = [
        helper.make_node("MatMul", ["x", "one"], ["h"], name="one"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "two", "b"], ["y"], name="two"),
    ]
    stored = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    if last == "Conv":
        kernel = rng.normal(0, 1, (4, 1, 3)).astype(np.float32)
        nodes = [helper.make_node("Conv", ["x", "k"], ["y"], name="only")]
        stored = [numpy_helper.from_array(kernel, "k")]
    shapes = {"Gemm": (["n", 16], ["n", 300]), "Conv": (["n", 1, 16], ["n", 4, 14])}[last]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in zip("xy", shapes, strict=True)
    ]
    body = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    return Graph(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def answers(before: Graph, **options: Any) -> tuple[Array, Array]:
    """On surer inputs than those of the calibration data: of the float model, and of the quantized one."""
    config = Quantize.model_validate({"scheme": "static-int8", "isa": "native", "agreement": 0.0, **options})
    after, _ = lower(config, before, nets.context(None, CALIBRATION))
    return run(before.proto, SURER, "test")[0], run(after.proto, SURER, "test")[0]


def test_the_surest_answers_are_neither_cut_off_nor_tied() -> None:
    """With a range from calibration data both happen."""
    theirs, ours = answers(net(), float_outputs=True)
    _, rounded = answers(net())
    assert len(np.unique(rounded)) <= 256 < len(np.unique(ours))
    assert ours.max() > 1.05 * rounded.max()
    top = np.sort(rounded, 1)[:, -2:]
    assert (top[:, 0] == top[:, 1]).mean() > 0.2
    assert (np.sort(ours, 1)[:, -1] != np.sort(ours, 1)[:, -2]).all()
    assert theirs.shape == ours.shape


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_a_clipping_calibration_leaves_the_outputs_range(calibration: str) -> None:
    """The largest of 300 classes lies beyond most percentiles of all classes."""
    more = {"percentile": 99.0} if calibration == "percentile" else {}
    config = Quantize.model_validate({"scheme": "static-int8", "agreement": 0.0, "calibration": calibration, **more})
    after, _ = lower(config, net(), nets.context(None, CALIBRATION))
    given = run(net().proto, CALIBRATION, "test")[0]
    last = next(node for node in after.proto.graph.node if node.output[0] == "y")
    step = float(array_of(after.proto, last.input[1]))
    assert 255 * step > 0.99 * (given.max() - given.min())
    assert given.max() - given.min() > 1.2 * float(np.ptp(np.percentile(given, [0.5, 99.5])))


def test_outputs_of_convolutions_stay_rounded() -> None:
    """Which is said where nothing else ends the model."""
    split = Split({"x": CALIBRATION.inputs["x"][:, None]})
    config = Quantize(scheme="static-int8", float_outputs=True, agreement=0.0)
    with pytest.raises(InputError, match=r"float_outputs: no output is rounded to 8 bits behind a matrix product"):
        lower(config, net(last="Conv"), nets.context(None, split))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheme": "weight-int8"}, "no meaning for scheme weight-int8"),
        ({"scheme": "static-int8", "format": "qoperator"}, "belongs to format: qdq"),
    ],
)
def test_forms_that_must_round_are_refused(values: dict[str, Any], message: str) -> None:
    """Before anything runs."""
    with pytest.raises(ValidationError, match=message):
        Quantize.model_validate({**values, "float_outputs": True})
