"""A repository with a pipeline of its own: where the project goes, and what of the user's stays as it is."""

import subprocess
from pathlib import Path

import pytest
import yaml

from weighbridge.ci import adopting, setup
from weighbridge.ci.scaffold import InitAnswers
from weighbridge.core.errors import InputError
from weighbridge.core.git import find_project

OWN = {
    "params.yaml": "train: {lr: 0.1}\nmodel: {hidden: 48}\n",
    "dvc.yaml": "stages:\n  prepare: {cmd: python p.py}\n  train: {cmd: python t.py}\n",
}
ANSWERS = InitAnswers("net", "evaluation:load", ("evaluation.py", "data/eval.npz"), onnx="net.onnx")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository with stages and parameters of somebody else, code at its top and data beside it."""
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", tmp_path], check=True)
    for name, text in {**OWN, "evaluation.py": "import cutting\n", "cutting.py": "", "net.onnx": ""}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/eval.npz").write_bytes(b"x")
    return tmp_path


def written(top: Path, answers: InitAnswers = ANSWERS) -> setup.InitPlan:
    """What `init` at the top would write, by path."""
    plan = setup.plan(top, answers, None)
    for change in plan.changes:
        change.path.parent.mkdir(parents=True, exist_ok=True)
        change.path.write_text(change.new)
    return plan


def test_nothing_of_the_users_changes_and_the_project_names_it_from_beside(top: Path) -> None:
    """Own parameters and stages in a folder of their own; code and data are named from there."""
    plan = written(top)
    assert plan.folder == top / "compression/net"
    assert {name: (top / name).read_text() for name in OWN} == OWN
    assert yaml.safe_load((plan.folder / "params.yaml").read_text())["model"]["onnx"] == "../../net.onnx"
    stages = yaml.safe_load((plan.folder / "dvc.yaml").read_text())["stages"]
    assert {"../../evaluation.py", "../../data/eval.npz"} <= set(stages["prepare"]["deps"])
    assert "../../net.onnx" in stages["baseline"]["do"]["deps"]
    assert written(top).changes == ()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("params.yaml", "lr: 0.1\n"),
        ("dvc.yaml", "stages:\n  judge: {cmd: ./judge}\n"),
        ("dvc.yaml", "stages:\n  score:\n    cmd: ./score\n    metrics:\n      - reports/score.json: {cache: false}\n"),
        ("reports/2026.md", "# ours\n"),
    ],
)
def test_every_kind_of_clash_moves_the_project(tmp_path: Path, path: str, text: str) -> None:
    """A parameter file, a stage, an output or a folder that the pipeline would write to."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    assert adopting.home_of(tmp_path, "net") == tmp_path
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(text)
    assert adopting.home_of(tmp_path, "net") == tmp_path / "compression/net"


def test_a_pipeline_that_clashes_with_nothing_gets_the_stages(tmp_path: Path) -> None:
    """As before: one `dvc repro` runs both."""
    (tmp_path / "dvc.yaml").write_text("stages:\n  clean: {cmd: ./clean, outs: [cleaned]}\n")
    assert adopting.home_of(tmp_path, "net") == tmp_path


def test_the_one_project_is_found_from_the_top_and_of_two_none_is_guessed(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`weighbridge gate` works where the user works; with two models it asks which."""
    written(top)
    monkeypatch.chdir(top)
    assert find_project(Path()) == top / "compression/net"
    assert find_project(top / "data") == top / "compression/net"
    assert adopting.home_of(top, None) == top / "compression/net"
    written(top, InitAnswers("other", "evaluation:load", ("evaluation.py",), onnx="net.onnx"))
    with pytest.raises(InputError, match="compression/net, compression/other"):
        find_project(Path())
    assert find_project(top / "compression/other") == top / "compression/other"


def test_what_a_factory_imports_is_found_at_the_top(top: Path) -> None:
    """For a project anywhere below; the project's own module comes first."""
    below = top / "models/a"
    below.mkdir(parents=True)
    assert setup.factory_files(below, "evaluation:load") == ("../../evaluation.py", "../../cutting.py")
    (below / "evaluation.py").write_text("")
    assert setup.factory_files(below, "evaluation:load") == ("evaluation.py",)
