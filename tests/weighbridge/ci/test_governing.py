"""Which files govern a project from beside its pipeline: one table for all who ask."""

from pathlib import Path

import pytest

from weighbridge.ci.committed_content import Contents
from weighbridge.ci.edited_gate import edited_gate
from weighbridge.ci.github import ChangedFile
from weighbridge.ci.governing import governing
from weighbridge.core.git import Git
from weighbridge.core.git_tree import Tree
from weighbridge.gate.stages.sides import CommittedSide, WorkingSide, library_files, workflows

from . import repositories as made
from .repositories import commit, write

FILES = [
    *(
        "models/requirements-gate.in",
        "constraints-weighbridge-promote.txt",
        "constraints.in",
        "setup.py",
        "pixi.lock",
        "pylock.toml",
        "environment-dev.yml",
    ),
    *(".circleci/config.yml", "azure-pipelines.yml", ".gitlab/gate.yml", "action.yaml", ".github/actions/a/action.yml"),
    "requirements.txt",
]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return made.make(tmp_path / "repo")


@pytest.mark.parametrize("path", FILES)
def test_what_has_a_project_weighed_is_what_its_verdict_rests_on(git: Git, path: str) -> None:
    """Whether a change touches it, what the verdict compares, and what the bot calls the gate's own files agree."""
    write(git.root, path, "weighbridge==1\n")
    commit(git)
    tree = Tree(git, "HEAD")
    assert path in governing(Contents(tree), "models/net")
    for side in (CommittedSide(tree, "models/net"), WorkingSide(git.root, "models/net")):
        assert path in [*library_files(side), *workflows(side)]
    assert edited_gate([ChangedFile(path, None, None)]) == [path]


@pytest.mark.parametrize("path", ["docs/setup.py", ".github/workflows/docs.yml", "models/other/requirements.txt"])
def test_what_lies_elsewhere_or_runs_no_gate_does_not_govern(git: Git, path: str) -> None:
    """Another project's libraries, a workflow that does not name this program."""
    write(git.root, path, "on: push\n")
    commit(git)
    tree = Tree(git, "HEAD")
    assert path not in governing(Contents(tree), "models/net")
    for side in (CommittedSide(tree, "models/net"), WorkingSide(git.root, "models/net")):
        assert path not in [*library_files(side), *workflows(side)]
