"""Bias correction: rounded weights leave the means of a layer's outputs where they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from tests.compress import nets
from weighbridge.compress.graph.sessions import run
from weighbridge.compress.steps import Graph
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import serialize
from weighbridge.data import Split

Array = NDArray[Any]
CHANNELS = 8


def graph(nodes: list[Any], weights: dict[str, Array], shape: list[Any], result: list[Any]) -> Graph:
    """A model from `x` to `y`."""
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)] for name, dims in (("x", shape), ("y", result))
    ]
    stored = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    body = helper.make_graph(nodes, "g", *ports, stored)
    return Graph(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


@pytest.fixture(scope="module")
def depthwise() -> tuple[Graph, Split]:
    """Images, bright throughout, through differences of neighbours: a channel's weights cancel, their errors do not."""
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("Conv", ["x", "stem", "lift"], ["s"], name="stem", pads=[1] * 4),
        helper.make_node("Relu", ["s"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w"], ["d"], name="depthwise", group=CHANNELS),
        helper.make_node("GlobalAveragePool", ["d"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "c", "b"], ["y"], name="classes", transB=1),
    ]
    kernels = rng.normal(0, 1, (CHANNELS, 1, 3, 3))
    kernels -= kernels.mean((2, 3), keepdims=True)
    weights = {
        "stem": rng.normal(0, 0.2, (CHANNELS, 1, 3, 3)),
        "lift": np.full(CHANNELS, 6.0),
        "w": kernels,
        "c": rng.normal(0, 1, (3, CHANNELS)),
        "b": rng.normal(0, 1, 3),
    }
    split = Split({"x": rng.normal(0, 0.5, (64, 1, 12, 12)).astype(np.float32)})
    return graph(nodes, weights, ["n", 1, 12, 12], ["n", 3]), split


def mean_shift(before: Graph, split: Split, **options: Any) -> tuple[float, Any]:
    """How far the means of the outputs move by a quantization, and its facts."""
    after, facts = lower(Quantize.model_validate({"agreement": 0.0, **options}), before, nets.context(None, split))
    theirs, ours = (run(model.proto, split, "test")[0].mean(0) for model in (before, after))
    return float(np.abs(theirs - ours).max()), facts


@pytest.mark.parametrize(
    ("options", "share"),
    [({"scheme": "weight-int4"}, 0.02), ({"scheme": "weight-int8"}, 0.02), ({"scheme": "static-int8"}, 0.5)],
)
def test_depthwise_outputs_keep_their_means(
    depthwise: tuple[Graph, Split], options: dict[str, Any], share: float
) -> None:
    """Of the shift that rounding causes little is left; static ranges add errors of their own."""
    plain, _ = mean_shift(*depthwise, **options)
    corrected, facts = mean_shift(*depthwise, **options, bias_correction=True)
    assert corrected < share * plain
    assert facts["bias_correction"] == {"layers": ["c", "stem", "w"], "without_bias": []}


def test_every_kind_of_bias_is_found() -> None:
    """An Add behind a matrix product, a Gemm without a bias, and one bias that two layers read."""
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("MatMul", ["x", "one"], ["m"], name="one"),
        helper.make_node("Add", ["shared", "m"], ["a"], name="add"),
        helper.make_node("Gemm", ["a", "two"], ["g"], name="two"),
        helper.make_node("Gemm", ["g", "three", "shared"], ["h"], name="three"),
        helper.make_node("MatMul", ["h", "four"], ["y"], name="four"),
    ]
    weights = {name: rng.normal(0, 1, (16, 16)) for name in ("one", "two", "three", "four")}
    weights["shared"] = rng.normal(0, 1, 16)
    split = Split({"x": (3 + rng.normal(0, 0.3, (48, 16))).astype(np.float32)})
    before = graph(nodes, weights, ["n", 16], ["n", 16])
    keep = {"scheme": "weight-int4", "keep": ["four"]}
    plain, _ = mean_shift(before, split, **keep)
    corrected, facts = mean_shift(before, split, **keep, bias_correction=True)
    assert corrected < 0.01 * plain
    assert facts["bias_correction"]["layers"] == ["one", "three", "two"]
    _, facts = mean_shift(before, split, scheme="weight-int4", bias_correction=True)
    assert facts["bias_correction"]["without_bias"] == ["four"]


def test_the_same_graph_gives_the_same_bytes(depthwise: tuple[Graph, Split]) -> None:
    """Also where a processor adds in another order: corrections lie on a grid."""
    before, split = depthwise
    turned = Split({"x": split.inputs["x"][::-1].copy()})
    config = Quantize(scheme="weight-int8", bias_correction=True, agreement=0.0)
    first, second = (serialize(lower(config, before, nets.context(None, data))[0].proto) for data in (split, turned))
    assert first == second


def test_a_model_without_biases_is_refused() -> None:
    """A correction that would correct nothing is an error."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="only")
    before = graph([node], {"w": np.eye(4)}, ["n", 4], ["n", 4])
    split = Split({"x": np.ones((8, 4), np.float32)})
    with pytest.raises(InputError, match=r"bias_correction: no layer to quantize has a bias"):
        lower(Quantize(scheme="weight-int8", bias_correction=True), before, nets.context(None, split))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheme": "fp16"}, "no meaning for scheme fp16"),
        ({"scheme": "static-int8", "format": "qoperator"}, "belongs to kernel: folded and format: qdq"),
        ({"scheme": "weight-int8", "kernel": "matmulnbits"}, "belongs to kernel: folded and format: qdq"),
    ],
)
def test_forms_without_correction_are_refused(values: dict[str, Any], message: str) -> None:
    """What a form cannot have is refused before anything runs."""
    with pytest.raises(ValidationError, match=message):
        Quantize.model_validate({**values, "bias_correction": True})
