"""The merge base's budgets, from a real repository."""

import subprocess
from pathlib import Path

import pytest

from weighbridge.core.errors import StateError
from weighbridge.gate.stages.merge_base import merge_base


def git(root: Path, *arguments: str) -> None:
    """Run git with an identity of its own."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`main` has one params.yaml, a branch off its first commit has another; the project lies in a subfolder."""
    project = tmp_path / "project"
    project.mkdir()
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    (project / "params.yaml").write_text("first")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "switch", "--quiet", "--create", "change")
    (project / "params.yaml").write_text("the change")
    git(tmp_path, "commit", "--quiet", "--all", "--message", "change")
    git(tmp_path, "switch", "--quiet", "main")
    (project / "params.yaml").write_text("main went on")
    git(tmp_path, "commit", "--quiet", "--all", "--message", "main")
    git(tmp_path, "switch", "--quiet", "change")
    return project


def test_the_merge_base_is_compared_with_not_the_tip(repository: Path) -> None:
    """Main went on since: the change is compared with where it left."""
    base = merge_base(repository, "main")
    assert base.text == "first"
    assert len(base.revision) == 12


def test_a_base_without_params_has_no_text(repository: Path) -> None:
    """A project that is new in this change."""
    other = repository.parent / "other"
    other.mkdir()
    assert merge_base(other, "main").text is None


@pytest.mark.parametrize("revision", ["nowhere", "--all"])
def test_an_unknown_revision_is_one_clear_error(repository: Path, revision: str) -> None:
    """A misspelt branch never reads as a base without budgets."""
    with pytest.raises(StateError):
        merge_base(repository, revision)


def test_no_repository_is_one_clear_error(tmp_path: Path) -> None:
    """Outside Git there is no merge base."""
    with pytest.raises(StateError):
        merge_base(tmp_path, "main")


PROJECT = """\
model: {name: %s, factory: "a:b"}
data: {factory: "c:d"}
recipes: {w8: {steps: [{quantize: {scheme: fp16}}]}}
budgets: [{metric: size.bytes, max: %s}]
"""


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A gated project of the model `net` in the folder `a`, on a branch of its own."""
    (tmp_path / "a").mkdir()
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    (tmp_path / "a/params.yaml").write_text(PROJECT % ("net", "1kB"))
    (tmp_path / "a/dvc.yaml").write_text("stages: {judge: {cmd: weighbridge stage judge}}\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "switch", "--quiet", "--create", "change")
    return tmp_path


def test_a_project_that_moves_keeps_its_base(named: Path) -> None:
    """The policy goes by the model's name."""
    git(named, "mv", "a", "b")
    (named / "b/params.yaml").write_text(PROJECT % ("net", "9kB"))
    git(named, "commit", "--quiet", "--all", "--message", "move")
    base = merge_base(named / "b", "main")
    assert base.text == PROJECT % ("net", "1kB")
    assert [change.kind for change in base.changes] == ["project moved"]


def test_a_model_that_is_renamed_keeps_its_base(named: Path) -> None:
    """The folder says what it was, and the new name is a change of policy."""
    (named / "a/params.yaml").write_text(PROJECT % ("other", "9kB"))
    base = merge_base(named / "a", "main")
    assert base.text == PROJECT % ("net", "1kB")
    assert [(change.kind, change.base, change.head) for change in base.changes] == [("model renamed", "net", "other")]
