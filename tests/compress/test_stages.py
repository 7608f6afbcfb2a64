"""The stages of the pipeline on a small project: whole folders, true manifests, same bytes, clear refusals."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper, numpy_helper
from torch import nn

from tests.compress.nets import MLP, context
from weighbridge.compress import stages
from weighbridge.compress.export import EXPORTERS
from weighbridge.compress.recipe.explain import explain, explain_steps
from weighbridge.compress.recipe.project_folder import Project, replaced_folder
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.recipe.teachers import OnnxTeacher, Teachers
from weighbridge.compress.steps import Graph
from weighbridge.compress.training.checkpoint import read_checkpoint, write_checkpoint
from weighbridge.compress.training.module_quality import evaluate, predict
from weighbridge.core.documents import REFUSAL, Manifest, RecipeSection, Refusal
from weighbridge.core.errors import InputError, InvariantError, StateError, WeighbridgeError
from weighbridge.core.files import sha256_file
from weighbridge.core.formats.onnx_file import load_model, serialize
from weighbridge.data import Split, read_npz

RECIPES = {
    "int8": [{"quantize": {"scheme": "static-int8"}}],
    "slim": [
        {"prune": {"method": "structured", "ratio": 0.3, "finetune": {"epochs": 1}}},
        {"prune": {"sparsity": 0.4, "finetune": {"epochs": 1}}},
        {"share": {"bits": 3, "finetune": {"epochs": 1}}},
        {"pack": {}},
    ],
    "taught": [{"distill": {"student": "tests.compress.factories:narrow", "finetune": {"epochs": 4}}}],
    "tutored": [{"prune": {"sparsity": 0.5, "finetune": {"epochs": 1, "distill": {"temperature": 3, "weight": 0.7}}}}],
}

NET = """\
import importlib
from tests.compress.nets import MLP
from .layers import WIDTH

def Net():
    from . import late
    importlib.import_module("netof.made" + "_up")
    return MLP(width=WIDTH)
"""


def in_a_process_of_its_own(root: Path, stage: str, *arguments: str) -> None:
    """A stage as DVC runs it."""
    command = [Path(sys.executable).with_name("weighbridge"), "stage", stage, *arguments, "--quiet", "--root", root]
    path = str(Path(__file__).parents[2])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})


def project(root: Path, **sections: str | dict[str, Any]) -> Path:
    """Write `params.yaml` for a small project."""
    content = {
        "model": {"name": "tiny", "factory": "tests.compress.nets:MLP"},
        "data": {"factory": "tests.compress.factories:clouds"},
        "train": {"epochs": 12, "batch_size": 32, "lr": 0.02, "seed": 3},
        "recipes": {name: {"steps": steps} for name, steps in RECIPES.items()},
        "budgets": [{"metric": "size.bytes", "max": "1MB"}],
    }
    content.update(sections)
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return root


def run(root: Path, *recipes: str) -> Path:
    """All stages in order."""
    stages.prepare(root)
    stages.train(root)
    stages.baseline(root)
    for recipe in recipes:
        stages.compress(root, recipe)
    return root


def files(root: Path) -> dict[str, Any]:
    """Every file under `artifacts`, by digest."""
    folder = root / "artifacts"
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after all its stages."""
    return run(project(tmp_path_factory.mktemp("project")), *RECIPES)


def manifest(root: Path, name: str) -> Manifest:
    """What the stage said of one recipe's artifact."""
    return Manifest.read(root / "artifacts" / "recipes" / name / "onnxruntime" / "manifest.json")


def test_stages_write_what_the_pipeline_names(made: Path) -> None:
    """And nothing else: no temporary file is left."""
    assert sorted(files(made)) == [
        "baseline/onnxruntime/manifest.json",
        "baseline/onnxruntime/model.onnx",
        "data/calibration.npz",
        "data/data.json",
        "data/test.npz",
        "data/train.npz",
        *(f"recipes/{name}/onnxruntime/{file}" for name in sorted(RECIPES) for file in ("manifest.json", "model.onnx")),
        "trained/checkpoint.safetensors",
        "trained/training.csv",
    ]


def test_prepared_data_is_the_factory_s(made: Path) -> None:
    """Splits with their slices; calibration comes from train, class-balanced; test is untouched."""
    test, chosen = (read_npz(made / "artifacts" / "data" / f"{name}.npz") for name in ("test", "calibration"))
    assert len(test) == 60
    assert sorted(test.slices) == ["class-0", "class-1", "class-2"]
    assert np.bincount(chosen.labels).tolist() == [32, 32, 32]
    index = json.loads((made / "artifacts" / "data" / "data.json").read_text())
    assert index["inputs"] == ["features"]
    assert index["splits"]["test"] == {"examples": 60, "digest": test.digest()}


