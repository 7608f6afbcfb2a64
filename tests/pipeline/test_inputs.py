"""A recurrent ONNX model with its state fed back, from params to the verdict: drift over a stream is in the numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.gate.models import save
from weighbridge.compress import stages
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.graph.feeds import fed_as
from weighbridge.compress.recipe.explain import explain
from weighbridge.compress.recipe.reached_states import along_streams
from weighbridge.compress.steps import Subject
from weighbridge.compress.training.splits import calibration, whole_groups
from weighbridge.core.documents import InputSection, Manifest, Measurement, Params, Verdict, parse
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import load_model, signature
from weighbridge.data import Data, Split
from weighbridge.gate.report import plots
from weighbridge.gate.stages import pipeline
from weighbridge.gate.stages.summary import judge
from weighbridge.search.advise import advise

WIDTH, STATE = 16, 64


def recurrent(path: Path) -> Path:
    """`x` (n, 16), `state` (1, n, 64), `rate` () → `y` (n, 4), `new_state` = tanh(x·a·rate + state·b)."""
    rng = np.random.default_rng(0)
    info, node = helper.make_tensor_value_info, helper.make_node
    matrices = {"a": (WIDTH, STATE), "b": (STATE, STATE), "c": (STATE, 4)}
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32), name)
        for name, shape in matrices.items()
    ]
    axis = numpy_helper.from_array(np.array([0], np.int64), "axis")
    nodes = [
        node("Mul", ["x", "rate"], ["scaled"]),
        node("Squeeze", ["state", "axis"], ["h"]),
        node("MatMul", ["scaled", "a"], ["xa"]),
        node("MatMul", ["h", "b"], ["hb"]),
        node("Add", ["xa", "hb"], ["sum"]),
        node("Tanh", ["sum"], ["new"]),
        node("MatMul", ["new", "c"], ["y"]),
        node("Unsqueeze", ["new", "axis"], ["new_state"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            info("x", TensorProto.FLOAT, ["n", WIDTH]),
            info("state", TensorProto.FLOAT, [1, "n", STATE]),
            info("rate", TensorProto.FLOAT, []),
        ],
        [info("y", TensorProto.FLOAT, ["n", 4]), info("new_state", TensorProto.FLOAT, [1, "n", STATE])],
        [*weights, axis],
    )
    return save(path, graph, opset=21)


def streams() -> Data:
    """Eight streams of fifty steps; no labels."""

    def split(seed: int) -> Split:
        x = np.random.default_rng(seed).standard_normal((400, WIDTH)).astype(np.float32)
        return Split({"x": x, "rate": np.full(400, 0.5, np.float32)}, groups=np.arange(400) // 50)

    return Data(train=split(0), test=split(1))


INPUTS = {"state": {"batch_axis": 1, "carry": "new_state"}, "rate": {"constant": True}}


def params(**changes: dict[str, Any] | list[str]) -> dict[str, Any]:
    """A project whose model is that file."""
    return {
        "model": {"name": "tiny", "onnx": "model.onnx"},
        "data": {"factory": "tests.pipeline.test_inputs:streams"},
        "task": "regression",
        "inputs": INPUTS,
        "recipes": {"small": {"steps": [{"quantize": {"scheme": "weight-int8"}}]}},
        "budgets": [{"metric": "agreement", "min": 0.9}, {"metric": "size.bytes", "max_ratio": 0.5}],
        **changes,
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plots, "PLOTS", {})
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    recurrent(tmp_path / "model.onnx")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params()))
    stages.prepare(tmp_path)
    stages.train(tmp_path)
    return tmp_path


def test_a_recurrent_model_is_compressed_and_weighed_along_its_streams(root: Path) -> None:
    """Compressed from examples with first states, weighed with states that are fed back, and judged without labels."""
    stages.baseline(root)
    stages.compress(root, "small")
    manifest = Manifest.read(root / "artifacts/recipes/small/onnxruntime/manifest.json")
    pipeline.device(root)
    (measurement,) = pipeline.weigh(root, "small")
    assert measurement.protocol.details["inputs"] == INPUTS
    assert measurement.examples == 400
    verdict = judge(root)
    assert verdict.verdict is Verdict.PASS, [item.reason for item in verdict.recipes["small"].budgets]
    found = Measurement.read(root / "measurements/small/onnxruntime@local.json").comparisons[0].metrics["agreement"]
    # A state that is off makes the next one more so: along a stream the answers agree less than from its start.
    assert 0.9 < found.candidate < manifest.parity["agreement"] < 1


def test_without_a_word_on_its_state_the_model_is_refused(root: Path) -> None:
    """The line says what to declare."""
    (root / "params.yaml").write_text(yaml.safe_dump(params(inputs={"rate": {"constant": True}})))
    with pytest.raises(InputError, match="input 'state' is not among the data's inputs"):
        stages.baseline(root)


def test_declared_inputs_are_for_onnxruntime() -> None:
    """Other targets' converters know nothing of them; open axes are a module's."""
    module = {"name": "tiny", "factory": "nets:build"}
    with pytest.raises(InputError, match="'inputs' are for the target onnxruntime alone"):
        parse(Params, params(model=module, targets=["onnxruntime", "litert"]), "params.yaml")
    with pytest.raises(InputError, match=r"'inputs.state.free_axes' is for a module"):
        parse(Params, params(inputs={"state": {"carry": "new_state", "free_axes": [1]}}), "params.yaml")
    with pytest.raises(InputError, match=r"'inputs.x.rows' is for an ONNX file"):
        parse(Params, params(model=module, inputs={"x": {"rows": "mean"}}), "params.yaml")
    with pytest.raises(InputError, match="'missing' is for what is neither constant nor carried"):
        parse(Params, params(inputs={"rate": {"constant": True, "missing": True}}), "params.yaml")


class Cell(nn.Module):
    """`x` (n, 16), `state` (1, n, 64) → `output0` (n, 4), `output1` = tanh(x·a + state·b)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(WIDTH, STATE), nn.Linear(STATE, STATE, bias=False), nn.Linear(STATE, 4)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        new = torch.tanh(self.a(x) + self.b(state[0]))
        return self.c(new), new[None]


