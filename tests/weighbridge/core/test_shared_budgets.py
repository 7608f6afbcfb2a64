"""Budgets in one file for all models of a repository: read with overrides, here and in the merge base."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from weighbridge.core.documents import Params
from weighbridge.core.errors import InputError
from weighbridge.core.git import Git
from weighbridge.gate.stages.merge_base import base_at
from weighbridge.gate.verdict.policy import Policy, policy_changes

SHARED = "budgets:\n  - {metric: size.bytes, max: 200kB}\n  - {metric: accuracy.top1, max_drop: 0.01}\n"
PROJECT = {
    "model": {"name": "m", "factory": "a:b"},
    "data": {"factory": "a:c"},
    "recipes": {"half": {"steps": [{"quantize": {"scheme": "fp16"}}]}},
    "budgets": {"from": "../../budgets.yaml", "override": [{"metric": "size.bytes", "max": "300kB"}]},
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "models/a").mkdir(parents=True)
    (tmp_path / "budgets.yaml").write_text(SHARED)
    write(tmp_path, PROJECT)
    return tmp_path


def write(top: Path, content: dict[str, Any]) -> None:
    (top / "models/a/params.yaml").write_text(yaml.safe_dump(content))


def commit(top: Path) -> str:
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run([*run, "add", "--all"], cwd=top, check=True)
    subprocess.run([*run, "commit", "--quiet", "--message", "x"], cwd=top, check=True)
    return Git(top).head()


def test_a_project_takes_them_and_overrides_some(top: Path) -> None:
    """The path is seen from the project's folder."""
    found = Params.read(top / "models/a/params.yaml").budgets
    assert [(item.metric, item.limit) for item in found] == [("accuracy.top1", 0.01), ("size.bytes", 300_000)]


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ({"from": "../../gone.yaml"}, r"budgets\.from: file not found"),
        ({"from": "../../../outside.yaml"}, "outside of the repository"),
        ({"from": "../../budgets.yaml", "overide": []}, "did you mean 'override'"),
        ({"override": []}, "from"),
        ({"from": "../../budgets.yaml", "override": [{"metric": "size.byte", "max": 1}]}, r"override\[0\]"),
    ],
)
def test_what_cannot_be_taken_is_one_line_that_says_where(top: Path, budgets: dict[str, Any], words: str) -> None:
    """File and key."""
    (top.parent / "outside.yaml").write_text(SHARED)
    write(top, {**PROJECT, "budgets": budgets})
    with pytest.raises(InputError, match=words):
        Params.read(top / "models/a/params.yaml")


def test_a_fault_of_the_shared_file_names_that_file(top: Path) -> None:
    """Not the project that reads it."""
    (top / "budgets.yaml").write_text("budgets:\n  - {metric: size.byte, max: 200kB}\n")
    with pytest.raises(InputError, match=r"^\.\./\.\./budgets\.yaml: budgets\[0\]"):
        Params.read(top / "models/a/params.yaml")


def test_loosening_the_shared_file_is_a_change_of_policy_in_every_project(top: Path) -> None:
    """Although params.yaml stays as it is; moving budgets into the file is none."""
    commit_before = commit(top)
    (top / "budgets.yaml").write_text(SHARED.replace("0.01", "0.05"))
    base = base_at(Git(top), commit_before, "models/a")
    head = Policy.of(Params.read(top / "models/a/params.yaml"))
    (change,) = policy_changes(Policy.parse(base.text, "base"), head)
    assert (change.kind, change.budget, change.accepts) == (
        "loosened",
        "accuracy.top1 max_drop against baseline",
        "0.05",
    )
    inline = [{"metric": "accuracy.top1", "max_drop": 0.01}, {"metric": "size.bytes", "max": "300kB"}]
    write(top, {**PROJECT, "budgets": inline})
    assert policy_changes(Policy.parse(base.text, "base"), Policy.of(Params.read(top / "models/a/params.yaml"))) == []


def test_a_merge_base_that_lacks_the_file_is_refused(top: Path) -> None:
    """What was asked there is not known, and what is not known never passes."""
    (top / "budgets.yaml").unlink()
    at = commit(top)
    with pytest.raises(InputError, match="not found in the repository"):
        base_at(Git(top), at, "models/a")
