"""`replace`: a finished file of the user's own is built, judged and traced as what other recipes make."""

import shutil
from pathlib import Path

import pytest

from tests.tabular import KINDS, labelled, rows, tabular
from weighbridge.ci.declared import declared
from weighbridge.compress import stages
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.core.documents import Manifest, RecipeSection, Refusal
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import sha256_file
from weighbridge.core.formats.onnx_file import load_model, signature
from weighbridge.core.git import Git
from weighbridge.data import Data
from weighbridge.search.project_plan import planned

PARAMS = """\
model: {name: rows, onnx: model.onnx}
data: {factory: "tests.compress.techniques.test_replace:table"}
task: {kind: classification, output: scores}
inputs: {size: {missing: true}}
recipes:
  small: {steps: [replace: {onnx: other.onnx}]}
budgets: [{metric: size.bytes, max_ratio: 1.0}]
"""
PIPELINE = """\
stages:
  compress:
    foreach: ${recipes}
    do:
      cmd: weighbridge stage compress ${key}
      params: [model, task, inputs, 'recipes.${key}.steps']
      deps: [model.onnx%s]
      outs: ['artifacts/recipes/${key}']
"""


def table() -> Data:
    path = tabular(Path("made.onnx"))
    return Data(train=labelled(path, rows(60, 1)), test=labelled(path, rows(60)))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table's model with a wide layer as the baseline, built; no other file yet."""
    monkeypatch.chdir(tmp_path)
    tabular(tmp_path / "model.onnx", hidden=256)
    (tmp_path / "params.yaml").write_text(PARAMS)
    stages.prepare(tmp_path)
    stages.baseline(tmp_path)
    return tmp_path


def test_another_model_takes_its_place_however_it_answers(project: Path) -> None:
    """Text, gaps and names of classes go with it; its bytes and its digest are in the manifest."""
    tabular(project / "other.onnx", noise=5)  # of other weights, and without the wide layer
    stages.compress(project, "small")
    made = Manifest.read(project / "artifacts/recipes/small/onnxruntime/manifest.json")
    baseline = Manifest.read(project / "artifacts/baseline/onnxruntime/manifest.json")
    assert made.artifact.bytes < baseline.artifact.bytes / 2
    assert made.parity["agreement"] < 0.9
    assert made.sources is not None
    assert made.sources["other.onnx"] == sha256_file(project / "other.onnx")
    scores = signature(load_model(project / "artifacts/recipes/small/onnxruntime/model.onnx")).outputs[1]
    assert scores.classes == KINDS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("gone", "file not found"),
        ("bytes", "is not a readable ONNX model"),
        ("ports", "has the outputs label"),
        ("larger", "bytes"),
    ],
)
def test_a_file_that_cannot_take_its_place_is_a_refusal_with_the_reason(project: Path, wrong: str, said: str) -> None:
    """One that is missing, no model, of other outputs or not smaller: nothing is written but the refusal."""
    other = project / "other.onnx"
    if wrong == "bytes":
        other.write_bytes(b"x")
    if wrong == "ports":
        tabular(other, scores="chances")
    if wrong == "larger":
        tabular(other, hidden=512)
    stages.compress(project, "small", keep_going=True)
    found = Refusal.read(project / "artifacts/recipes/small/refusal.json")
    assert said in found.reason
    assert "recipes.small.steps[0].replace" in found.reason


def test_what_came_before_it_would_be_thrown_away() -> None:
    """So it comes first; other steps may follow."""
    quantized, other = {"quantize": {"scheme": "weight-int8"}}, {"replace": {"onnx": "other.onnx"}}
    with pytest.raises(InputError, match="undoes quantize: put replace first"):
        read_steps(RecipeSection(steps=[quantized, other]), "params.yaml: recipes.r")
    assert len(read_steps(RecipeSection(steps=[other, quantized]), "params.yaml: recipes.r")) == 2


def test_a_plan_makes_another_file_anew(project: Path) -> None:
    """Its bytes are in the keys of the plan, its place on this machine is not; without it there is no plan."""
    with pytest.raises(StateError, match=r"other\.onnx: file not found"):
        planned(project)
    tabular(project / "other.onnx")
    first = planned(project)
    tabular(project / "other.onnx", noise=0.1)
    assert all(old.key != new.key for old, new in zip(first, planned(project), strict=True))
    shutil.copytree(project, project / "elsewhere")
    assert planned(project / "elsewhere") == planned(project)


@pytest.mark.parametrize("listed", [True, False])
def test_the_stage_depends_on_the_file(project: Path, *, listed: bool) -> None:
    """Or DVC would keep the old artifact when the file changes."""
    Git(project).run("init", "--quiet")
    (project / "dvc.yaml").write_text(PIPELINE % (", other.onnx" if listed else ""))
    tabular(project / "other.onnx")
    if listed:
        with declared(project, "compress"):
            pass
        return
    with pytest.raises(InputError, match=r"uses other\.onnx, which is no dependency"), declared(project, "compress"):
        pass
