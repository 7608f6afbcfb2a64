"""Each task on a tiny real model, from params to the report: prepare, train, compress, weigh, judge."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from weighbridge.compress import stages
from weighbridge.core.documents import GateVerdict, Manifest, Measurement, Verdict
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.facts.tasks import TASKS
from weighbridge.gate.report import plots
from weighbridge.gate.stages import pipeline
from weighbridge.gate.stages.summary import judge

INT8 = [{"quantize": {"scheme": "static-int8"}}]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Draw nothing, and wait for no other gate."""
    monkeypatch.setattr(plots, "PLOTS", {})
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def project(
    root: Path,
    net: str,
    data: str,
    task: Collection[str] | None,
    *,
    steps: list[dict[str, dict[str, Any]]] = INT8,
    train: str | None = None,
    budgets: list[dict[str, Any]] | None = None,
) -> Path:
    """`params.yaml` of a project with one recipe and the task's own budgets."""
    kind = task if isinstance(task, str) else task["kind"] if task else None
    limits = TASKS[kind].limits if kind else {}
    content = {
        "model": {"name": "tiny", "factory": f"tests.pipeline.task_nets:{net}"},
        "data": {"factory": f"tests.pipeline.task_nets:{data}"},
        "train": train or {"epochs": 15, "batch_size": 32, "lr": 0.01, "seed": 3},
        "recipes": {"small": {"steps": steps}},
        "budgets": budgets or [{"metric": name, **limit} for name, limit in limits.items()],
        **({"task": task} if task else {}),
    }
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return root


def built(root: Path) -> Manifest:
    """The artifacts of the recipe."""
    stages.prepare(root)
    stages.train(root)
    stages.baseline(root)
    stages.compress(root, "small")
    return Manifest.read(root / "artifacts/recipes/small/onnxruntime/manifest.json")


def judged(root: Path) -> tuple[GateVerdict, dict[str, Any], str]:
    """The verdict, the measurement and the text of the report."""
    pipeline.device(root)
    pipeline.weigh(root, "small")
    verdict = judge(root)
    measurement = Measurement.read(root / "measurements/small/onnxruntime@local.json")
    return verdict, measurement.comparisons[0].metrics, (root / "reports/gate.md").read_text()


ROADS = {
    "classification": ("YesNo", "yes_no", "classification", {"accuracy.top1", "accuracy.flips", "agreement"}),
    "multilabel": ("Topics", "topics", "multilabel", {"accuracy.f1", "agreement"}),
    "token": (
        "Tagger", "tagged", {"kind": "token", "mask": "attention_mask"}, {"accuracy.tokens", "agreement"},
    ),
    "regression": ("Numbers", "measured", "regression", {"accuracy.mae", "agreement"}),
    "segmentation": ("Segmenter", "bright", "segmentation", {"accuracy.miou", "agreement"}),
}  # fmt: skip


@pytest.mark.parametrize("road", ROADS)
def test_a_task_goes_the_whole_road(tmp_path: Path, road: str) -> None:
    """Its loss trains, its agreement holds the lossy step, its metrics are judged by its own limits, and pass."""
    net, data, task, metrics = ROADS[road]
    manifest = built(project(tmp_path, net, data, task))
    assert manifest.parity["agreement_by"] == TASKS[road].answers
    assert 0.9 <= manifest.parity["agreement"] <= 1
    verdict, found, report = judged(tmp_path)
    assert verdict.verdict is Verdict.PASS, [item.reason for item in verdict.recipes["small"].budgets]
    assert metrics <= found.keys()
    assert all(name in report for name in TASKS[road].limits)


CUSTOM = {
    "kind": "custom",
    "agreement": "tests.pipeline.task_nets:near",
    "metric": "tests.pipeline.task_nets:spread",
}