def taught() -> Data:
    """Streams with a target: the mean of the last two inputs' first four entries; states begin at zero."""

    def split(seed: int) -> Split:
        x = np.random.default_rng(seed).standard_normal((400, WIDTH)).astype(np.float32)
        before = np.concatenate([x[:1], x[:-1]])
        state = np.zeros((400, 1, STATE), np.float32)
        return Split({"x": x, "state": state}, (x[:, :4] + before[:, :4]) / 2, groups=np.arange(400) // 50)

    return Data(train=split(0), test=split(1))


def test_explain_and_advise_feed_a_module_its_state(tmp_path: Path) -> None:
    """Before anything is trained, as the stages do."""
    content = params(
        model={"name": "tiny", "factory": "tests.pipeline.test_inputs:Cell"},
        data={"factory": "tests.pipeline.test_inputs:taught"},
        inputs={"state": {"batch_axis": 1, "carry": "output1"}},
        search={"techniques": ["quantize"], "schemes": ["weight-int8"]},
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    rows = explain(tmp_path, "small")
    assert {row["layer"] for row in rows} == {"a", "b", "c", "(file)"}
    advised = advise(tmp_path)
    assert [item.sizes.bytes for item in advised.recipes] == [rows[-1]["bytes after"]]


def test_a_module_with_a_state_is_trained_exported_and_weighed_along_its_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state has its examples along the second axis, in the module as in the file."""
    monkeypatch.setattr(plots, "PLOTS", {})
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    content = params(
        model={"name": "tiny", "factory": "tests.pipeline.test_inputs:Cell"},
        data={"factory": "tests.pipeline.test_inputs:taught"},
        inputs={"state": {"batch_axis": 1, "carry": "output1"}},
        train={"epochs": 1, "batch_size": 40, "lr": 0.01, "seed": 3, "loss": "mse"},
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    stages.prepare(tmp_path)
    stages.train(tmp_path)
    stages.baseline(tmp_path)
    ports = signature(load_model(tmp_path / "artifacts/baseline/onnxruntime/model.onnx"))
    assert {port.name: port.shape for port in (*ports.inputs, *ports.outputs)} == {
        "x": ("n", WIDTH), "state": (1, "n", STATE), "output0": ("n", 4), "output1": (1, "n", STATE),
    }  # fmt: skip
    stages.compress(tmp_path, "small")
    pipeline.device(tmp_path)
    (measurement,) = pipeline.weigh(tmp_path, "small")
    assert measurement.faults == []
    found = measurement.comparisons[0].metrics["agreement"]
    assert 0.9 < found.candidate < 1


@pytest.mark.parametrize("kind", ["module", "file"])
def test_compression_sees_the_states_that_streams_reach(kind: str) -> None:
    """Each example gets the state that the step before it gave; a stream begins with the data's own."""
    torch.manual_seed(0)
    cell, split = Cell().eval(), taught().test.take(slice(0, 120))
    told = {"state": InputSection(batch_axis=1, carry="output1")}
    with fed_as(told), torch.no_grad():
        source = Subject(cell)
        found = along_streams(split, source if kind == "module" else ONNXRUNTIME.export(cell, split))
        state, wanted = torch.zeros(1, 1, STATE), []
        for index, x in enumerate(split.inputs["x"]):
            state = torch.zeros_like(state) if index in {50, 100} else state
            wanted.append(state[:, 0].numpy())
            _, state = cell(torch.from_numpy(x[None]), state)
    np.testing.assert_allclose(found.inputs["state"], np.stack(wanted), atol=1e-5)
    with (
        fed_as({"state": InputSection(batch_axis=1, carry="other")}),
        pytest.raises(InputError, match="no output 'other'"),
    ):
        along_streams(split, source)


def test_calibration_takes_whole_streams() -> None:
    """A stream with gaps would carry states over them."""
    train = taught().train
    chosen = calibration(train, None, 3, "data", streams=True)
    assert len(chosen) == 400
    few = train.take(whole_groups(train, 90, 3))
    assert np.unique(few.groups, return_counts=True)[1].tolist() == [50, 50]