def test_manifests_speak_of_their_file_and_its_lineage(made: Path) -> None:
    """Digest, bytes, recipe verbatim, each step's sizes, and the baseline that it came from."""
    baseline = Manifest.read(made / "artifacts" / "baseline" / "onnxruntime" / "manifest.json")
    assert (baseline.recipe_name, baseline.recipe, baseline.baseline) == ("baseline", {}, None)
    for name, steps in RECIPES.items():
        found = manifest(made, name)
        path = made / "artifacts" / "recipes" / name / "onnxruntime" / found.artifact.path
        assert found.artifact.digest == sha256_file(path)
        assert found.artifact.bytes == found.sizes.bytes == path.stat().st_size
        assert found.recipe == {"target": "onnxruntime", "steps": steps}
        assert [step.technique for step in found.steps] == [next(iter(step)) for step in steps]  # type: ignore[attr-defined]
        assert all(step.sizes is not None for step in found.steps)
        assert found.baseline == baseline.artifact.digest
        assert found.data == sha256_file(made / "artifacts" / "data" / "data.json")
        assert found.parity["examples"] == 96
        assert {"python", "torch", "onnxruntime", "isa"} <= found.environment.keys()
    assert manifest(made, "taught").teacher == baseline.artifact.digest
    assert manifest(made, "int8").teacher is None
    assert manifest(made, "slim").sizes.bytes < baseline.sizes.bytes


def test_manifests_name_every_module_of_the_users_that_was_imported(tmp_path: Path) -> None:
    """Also one that a function imports, or one by a name made up at run time; not what is installed or does nothing."""
    write = {
        "netof/__init__.py": "",
        "netof/net.py": NET,
        "netof/layers.py": "import numpy\nWIDTH = 96\n",
        "netof/late.py": "",
        "netof/made_up.py": "",
        "netof/unused.py": "",
    }
    for name, text in write.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    project(tmp_path, model={"name": "tiny", "factory": "netof.net:Net"}, train={"epochs": 1, "batch_size": 32})
    for stage in ("prepare", "train", "baseline", "compress"):
        in_a_process_of_its_own(tmp_path, stage, *(["int8"] if stage == "compress" else []))
    for folder in ("baseline", "recipes/int8"):
        found = Manifest.read(tmp_path / f"artifacts/{folder}/onnxruntime/manifest.json")
        names = ["netof/late.py", "netof/layers.py", "netof/made_up.py", "netof/net.py"]
        assert found.sources == {name: sha256_file(tmp_path / name) for name in names}
        trained = {"train": {"epochs": 1, "batch_size": 32}} if folder != "baseline" else {}
        assert found.settings == {"model": {"factory": "netof.net:Net"}, **trained}


def test_the_artifacts_still_answer(made: Path) -> None:
    """Each recipe's file, run as it ships, is far above chance on the test split."""
    test = read_npz(made / "artifacts" / "data" / "test.npz")
    for name in RECIPES:
        data = (made / "artifacts" / "recipes" / name / "onnxruntime" / "model.onnx").read_bytes()
        answers = EXPORTERS["onnxruntime"].run(data, test.inputs)[0]
        assert np.mean(answers.argmax(1) == test.labels) > 0.6, name


def test_no_manifest_names_a_path_or_a_time(made: Path) -> None:
    """A manifest is a function of its inputs: made elsewhere it is the same."""
    for path in (made / "artifacts").rglob("*.json"):
        assert str(made) not in path.read_text()
        assert str(Path.cwd()) not in path.read_text()


@pytest.mark.timeout(300)
def test_another_process_makes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    """Every file, manifests included, with another hash seed, folder and number of threads."""
    root = project(tmp_path / "elsewhere")
    script = (
        "import sys; from pathlib import Path; from weighbridge.compress import stages; root = Path(sys.argv[1])\n"
        "stages.prepare(root); stages.train(root); stages.baseline(root)\n"
        "for name in sys.argv[2:]: stages.compress(root, name)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", script, str(root), *RECIPES], check=True, env=environment)
    assert files(root) == files(made)


def test_running_a_stage_again_replaces_it_whole(made: Path) -> None:
    """The same bytes again, and a stray file in the folder is gone."""
    before = files(made)
    stray = made / "artifacts" / "recipes" / "int8" / "stray.txt"
    stray.write_text("left over")
    stages.compress(made, "int8")
    assert files(made) == before


