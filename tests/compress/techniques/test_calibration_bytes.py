"""Static calibration holds a budget of activations, by what one example takes, and gives the same ranges."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from weighbridge.compress.techniques.quantize import Quantize, integer
from weighbridge.data import Split

if TYPE_CHECKING:
    from torch.nn import Module

RNG = np.random.default_rng(5)
SPLIT = Split({"x": RNG.standard_normal((48, 20)).astype(np.float32)}, np.arange(48) % 2)
EACH = 4 * (30 + 30 + 2)
"""Bytes of a product, its ReLU and the answer, for one example."""


def net(batch: int | str = "n") -> Any:
    """A perceptron with 30 inner values."""
    weights = [RNG.standard_normal(shape).astype(np.float32) for shape in ((20, 30), (30, 2))]
    tensors = [numpy_helper.from_array(values, name) for values, name in zip(weights, "wv", strict=True)]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(*port) for port in (("x", 1, [batch, 20]), ("y", 1, [batch, 2]))]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return integer.prepared(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


@pytest.mark.parametrize(
    ("budget", "shape"),
    [(1 << 30, [(48, 1)]), (EACH * 30, [(24, 1)] * 2), (EACH * 7, [(6, 1)] * 8), (1, [(1, 1)] * 48)],
)
def test_a_portion_has_the_activations_that_the_budget_allows(budget: int, shape: list[tuple[int, int]]) -> None:
    """All examples at once where they fit, one at a time where nothing does; none is left out or comes twice."""
    found = list(integer.portions(net(), SPLIT, budget))
    assert [(len(part[0]["x"]), len(part)) for part in found] == shape
    assert np.array_equal(np.concatenate([feed["x"] for part in found for feed in part]), SPLIT.inputs["x"])


def test_a_fixed_batch_stays_whole() -> None:
    """Its size is the model's own; the budget decides how many are held."""
    found = list(integer.portions(net(batch=4), SPLIT, EACH * 9))
    assert [(len(part[0]["x"]), len(part)) for part in found] == [(4, 2)] * 6


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy"])
def test_ranges_do_not_depend_on_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calibration: str) -> None:
    """Extremes are the same; histograms that grow by portions give ranges within a step of the coarse grid."""
    ranges = []
    for budget in (1 << 30, EACH * 12):
        monkeypatch.setattr(integer.portions, "__defaults__", (budget,))
        path = tmp_path / f"{budget}.json"
        integer.calibrate(net_of_one(), Quantize(scheme="static-int8", calibration=calibration), SPLIT, path)
        ranges.append(_extremes(json.loads(path.read_text())))
    assert ranges[0].keys() == ranges[1].keys()
    for name, (low, high) in ranges[0].items():
        other = ranges[1][name]
        if calibration == "minmax":
            assert (low, high) == other
        else:
            assert np.allclose((low, high), other, rtol=0.15, atol=0.15 * max(abs(low), abs(high)))


_NET = net()


def net_of_one() -> "Module":
    """The same net each time."""
    return _NET


def _extremes(content: Any) -> dict[str, Any]:
    """Tensor → lowest and highest, from onnxruntime's file."""
    return {
        name: tuple(
            float(np.asarray(item[key]["data"] if isinstance(item[key], dict) else item[key]).ravel()[0])
            for key in ("lowest", "highest")
        )
        for name, item in content["data"].items()
    }
