"""Tabular files and modules on texts of different lengths, from params to a verdict."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from tests.tabular import KINDS, labelled, rows, tabular
from weighbridge.compress import stages
from weighbridge.core.documents import GateVerdict, Manifest, Measurement, Verdict
from weighbridge.core.formats.onnx_file import load_model, signature
from weighbridge.data import Data, Split, read_npz
from weighbridge.gate.report import plots
from weighbridge.gate.stages import pipeline
from weighbridge.gate.stages.summary import judge

Road = Callable[[dict[str, Any]], tuple[Path, Measurement, GateVerdict]]


@pytest.fixture
def road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    """Runs the stages of one recipe in a folder; gives the folder, the measurement and the verdict."""
    monkeypatch.setattr(plots, "PLOTS", {})
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)

    def walked(content: dict[str, Any]) -> tuple[Path, Measurement, GateVerdict]:
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
        stages.prepare(tmp_path)
        stages.train(tmp_path)
        stages.baseline(tmp_path)
        stages.compress(tmp_path, "small")
        pipeline.device(tmp_path)
        (measurement,) = pipeline.weigh(tmp_path, "small")
        assert isinstance(measurement, Measurement)
        return tmp_path, measurement, judge(tmp_path)

    return walked


def table() -> Data:
    path = tabular(Path("made.onnx"), hidden=256)
    return Data(train=labelled(path, rows(200, 1)), test=labelled(path, rows(200)))


@pytest.mark.parametrize("scheme", ["weight-int8", "static-int8"])
def test_a_tabular_file_is_compressed_and_judged_by_its_scores(road: Road, tmp_path: Path, scheme: str) -> None:
    """Text and gaps go through every stage; the unwrapped scores keep the names of their classes."""
    tabular(tmp_path / "model.onnx", hidden=256)
    root, measurement, verdict = road(
        {
            "model": {"name": "rows", "onnx": "model.onnx"},
            "data": {"factory": "tests.pipeline.test_examples_as_they_are:table"},
            "task": {"kind": "classification", "output": "scores"},
            "inputs": {"size": {"missing": True}},
            "recipes": {"small": {"steps": [{"quantize": {"scheme": scheme}}]}},
            "budgets": [
                {"metric": "accuracy.top1", "max_drop": 0.1, "mode": "exact"},
                {"metric": "agreement", "min": 0.9, "mode": "exact"},
                {"metric": "size.bytes", "max_ratio": 0.6},
            ],
        }
    )
    assert measurement.faults == []
    assert verdict.verdict is Verdict.PASS, [item.reason for item in verdict.recipes["small"].budgets]
    scores = signature(load_model(root / "artifacts/recipes/small/onnxruntime/model.onnx")).outputs[1]
    assert scores.classes == KINDS
    assert read_npz(root / "artifacts/data/test.npz").inputs["city"].dtype.kind == "U"


class Tagger(nn.Module):
    """`x` (n, t, 4) → (n, t, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.out = nn.Linear(4, 64), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(torch.relu(self.wide(x)))
        return found


def texts() -> Data:
    """Tokens in texts of one to seven; a token's class is its largest entry of three."""

    def split(seed: int) -> Split:
        rng = np.random.default_rng(seed)
        x = [rng.standard_normal((rng.integers(1, 8), 4)).astype(np.float32) for _ in range(300)]
        return Split({"x": x}, [one[:, :3].argmax(axis=1) for one in x])

    return Data(train=split(0), test=split(1))


def test_a_module_is_trained_and_compressed_on_texts_of_different_lengths(road: Road) -> None:
    """Batches of one length in training, calibration, answers: nothing is padded on the way to the verdict."""
    root, measurement, verdict = road(
        {
            "model": {"name": "tags", "factory": "tests.pipeline.test_examples_as_they_are:Tagger"},
            "data": {"factory": "tests.pipeline.test_examples_as_they_are:texts"},
            "task": "token",
            "inputs": {"x": {"free_axes": [1]}},
            "train": {"epochs": 6, "batch_size": 16, "lr": 0.02, "seed": 1},
            "recipes": {"small": {"steps": [{"quantize": {"scheme": "static-int8"}}]}},
            "budgets": [
                {"metric": "accuracy.tokens", "min": 0.8, "mode": "exact"},
                {"metric": "agreement", "min": 0.9, "mode": "exact"},
            ],
        }
    )
    assert measurement.faults == []
    assert verdict.verdict is Verdict.PASS, [item.reason for item in verdict.recipes["small"].budgets]
    manifest = Manifest.read(root / "artifacts/recipes/small/onnxruntime/manifest.json")
    assert 0.9 < manifest.parity["agreement"] <= 1