def test_a_recipe_reads_no_examples_that_it_does_not_need(made: Path, tmp_path: Path) -> None:
    """Static quantization looks at calibration alone: without the other splits it makes the same bytes."""
    other = tmp_path / "project"
    shutil.copytree(made, other)
    for name in ("train", "test"):
        (other / "artifacts" / "data" / f"{name}.npz").unlink()
    stages.compress(other, "int8")
    assert manifest(other, "int8").artifact.digest == manifest(made, "int8").artifact.digest
    with pytest.raises(InputError, match=r"train\.npz: file not found"):
        stages.compress(other, "slim")


def test_a_failed_recipe_leaves_the_old_artifact_and_nothing_half_written(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong, the folder holds what it held."""
    before = files(made)

    def broken(*_: object, **__: object) -> NoReturn:
        raise InvariantError("the step changed nothing", where="here")

    monkeypatch.setattr(stages, "compose_all", broken)
    with pytest.raises(InvariantError):
        stages.compress(made, "int8")
    monkeypatch.undo()
    monkeypatch.setattr(Manifest, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StateError, match="recipes/int8: cannot be written: No space left on device"):
        stages.compress(made, "int8")
    assert files(made) == before


@pytest.fixture
def failing(made: Path, tmp_path: Path) -> Path:
    """The project with one recipe more, which keeps more than it reaches: int8 of no layer at all."""
    shutil.copytree(made, tmp_path / "p")
    content = yaml.safe_load((tmp_path / "p" / "params.yaml").read_text())
    content["recipes"]["none"] = {"steps": [{"prune": {"sparsity": 0.5, "keep": ["*"]}}]}
    content["recipes"]["typo"] = {"steps": [{"quantize": {"skeme": "static-int8"}}]}
    (tmp_path / "p" / "params.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "p"


@pytest.mark.parametrize(
    ("recipe", "where"), [("none", "recipes.none.steps[0].prune"), ("typo", "recipes.typo.steps[0].quantize: skeme")]
)
def test_a_recipe_that_the_model_cannot_take_leaves_its_refusal_in_the_artifact_s_place(
    failing: Path, recipe: str, where: str
) -> None:
    """Where the pipeline goes on; by hand it is an error that writes nothing."""
    folder = failing / "artifacts" / "recipes" / recipe
    with pytest.raises(WeighbridgeError) as by_hand:
        stages.compress(failing, recipe)
    assert not folder.exists()
    refusal = stages.compress(failing, recipe, keep_going=True)
    assert refusal == Refusal.read(folder / REFUSAL)
    assert refusal.reason == str(by_hand.value)
    assert where in refusal.where
    assert [path.name for path in folder.iterdir()] == [REFUSAL]


def test_a_recipe_that_is_right_again_replaces_its_refusal(failing: Path) -> None:
    """The folder holds one or the other."""
    stages.compress(failing, "none", keep_going=True)
    content = yaml.safe_load((failing / "params.yaml").read_text())
    content["recipes"]["none"] = {"steps": [{"quantize": {"scheme": "fp16"}}]}
    (failing / "params.yaml").write_text(yaml.safe_dump(content))
    assert stages.compress(failing, "none", keep_going=True) is None
    assert [path.name for path in (failing / "artifacts" / "recipes" / "none").iterdir()] == ["onnxruntime"]


@pytest.mark.parametrize(
    "error",
    [
        StateError("cannot be written: No space left on device", where="params.yaml: recipes.int8.steps[0]"),
        InvariantError("the data is not prepared", where="artifacts/data"),
        InvariantError("of another recipe", where="ROOT/params.yaml: recipes.int8-too.steps[0]"),
        RuntimeError("a defect"),
    ],
)
def test_what_another_run_may_do_better_is_never_recorded_as_a_refusal(
    made: Path, monkeypatch: pytest.MonkeyPatch, error: StateError | InvariantError | RuntimeError
) -> None:
    """DVC would keep the refusal and not try again."""
    before = files(made)

    def broken(*_: object, **__: object) -> NoReturn:
        if isinstance(error, WeighbridgeError):
            error.where = error.where.replace("ROOT", str(made))
        raise error

    monkeypatch.setattr(stages, "compose_all", broken)
    with pytest.raises(type(error)):
        stages.compress(made, "int8", keep_going=True)
    assert files(made) == before


def test_a_library_that_runs_out_of_memory_is_no_property_of_the_recipe(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator's message, as torch gives it on CPU."""
    from weighbridge.compress.recipe import placing
    from weighbridge.compress.recipe import recipe_run as running

    def starved(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory")

    technique = dataclasses.replace(running.TECHNIQUES["quantize"], lower=starved)  # type: ignore[attr-defined]
    monkeypatch.setitem(running.TECHNIQUES, "quantize", technique)  # type: ignore[attr-defined]
    monkeypatch.setattr(placing, "of_library", lambda _: "torch")
    with pytest.raises(StateError, match="torch ran out of memory"):
        stages.compress(made, "int8", keep_going=True)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error inside leaves the old content, and no temporary folder."""
    folder = tmp_path / "out"
    with replaced_folder(folder) as new:
        (new / "a").write_text("1")
    with pytest.raises(StateError, match="cannot be written"), replaced_folder(folder) as new:
        (new / "nowhere" / "b").write_text("2")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["out", "out/a"]


def refused(root: Path, stage: Callable[..., None] | Callable[..., Refusal | None], *given: str) -> str:
    """The one line that a stage ends with."""
    with pytest.raises(WeighbridgeError) as caught:
        stage(root, *given)
    assert not list(root.rglob("*.tmp"))
    return str(caught.value).replace(str(root), "ROOT")


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("tests.compress.nowhere:load", "tests.compress.nowhere does not import"),
        ("tests.compress.factories:nothing", "has no callable 'nothing'"),
        ("tests.compress.factories:no_module", "returned dict (expected a weighbridge.data.Data)"),
        ("tests.compress.factories:one_class_calibration", "the calibration split holds one class alone (1)"),
        ("tests.compress.factories:empty_calibration", "the calibration split is empty"),
        ("tests.compress.factories:other_inputs", "train has the inputs features, test has other"),
    ],
)
def test_wrong_data_factories_are_one_line_and_write_nothing(tmp_path: Path, factory: str, said: str) -> None:
    """File and key stand before what is wrong."""
    root = project(tmp_path / "p", data={"factory": factory})
    line = refused(root, stages.prepare)
    assert line.startswith("ROOT/params.yaml: data.factory: ")
    assert said in line
    assert not (root / "artifacts" / "data").exists()


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ("tests.compress.nowhere:Net", "clouds", "tests.compress.nowhere does not import"),
        ("tests.compress.factories:no_module", "clouds", "returned dict (expected a torch.nn.Module)"),
        ("tests.compress.nets:Residual", "clouds", "forward fails on the data (features (2, 16) float32)"),
        ("tests.compress.nets:MLP", "eleven_classes", "the model gives 3 classes; labels go from 0 to 10"),
        ("tests.compress.factories:Divergent", "clouds", "training diverged: the loss is nan at epoch 1, step 1 of 36"),
    ],
)
def test_wrong_models_are_one_line_and_write_nothing(tmp_path: Path, model: str, data: str, said: str) -> None:
    """Import, type, shapes, classes, and a loss that is no number."""
    root = project(
        tmp_path / "p", model={"name": "t", "factory": model}, data={"factory": f"tests.compress.factories:{data}"}
    )
    stages.prepare(root)
    assert said in refused(root, stages.train)
    assert not (root / "artifacts" / "baseline").exists()


def test_a_stage_without_what_it_needs_says_which_stage_makes_it(tmp_path: Path) -> None:
    """In the order of the pipeline."""
    root = project(tmp_path / "p")
    assert "the data is not prepared (dvc repro prepare)" in refused(root, stages.train)
    stages.prepare(root)
    assert "the baseline is not trained (dvc repro train)" in refused(root, stages.baseline)
    assert "there is no baseline artifact (dvc repro baseline)" in refused(root, stages.compress, "int8")
    assert "there is no recipe 'int9' (did you mean 'int8'?)" in refused(root, stages.compress, "int9")


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    """By the tensor's name and shapes; a broken file too."""
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, MLP(width=12))
    with pytest.raises(InputError, match=r"'classes\.weight' is \(3, 12\) here and \(3, 24\) in the model"):
        read_checkpoint(path, MLP())
    with pytest.raises(InputError, match="is missing in the checkpoint"):
        read_checkpoint(path, nn.Sequential(MLP(width=12)))
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is not a readable safetensors file"):
        read_checkpoint(path, MLP())


def test_an_onnx_model_goes_down_the_same_road(made: Path, tmp_path: Path) -> None:
    """No training: an empty checkpoint; the baseline is the given file as it ships; lowering steps work on it."""
    source = tmp_path / "given.onnx"
    source.write_bytes((made / "artifacts" / "baseline" / "onnxruntime" / "model.onnx").read_bytes())
    root = project(tmp_path / "p", model={"name": "given", "onnx": "../given.onnx"})
    run(root, "int8")
    assert (root / "artifacts" / "trained" / "training.csv").read_text() == "epoch,loss\n"
    baseline = Manifest.read(root / "artifacts" / "baseline" / "onnxruntime" / "manifest.json")
    assert baseline.artifact.digest == sha256_file(source)
    assert manifest(root, "int8").sizes.bytes < baseline.sizes.bytes
    assert "prune needs the PyTorch module, but the model is an ONNX file" in refused(root, stages.compress, "slim")


def test_a_teacher_in_finetuning_is_part_of_the_lineage(made: Path) -> None:
    """The manifest pins the teacher's digest, and holds the control beside the student."""
    tutored = manifest(made, "tutored")
    assert tutored.teacher == tutored.baseline == tutored.steps[0].facts["teacher"]
    assert set(tutored.steps[0].facts["validation"]) == {"teacher", "student", "control", "examples"}


def test_weights_that_an_exporter_wrote_as_constant_nodes_are_weights(made: Path, tmp_path: Path) -> None:
    """Some converters write no initializers: the given model is brought into the finished form before any step."""
    proto = load_model(made / "artifacts" / "baseline" / "onnxruntime" / "model.onnx")
    constants = [
        onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in proto.graph.initializer
    ]
    body = [*constants, *proto.graph.node]
    names = [tensor.name for tensor in proto.graph.initializer]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in body]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.node.extend(nodes)
    recipe = {"steps": [{"share": {"bits": 4, "on": "file", "agreement": 0.5}}, {"pack": {}}]}
    root = project(tmp_path / "p", model={"name": "given", "onnx": "given.onnx"}, recipes={"shared": recipe})
    (root / "given.onnx").write_bytes(serialize(proto))
    run(root, "shared")
    given = Project(root).given_model(Project(root).data()[0])
    assert [tensor.name for tensor in given.graph.initializer] == names
    baseline = Manifest.read(root / "artifacts" / "baseline" / "onnxruntime" / "manifest.json")
    assert baseline.artifact.digest == sha256_file(made / "artifacts" / "baseline" / "onnxruntime" / "model.onnx")
    assert manifest(root, "shared").sizes.bytes < baseline.sizes.bytes


