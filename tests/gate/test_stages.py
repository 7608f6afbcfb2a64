import json
import os

import numpy as np
import pytest

from gate import stages
from gate.device import describe
from weighbridge.data import write_npz
from weighbridge.documents import Measurement, Proportions
from weighbridge.errors import InputError, IntegrityError
from weighbridge.files import sha256_bytes, sha256_file, write_json

from .models import examples, linear, weights

PARAMS = """\
model: {{name: tiny, factory: examples.fashion.model:FashionCNN}}
data: {{factory: examples.fashion.data:load}}
recipes:
  twice: {{steps: [{{quantize: {{scheme: fp16}}}}]}}
budgets:
- {{metric: accuracy.top1, max_drop: 0.05, against: {against}}}
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project whose pipeline has run up to weighing."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    artifacts = tmp_path / "artifacts"
    _artifact(artifacts / "baseline" / "onnxruntime", "baseline", weights())
    _artifact(artifacts / "recipes" / "twice", "twice", weights() * np.float32(2))
    write_npz(artifacts / "data" / "test.npz", examples(300))
    (tmp_path / "params.yaml").write_text(PARAMS.format(against="baseline"))
    return tmp_path


def _artifact(folder, name, matrix):
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


def test_the_device_stage_writes_the_same_bytes_twice(root):
    """`dvc repro` re-weighs only where the machine is another one."""
    assert stages.device(root) == describe(os.environ)
    before = (root / "artifacts" / "device.json").read_bytes()
    stages.device(root)
    assert (root / "artifacts" / "device.json").read_bytes() == before


def test_a_recipe_is_weighed_into_its_measurement(root):
    """Model, recipe, digests and evidence, under measurements/."""
    stages.weigh(root, "twice")
    found = Measurement.read(root / "measurements" / "twice.json")
    assert (found.model, found.recipe) == ("tiny", "twice")
    assert found.comparisons[0].metrics["accuracy.top1"] == Proportions(
        both=300, only_reference=0, only_candidate=0, neither=0
    )
    stages.weigh(root, "twice")


def test_an_artifact_that_its_manifest_does_not_know_is_not_weighed(root):
    """What was built is what is weighed."""
    linear(root / "artifacts" / "recipes" / "twice" / "model.onnx", weights() * np.float32(3))
    with pytest.raises(IntegrityError, match="its manifest says"):
        stages.weigh(root, "twice")
    assert not (root / "measurements").exists()


def test_an_unknown_recipe_is_refused(root):
    """The error names the file and the key."""
    with pytest.raises(InputError, match="no recipe 'thrice'"):
        stages.weigh(root, "thrice")


def test_stable_comes_from_the_device_stage(root):
    """A second comparison, with its bytes verified."""
    (root / "params.yaml").write_text(PARAMS.format(against="stable"))
    assert "not there" in stages.weigh(root, "twice").missing["stable"]
    folder = root / "artifacts" / "stable"
    path = linear(folder / "model.onnx", weights() * np.float32(4))
    record = {"digest": sha256_file(path), "version": "v3", "reason": ""}
    (folder / "stable.json").write_text(json.dumps(record))
    found = stages.weigh(root, "twice")
    assert [item.against for item in found.comparisons] == ["baseline", "stable"]
    assert found.missing == {}
    (folder / "stable.json").write_text(json.dumps({**record, "digest": sha256_bytes(b"other")}))
    with pytest.raises(IntegrityError, match=r"stable\.json says"):
        stages.weigh(root, "twice")
    (folder / "stable.json").write_text(json.dumps({"digest": None, "version": None, "reason": "nothing promoted yet"}))
    assert stages.weigh(root, "twice").missing == {"stable": "nothing promoted yet"}


def test_a_stable_that_no_budget_names_is_not_measured(root):
    """Nobody asked."""
    folder = root / "artifacts" / "stable"
    path = linear(folder / "model.onnx", weights() * np.float32(4))
    (folder / "stable.json").write_text(json.dumps({"digest": sha256_file(path), "version": "v3", "reason": ""}))
    assert [item.against for item in stages.weigh(root, "twice").comparisons] == ["baseline"]
