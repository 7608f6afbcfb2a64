"""The pipeline's stages with several targets: a folder for each, with a manifest that the gate can read."""

from pathlib import Path

import pytest
import yaml

from weighbridge.compress import stages
from weighbridge.compress.recipe.explain import explain
from weighbridge.core.documents import Manifest
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.files import sha256_file
from weighbridge.core.formats import pte_file, tflite_file

TARGETS = ("onnxruntime", "litert", "executorch")
FILES = {"onnxruntime": "model.onnx", "litert": "model.tflite", "executorch": "model.pte"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after its stages, its one recipe for three targets."""
    root = tmp_path_factory.mktemp("project")
    content = {
        "model": {"name": "tiny", "factory": "tests.compress.export.conftest:Net"},
        "data": {"factory": "tests.compress.factories:pictures"},
        "train": {"epochs": 6, "batch_size": 32, "lr": 0.02, "seed": 3},
        "targets": list(TARGETS),
        "recipes": {
            "int8": {"target": list(TARGETS), "steps": [{"quantize": {"scheme": "static-int8"}}]},
            "packed": {"target": ["onnxruntime", "litert"], "steps": [{"share": {}}, {"pack": {}}]},
            "half": {"target": "litert", "steps": [{"prune": {"sparsity": 0.5}}, {"quantize": {"scheme": "fp16"}}]},
        },
        "budgets": [{"metric": "size.bytes", "max": "1MB"}],
    }
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    stages.prepare(root)
    stages.train(root)
    for name in TARGETS:
        stages.baseline(root, name)
    stages.compress(root, "int8")
    return root


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_has_its_file_its_manifest_and_its_baseline(made: Path, name: str) -> None:
    """What was compressed, from what, with which converters, and how it answers beside the others."""
    folder = made / "artifacts" / "recipes" / "int8" / name
    manifest = Manifest.read(folder / "manifest.json")
    parent = Manifest.read(made / "artifacts" / "baseline" / name / "manifest.json")
    assert (manifest.target, manifest.artifact.path) == (name, FILES[name])
    assert manifest.artifact.digest == sha256_file(folder / FILES[name])
    assert manifest.baseline == parent.artifact.digest
    assert manifest.sizes.bytes < parent.sizes.bytes
    assert (manifest.sizes.params, manifest.sizes.macs) == (parent.sizes.params, parent.sizes.macs)
    assert manifest.ports == parent.ports == {"inputs": ["image"], "outputs": ["output"]}
    assert set(manifest.parity["targets"]) == set(TARGETS) - {name}
    library = {"onnxruntime": "onnxruntime", "litert": "litert-torch", "executorch": "executorch"}[name]
    assert library in manifest.environment


def test_files_can_be_read_without_their_runtime(made: Path) -> None:
    """Names and shapes, as the gate takes them: from the file, or from the manifest where the file has none."""
    folder = made / "artifacts" / "recipes" / "int8"
    lite = tflite_file.signature((folder / "litert" / "model.tflite").read_bytes(), "model.tflite")
    ports = Manifest.read(folder / "executorch" / "manifest.json").ports
    torch = pte_file.signature(
        (folder / "executorch" / "model.pte").read_bytes(), "model.pte", ports["inputs"], ports["outputs"]
    )
    for found in (lite, torch):
        assert [(port.name, port.dtype, port.shape) for port in found.inputs] == [("image", "float32", (1, 1, 8, 8))]
        assert [(port.name, port.dtype, port.shape) for port in found.outputs] == [("output", "float32", (1, 3))]


def test_a_recipe_that_one_target_cannot_do_writes_nothing(made: Path) -> None:
    """Not even for those that could."""
    with pytest.raises(InputError, match=r"recipes\.packed\.steps\[1\]\.pack: pack has no form .* target litert"):
        stages.compress(made, "packed")
    assert not (made / "artifacts" / "recipes" / "packed").exists()


def test_a_target_that_fails_writes_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of three: the first two files do not stay behind either."""
    from weighbridge.compress.export import executorch

    before = {path: path.read_bytes() for path in (made / "artifacts" / "recipes").rglob("*") if path.is_file()}
    monkeypatch.setattr(executorch.pte, "weights_by_kind", lambda _: {"float32": 3})  # type: ignore[attr-defined]
    with pytest.raises(InvariantError, match="0 weights as 8-bit integers"):
        stages.compress(made, "int8")
    after = {path: path.read_bytes() for path in (made / "artifacts" / "recipes").rglob("*") if path.is_file()}
    assert after == before


def test_a_recipe_for_another_target_is_explained(made: Path) -> None:
    """By layer where a step acts on the module; in the file's own row where it acts on the file."""
    rows = explain(made, "half")
    assert {row["layer"] for row in rows if row["step"] == "1 prune"} >= {"stem.weight", "classes.weight", "(file)"}
    file = next(row for row in rows if row["step"] == "2 quantize" and row["layer"] == "(file)")
    assert 0 < file["bytes after"] < file["bytes"]
    assert file["params after"] == file["params"]
