"""The merge base's budgets, from a real repository."""

import subprocess

import pytest

from weighbridge.core.errors import StateError
from weighbridge.gate.stages.merge_base import merge_base


def git(root, *arguments):
    """Run git with an identity of its own."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
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


def test_the_merge_base_is_compared_with_not_the_tip(repository):
    """Main went on since: the change is compared with where it left."""
    base = merge_base(repository, "main")
    assert base.text == "first"
    assert len(base.revision) == 12


def test_a_base_without_params_has_no_text(repository):
    """A project that is new in this change."""
    other = repository.parent / "other"
    other.mkdir()
    assert merge_base(other, "main").text is None


@pytest.mark.parametrize("revision", ["nowhere", "--all"])
def test_an_unknown_revision_is_one_clear_error(repository, revision):
    """A misspelt branch never reads as a base without budgets."""
    with pytest.raises(StateError):
        merge_base(repository, revision)


def test_no_repository_is_one_clear_error(tmp_path):
    """Outside Git there is no merge base."""
    with pytest.raises(StateError):
        merge_base(tmp_path, "main")