def test_a_task_of_ones_own_needs_no_labels(tmp_path: Path) -> None:
    """The user's agreement sees every output; the user's metric is weighed and shown."""
    manifest = built(project(tmp_path, "Two", "plain", CUSTOM, train="none"))
    assert manifest.parity["agreement_by"] == "the function `task.agreement`"
    verdict, found, _ = judged(tmp_path)
    assert verdict.verdict is Verdict.PASS
    assert found["tests.pipeline.task_nets:spread"].candidate > 0


SHARED = [{"share": {"on": "file", "bits": 4}}]


def test_a_sentence_encoder_is_judged_by_its_embeddings(tmp_path: Path) -> None:
    """A cosine near 1 passes, where the largest of 192 numbers, which means nothing, is another one too often."""
    steps = [{"quantize": {"scheme": "weight-int4"}}]
    (tmp_path / "by_form").mkdir()
    with pytest.raises(InvariantError, match=r"answers as the model did on \d\d\.\d% of"):
        built(
            project(
                tmp_path / "by_form",
                "Encoder",
                "sentences",
                None,
                steps=steps,
                train="none",
                budgets=[{"metric": "size.bytes", "max_ratio": 0.5}],
            )
        )
    manifest = built(project(tmp_path, "Encoder", "sentences", "embedding", steps=steps, train="none"))
    assert manifest.parity["agreement"] > 0.98
    assert manifest.parity["agreement_by"] == "cosine"
    verdict, found, report = judged(tmp_path)
    assert found["agreement.cosine"].candidate == pytest.approx(manifest.parity["agreement"], abs=0.01)
    assert verdict.verdict is Verdict.PASS, [item.reason for item in verdict.recipes["small"].budgets]
    assert "agreement.recall" in report


def test_an_encoder_without_labels_learns_from_its_baseline(tmp_path: Path) -> None:
    """After pruning, the baseline's embeddings are what the loss compares with."""
    tune = [{"prune": {"sparsity": 0.7, "finetune": {"epochs": 3, "lr": 0.01}}}]
    manifest = built(project(tmp_path, "Encoder", "sentences", "embedding", steps=tune, train="none"))
    losses = manifest.steps[0].facts["losses"]
    assert losses[-1] < losses[0] < 1


def test_a_broken_second_output_is_seen(tmp_path: Path) -> None:
    """The first output alone would agree."""
    import numpy as np

    from weighbridge.compress.parity import parity

    first, second = np.eye(4, dtype=np.float32), np.ones((4, 8), np.float32)
    broken = second * np.where(np.arange(8) % 2, 1, -1).astype(np.float32)
    assert parity([first, second * 2], [first, second], None, "step")["other_outputs"] == pytest.approx(1)
    with pytest.raises(InvariantError, match=r"its output 1 is similar to the model's by 0\.000 on 4"):
        parity([first, broken], [first, second], None, "step")


def test_a_detector_is_judged_by_its_boxes(tmp_path: Path) -> None:
    """Three outputs answer the task together; mean average precision by pycocotools."""
    pytest.importorskip("pycocotools")
    steps = [{"quantize": {"scheme": "weight-int8"}}]
    manifest = built(project(tmp_path, "Detector", "boxed", "detection", steps=steps, train="none"))
    assert manifest.parity["agreement"] > 0.9
    assert "other_outputs" not in manifest.parity
    verdict, found, _ = judged(tmp_path)
    assert found["accuracy.map"].reference > 0.95
    assert found["accuracy.map"].candidate < found["accuracy.map"].reference
    assert found["agreement"].only_reference <= 3  # of 120 images
    assert verdict.recipes["small"].verdict is not Verdict.ERROR


def test_detection_trains_by_no_loss_of_ours(tmp_path: Path) -> None:
    """The line says what to give."""
    root = project(tmp_path, "Numbers", "measured", "detection")
    stages.prepare(root)
    with pytest.raises(InputError, match=r"the task detection has no loss that fits every model.*train\.loss"):
        stages.train(root)