def test_an_onnx_model_must_fit_the_data(made: Path, tmp_path: Path) -> None:
    """Its inputs are named as the data's; a corrupt file is refused."""
    proto = load_model(made / "artifacts" / "baseline" / "onnxruntime" / "model.onnx")
    proto.graph.input[0].name = "other"
    proto.graph.node[0].input[0] = "other"
    root = project(tmp_path / "p", model={"name": "given", "onnx": "given.onnx"})
    (root / "given.onnx").write_bytes(serialize(proto))
    stages.prepare(root)
    assert "input 'other' is not among the data's inputs (features)" in refused(root, stages.baseline)
    (root / "given.onnx").write_bytes(serialize(proto)[:300])
    assert "given.onnx: is not a readable ONNX model" in refused(root, stages.baseline)


def test_teachers_are_the_baseline_or_an_artifact_by_its_digest(made: Path) -> None:
    """Anything else is refused; an ONNX teacher answers as its file does."""
    teachers = Teachers(Project(made), "onnxruntime")
    test = read_npz(made / "artifacts" / "data" / "test.npz")
    baseline, digest = teachers("baseline")
    by_digest, same = teachers(digest)
    assert digest == same
    assert teachers.used == [digest, digest]
    np.testing.assert_allclose(predict(by_digest, test)[0], evaluate(baseline, test), atol=1e-5)
    with pytest.raises(InputError, match="no artifact with the digest"):
        teachers("sha256:" + "0" * 64)
    with pytest.raises(InputError, match="'champion' is no teacher"):
        teachers("champion")
    data = (made / "artifacts" / "baseline" / "onnxruntime" / "model.onnx").read_bytes()
    with pytest.raises(InputError, match="the teacher takes an input 'features'"):
        OnnxTeacher(data, "t.onnx")(other=test.inputs)


