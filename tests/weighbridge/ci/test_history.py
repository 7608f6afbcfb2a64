"""The merge base, and which folders have a pipeline."""

import subprocess
from pathlib import Path

import pytest

from weighbridge.ci import history
from weighbridge.core.errors import StateError
from weighbridge.core.git import Git


@pytest.fixture
def git(tmp_path: Path) -> Git:
    made = Git(tmp_path / "repo")
    made.root.mkdir()
    made.run("init", "--quiet", "--initial-branch=main")
    made.run("config", "user.name", "test")
    made.run("config", "user.email", "test@example.invalid")
    write(made, "params.yaml", "one")
    write(made, "dvc.yaml", "stages: {judge: {cmd: weighbridge stage judge}}")
    return made


def write(git: Git, name: str, text: str) -> None:
    path = git.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    git.run("add", "--all")
    git.run("commit", "--quiet", "--message", name)


def test_the_base_is_where_the_branch_left_not_the_tip_of_main(git: Git) -> None:
    """Main has moved on; what is compared with is the commit that both share."""
    start = git.head()
    git.run("switch", "--quiet", "--create", "feature")
    write(git, "docs/a.md", "x")
    git.run("switch", "--quiet", "main")
    write(git, "params.yaml", "loosened on main")
    git.run("switch", "--quiet", "feature")
    base = history.find_base(git, "main")
    assert base == history.Base(start)


def test_no_revision_means_nothing_to_compare_with(git: Git) -> None:
    """What was never promoted has no base: everything counts as changed."""
    assert history.find_base(git, None).commit is None


def test_a_shallow_clone_is_one_clear_error(git: Git, tmp_path: Path) -> None:
    """A base that cannot be known is never guessed; the error says how to get the history."""
    write(git, "a", "1")
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{git.root}", tmp_path / "shallow"], check=True)
    with pytest.raises(StateError, match="fetch-depth: 0"):
        history.find_base(Git(tmp_path / "shallow"), "origin/main")


@pytest.mark.parametrize("revision", ["gone", "-rf", "origin/main"])
def test_a_base_that_is_not_there_is_one_error(git: Git, revision: str) -> None:
    """Also one that looks like an option."""
    with pytest.raises(StateError, match="not in this clone"):
        history.find_base(git, revision)


def test_unrelated_histories_have_no_base(git: Git) -> None:
    """Nothing in common is an error, not an empty comparison."""
    git.run("switch", "--quiet", "--orphan", "other")
    write(git, "b", "1")
    with pytest.raises(StateError, match="in common"):
        history.find_base(git, "main")


def test_the_default_base_is_the_remotes_default_branch(git: Git, tmp_path: Path) -> None:
    """A person needs no option; without a remote the error names the option."""
    with pytest.raises(StateError, match="--base"):
        history.default_base(git)
    subprocess.run(["git", "clone", "--quiet", git.root, tmp_path / "clone"], check=True)
    assert history.default_base(Git(tmp_path / "clone")) == "origin/main"


def test_pipelines_are_found_wherever_they_lie(git: Git) -> None:
    """The top, a folder, and not somebody else's dvc.yaml or params.yaml."""
    write(git, "models/a/params.yaml", "x")
    write(git, "models/a/dvc.yaml", "stages: {prepare: {cmd: weighbridge stage prepare}}")
    write(git, "other/params.yaml", "x")
    write(git, "other/dvc.yaml", "stages: {a: {cmd: python a.py}}")
    write(git, "lonely/params.yaml", "x")
    assert history.projects(git) == [".", "models/a"]
