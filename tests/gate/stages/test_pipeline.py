import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.gate.models import examples, linear, weights
from weighbridge.core.documents import REFUSAL, Measurement, Proportions, Refusal
from weighbridge.core.documents.measurement import recorded_runs
from weighbridge.core.errors import InputError, IntegrityError
from weighbridge.core.files import sha256_bytes, sha256_file, write_json
from weighbridge.data import write_npz
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.stages import pipeline

PARAMS = """\
model: {{name: tiny, factory: examples.fashion.model:FashionCNN}}
data: {{factory: examples.fashion.data:load}}
recipes:
  twice: {{steps: [{{quantize: {{scheme: fp16}}}}]}}
budgets:
- {{metric: accuracy.top1, max_drop: 0.05, against: {against}}}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose pipeline has run up to weighing."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    artifacts = tmp_path / "artifacts"
    _artifact(artifacts / "baseline" / "onnxruntime", "baseline", weights())
    _artifact(artifacts / "recipes" / "twice" / "onnxruntime", "twice", weights() * np.float32(2))
    write_npz(artifacts / "data" / "test.npz", examples(300))
    (tmp_path / "params.yaml").write_text(PARAMS.format(against="baseline"))
    return tmp_path


def _artifact(folder: Path, name: str, matrix: NDArray[Any]) -> None:
    path = linear(folder / "model.onnx", matrix)
    size = path.stat().st_size
    manifest = {
        "model": "tiny",
        "recipe_name": name,
        "recipe": {},
        "target": "onnxruntime",
        "artifact": {"path": "model.onnx", "digest": sha256_file(path), "bytes": size},
        "sizes": {"bytes": size, "gzip": size, "zstd": size, "params": 12, "macs": 12},
        "data": sha256_bytes(b"d"),
        "code": sha256_bytes(b"c"),
        "seed": 7,
        "environment": {},
    }
    write_json(folder / "manifest.json", manifest)


def weigh(root: Path) -> Measurement | Refusal:
    """Weigh the one recipe on the one device."""
    (found,) = pipeline.weigh(root, "twice")
    return found


def test_the_device_stage_writes_the_same_bytes_twice(root: Path) -> None:
    """`dvc repro` re-weighs only where the machine is another one."""
    assert pipeline.device(root) == describe(os.environ)
    before = (root / "artifacts" / "device.json").read_bytes()
    pipeline.device(root)
    assert (root / "artifacts" / "device.json").read_bytes() == before


def test_a_recipe_is_weighed_into_its_measurement(root: Path) -> None:
    """Model, recipe, digests and evidence, under measurements/."""
    weigh(root)
    found = Measurement.read(root / "measurements/twice/onnxruntime@local.json")
    assert (found.model, found.recipe, found.target, found.device.name) == ("tiny", "twice", "onnxruntime", "local")
    assert found.comparisons[0].metrics["accuracy.top1"] == Proportions(
        both=300, only_reference=0, only_candidate=0, neither=0
    )
    assert [set(run) for run in recorded_runs(found)] == [{"run", "by", "at"}]
    pipeline.weigh(root, "twice")


def test_an_artifact_that_its_manifest_does_not_know_is_not_weighed(root: Path) -> None:
    """What was built is what is weighed."""
    linear(root / "artifacts" / "recipes" / "twice" / "onnxruntime" / "model.onnx", weights() * np.float32(3))
    with pytest.raises(IntegrityError, match="its manifest says"):
        pipeline.weigh(root, "twice")
    assert not (root / "measurements").exists()


@pytest.fixture
def unbuilt(root: Path) -> Path:
    """The same project after an earlier run that could weigh, now with a refusal where the artifact was."""
    weigh(root)
    shutil.rmtree(root / "artifacts/recipes/twice")
    refusal = Refusal(recipe="twice", stage="compress", what="prunes nothing", where="params.yaml: recipes.twice")
    refusal.write(root / "artifacts/recipes/twice" / REFUSAL)
    return root


def test_a_recipe_that_was_not_built_is_not_weighed_and_keeps_its_measurement(unbuilt: Path) -> None:
    """The looks that an earlier measurement has spent are not given back."""
    with pytest.raises(InputError, match=r"was not built: params\.yaml: recipes\.twice: prunes nothing"):
        pipeline.weigh(unbuilt, "twice")
    (found,) = pipeline.weigh(unbuilt, "twice", keep_going=True)
    assert isinstance(found, Refusal)
    assert {path.name for path in (unbuilt / "measurements/twice").iterdir()} == {
        "onnxruntime@local.json",
        "onnxruntime@local.refusal.json",
    }


def test_a_candidate_that_does_not_fit_the_baseline_does_not_stop_the_pipeline(root: Path) -> None:
    """What is wrong with its file is recorded; once that is right the refusal goes."""
    folder = root / "artifacts/recipes/twice/onnxruntime"
    right = (folder / "model.onnx").read_bytes(), (folder / "manifest.json").read_bytes()
    _artifact(folder, "twice", weights()[:, :2])
    with pytest.raises(InputError, match="output"):
        pipeline.weigh(root, "twice")
    (found,) = pipeline.weigh(root, "twice", keep_going=True)
    assert found == Refusal.read(root / "measurements/twice/onnxruntime@local.refusal.json")
    (folder / "model.onnx").write_bytes(right[0])
    (folder / "manifest.json").write_bytes(right[1])
    assert isinstance(weigh(root), Measurement)
    assert [path.name for path in (root / "measurements/twice").iterdir()] == ["onnxruntime@local.json"]


def test_what_is_wrong_with_the_project_stops_the_pipeline(root: Path) -> None:
    """A baseline that is no model is no fault of the recipe."""
    path = root / "artifacts/baseline/onnxruntime/model.onnx"
    path.write_bytes(b"nonsense")
    manifest = json.loads(path.with_name("manifest.json").read_text())
    manifest["artifact"] |= {"digest": sha256_file(path), "bytes": 8}
    write_json(path.with_name("manifest.json"), manifest)
    with pytest.raises(InputError, match="not a readable ONNX model"):
        pipeline.weigh(root, "twice", keep_going=True)
    assert not (root / "measurements").exists()


def test_an_unknown_recipe_is_refused(root: Path) -> None:
    """The error names the file and the key."""
    with pytest.raises(InputError, match="unknown recipe 'thrice'"):
        pipeline.weigh(root, "thrice")


def serve(root: Path, path: Path, **more: str | dict[str, dict[str, str]]) -> None:
    """What the stage `device` writes of the stable version."""
    digest = more.pop("digest", None) or sha256_file(path)
    file = {"path": "onnxruntime/model.onnx", "digest": digest}
    write_json(root / "artifacts/stable/stable.json", {"version": "v3", "artifacts": {"onnxruntime": file}, **more})


def test_stable_comes_from_the_device_stage(root: Path) -> None:
    """A second comparison, with its bytes verified."""
    (root / "params.yaml").write_text(PARAMS.format(against="stable"))
    assert "not found" in weigh(root).missing["stable"]
    path = linear(root / "artifacts/stable/onnxruntime/model.onnx", weights() * np.float32(4))
    serve(root, path)
    found = weigh(root)
    assert [item.against for item in found.comparisons] == ["baseline", "stable"]
    assert found.missing == {}
    serve(root, path, digest=sha256_bytes(b"other"))
    with pytest.raises(IntegrityError, match=r"stable\.json says"):
        weigh(root)
    serve(root, path, artifacts={}, reason="nothing promoted yet")
    assert weigh(root).missing == {"stable": "nothing promoted yet"}
    litert = {"litert": {"path": "litert/model.tflite", "digest": sha256_file(path)}}
    serve(root, path, artifacts=litert)
    assert weigh(root).missing == {"stable": "v3, which is stable, was not built for onnxruntime"}


def test_a_stable_that_no_budget_names_is_not_measured(root: Path) -> None:
    """Nobody asked."""
    serve(root, linear(root / "artifacts/stable/onnxruntime/model.onnx", weights() * np.float32(4)))
    assert [item.against for item in weigh(root).comparisons] == ["baseline"]


def test_measurements_that_params_no_longer_name_go(root: Path) -> None:
    """A device that was taken out of params must not leave its numbers beside those that count."""
    weigh(root)
    stray = root / "measurements/twice/onnxruntime@gone.json"
    stray.write_text("{}")
    weigh(root)
    assert not stray.exists()


def test_a_measurement_that_was_deleted_is_remembered(root: Path) -> None:
    """Its successor says that it started afresh, and goes on saying so when it is continued."""
    device = describe(os.environ)
    device.write(root / "artifacts" / "device.json")
    known = {"path": "artifacts/recipes/twice", "md5": "a.dir"}
    here = hashlib.md5((root / "artifacts" / "device.json").read_bytes(), usedforsecurity=False).hexdigest()
    weighed = {"deps": [known, {"path": "artifacts/device.json", "md5": here}]}
    lock = {"stages": {"compress@twice": {"outs": [known]}, "weigh@twice": weighed}}
    write_json(root / "dvc.lock", lock)  # JSON is YAML
    for _ in range(2):
        (note,) = weigh(root).comparisons[0].controls.notes
        assert "started afresh" in note
    (root / "dvc.lock").unlink()
    for path in (root / "measurements" / "twice").glob("*.json"):
        path.unlink()
    assert weigh(root).comparisons[0].controls.notes == []