def test_explain_shows_each_step_without_training_or_writing(made: Path) -> None:
    """Rows by step and layer, the file's own line after each step, and the same before as the step before's after."""
    before = files(made)
    rows = explain(made, "slim")
    assert files(made) == before
    totals = [row for row in rows if row["layer"] == "(file)"]
    assert [row["step"] for row in totals] == ["1 prune", "2 prune", "3 share", "4 pack"]
    assert all(first["bytes after"] == second["bytes"] for first, second in pairwise(totals))
    assert all(first["zstd after"] == second["zstd"] for first, second in pairwise(totals))
    assert all(row["zstd after"] != row["zstd"] > 0 for row in totals)
    assert totals[0]["macs after"] < totals[0]["macs"]
    assert totals[3]["bytes after"] < totals[3]["bytes"]
    layers = [row["layer"] for row in rows if row["step"] == "1 prune"]
    assert layers == ["hidden.weight", "more.weight", "classes.weight", "(file)"]
    packed = {row["layer"]: row["bytes after"] for row in rows if row["step"] == "4 pack"}
    assert set(packed) == {"hidden", "more", "classes", "(file)"}
    assert 0 < packed["classes"] < packed["hidden"] < packed["(file)"]


def test_explain_gives_each_layer_its_own_bytes() -> None:
    """Names that begin alike are of different weights."""
    weights = {"w1": 16, "w11": 64}
    nodes = [helper.make_node("MatMul", [a, w], [b]) for a, w, b in (("x", "w1", "h"), ("h", "w11", "y"))]
    values = [np.random.default_rng(0).normal(size=(16, size)).astype(np.float32) for size in weights.values()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(value, name) for name, value in zip(weights, values, strict=True)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    split = Split({"x": np.eye(16, dtype=np.float32)[:6]}, np.arange(6) % 3)
    steps = read_steps(RecipeSection(steps=[{"quantize": {"scheme": "weight-int8"}}]), "recipe")
    rows = explain_steps(steps, Graph(proto), context(None, split), EXPORTERS["onnxruntime"])
    after = {row["layer"]: row["bytes after"] for row in rows}
    assert 16 * 16 < after["w1"] < 16 * 16 + 200
    assert 16 * 64 < after["w11"] < 16 * 64 + 400


def test_explain_says_which_macs_are_unknown() -> None:
    """A convolution over images of any size costs nobody knows what, not nothing; the product behind it is counted."""
    rng = np.random.default_rng(0)
    values = {"c": rng.normal(size=(16, 1, 3, 3)), "w": rng.normal(size=(16, 8))}
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, "height", "width"])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    split = Split({"x": rng.normal(size=(6, 1, 8, 8)).astype(np.float32)}, np.arange(6) % 3)
    steps = read_steps(RecipeSection(steps=[{"quantize": {"scheme": "weight-int8"}}]), "recipe")
    rows = explain_steps(steps, Graph(proto), context(None, split), EXPORTERS["onnxruntime"])
    assert {row["layer"]: row["macs"] for row in rows} == {"c": "unknown", "w": 128, "(file)": "unknown"}


def test_explain_needs_no_earlier_stage(tmp_path: Path) -> None:
    """A newcomer can ask before anything was prepared or trained."""
    rows = explain(project(tmp_path / "p"), "int8")
    assert [row["layer"] for row in rows] == ["hidden", "more", "classes", "(file)"]
    assert all(row["bytes after"] < row["bytes"] for row in rows)
    assert not (tmp_path / "p" / "artifacts").exists()


def test_prepare_reads_a_data_set_that_streams_as_it_reads_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of unknown length gives the examples of `train.steps` steps, the same ones each time."""
    project(
        tmp_path,
        data={"factory": "tests.compress.factories:streaming"},
        train={"steps": 3, "batch_size": 8, "accumulate_grad_batches": 2},
    )
    monkeypatch.chdir(tmp_path)
    indices = []
    for _ in range(2):
        stages.prepare(tmp_path)
        indices.append(json.loads((tmp_path / "artifacts" / "data" / "data.json").read_text()))
    assert indices[0] == indices[1]
    assert indices[0]["splits"]["train"]["examples"] == 48
    assert indices[0]["splits"]["test"]["examples"] == 60
    stages.train(tmp_path)
    table = (tmp_path / "artifacts" / "trained" / "training.csv").read_text().splitlines()
    assert len(table) == 2  # three steps of sixteen are one pass
    project(tmp_path, data={"factory": "tests.compress.factories:streaming"}, train={"epochs": 1})
    with pytest.raises(InputError, match=r"train: is a stream of unknown length \(give train\.steps"):
        stages.prepare(tmp_path)
