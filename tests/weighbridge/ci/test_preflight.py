"""What would fail in CI, found before pushing; DVC is a stand-in that says what the test wants."""

import datetime as dt
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weighbridge.ci.preflight import preflight
from weighbridge.core.git import Git

PARAMS = """\
model: {name: m, factory: "a:b"}
data: {factory: "c:d"}
recipes:
  int8: {steps: [{quantize: {scheme: static-int8}}]}
budgets:
  - {metric: size.bytes, max: 10kB}
"""
TODAY = dt.date(2026, 11, 23)
CALM = {"device": ["always changed"]}


@pytest.fixture
def git(tmp_path: Path) -> Git:
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", origin], check=True)
    made = Git(tmp_path / "work")
    subprocess.run(["git", "clone", "--quiet", origin, made.root], check=True, capture_output=True)
    made.run("switch", "--quiet", "--create", "main") if made.branch() != "main" else None
    made.run("config", "user.name", "test")
    made.run("config", "user.email", "test@example.invalid")
    (made.root / "params.yaml").write_text(PARAMS)
    (made.root / "dvc.yaml").write_text("stages: {judge: {cmd: weighbridge stage judge}}\n")
    (made.root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (made.root / ".dvc").mkdir()
    (made.root / ".dvc/config").write_text("[core]\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n")
    made.run("add", "--all")
    made.run("commit", "--quiet", "--message", "first")
    made.run("push", "--quiet", "--set-upstream", "origin", "main")
    return made


@pytest.fixture
def dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What `dvc status` and `dvc status --cloud` say."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def says(local: dict[str, Any] = CALM, cloud: Any = None, code: int = 0) -> None:
        (folder / "local.json").write_text(json.dumps(local))
        (folder / "cloud.json").write_text(json.dumps(cloud or {}))
        script = folder / "dvc"
        script.write_text(f'#!/bin/sh\ncase "$*" in *--cloud*) cat {folder}/cloud.json; echo broken >&2; exit {code};; '
                          f"*) cat {folder}/local.json;; esac\n")  # fmt: skip
        script.chmod(0o755)

    says()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return says


def problems(git: Git, base: str | None = None) -> dict[str, Any]:
    return {check.name: check.problem for check in preflight(git, base, TODAY) if check.problem}


def test_nothing_is_wrong_with_what_is_in_order(git: Git, dvc: Callable[..., None]) -> None:
    """All is well: `device` always counts as changed, and is meant to."""
    assert problems(git) == {}


def test_each_problem_is_found_and_says_what_to_do(git: Git, dvc: Callable[..., None]) -> None:
    """All of them, not just the first."""
    (git.root / "dvc.yaml").write_text("stages: {}\n")
    (git.root / ".dvc/config").write_text("")
    found = problems(git)
    assert set(found) == {"remote", "committed"}
    assert found["committed"] == "dvc.yaml not committed"


def test_the_lock_file_is_not_the_authors(git: Git, dvc: Callable[..., None]) -> None:
    """One that was not run again is no problem, one that the branch brings along is."""
    dvc({**CALM, "compress@int8": [{"changed deps": {"a": "modified"}}]})
    (git.root / "dvc.lock").write_text("schema: '2.0'\nstages: {x: {}}\n")
    assert problems(git) == {}
    git.run("commit", "--quiet", "--all", "--message", "my own lock")
    before = git.merge_base("origin/main")[:12]
    assert problems(git)["lock file"].endswith(f"CI writes it after the merge: `git checkout {before} -- dvc.lock`")


def test_a_loosened_budget_needs_a_waiver_here_too(git: Git, dvc: Callable[..., None]) -> None:
    """The same question that CI will ask, with the same answer once a waiver is there."""
    git.run("switch", "--quiet", "--create", "feature")
    (git.root / "params.yaml").write_text(PARAMS.replace("10kB", "20kB"))
    git.run("commit", "--quiet", "--all", "--message", "more")
    assert "loosened" in problems(git)["policy"]
    waiver = git.root / "waivers/a.yaml"
    waiver.parent.mkdir()
    text = "budget: size.bytes\npolicy: true\nto: 20kB\nwho: a\nwhy: b\nexpires: 2026-11-23\n"
    waiver.write_text(text.replace("20kB", "30kB"))
    assert "with `to: 20kB`" in problems(git)["policy"]
    waiver.write_text(text)
    assert "policy" not in problems(git)
    waiver.write_text(waiver.read_text().replace("2026-11-23", "2026-11-22"))
    assert "expired" in problems(git)["policy"]


def test_a_recipe_that_cannot_run_is_found(git: Git, dvc: Callable[..., None]) -> None:
    """Also the steps, which params.yaml alone does not check."""
    (git.root / "params.yaml").write_text(PARAMS.replace("static-int8", "static-int9"))
    assert "static-int9" in problems(git)["recipes"]
    (git.root / "params.yaml").write_text("model: {}\n")
    assert {"params.yaml", "recipes", "policy"} <= set(problems(git))


def test_a_recipe_without_the_target_that_dvc_follows_is_found(git: Git, dvc: Callable[..., None]) -> None:
    """The default is the program's; DVC knows none."""
    (git.root / "params.yaml").write_text(PARAMS.replace("target: onnxruntime", "advisory: false"))
    assert "recipes" not in problems(git)
    (git.root / "dvc.yaml").write_text("stages: {compress: {params: ['recipes.${key}.target']}}\n")
    assert "names no target, which dvc.yaml follows: add `target: onnxruntime`" in problems(git)["recipes"]


def test_a_remote_that_is_missing_or_does_not_answer_is_a_problem(git: Git, dvc: Callable[..., None]) -> None:
    """Not knowing whether the bytes are there is not the same as their being there."""
    dvc(code=1)
    assert "broken" in problems(git)["remote"]
    (git.root / ".dvc/config").write_text("")
    assert "no DVC remote" in problems(git)["remote"]


def test_a_shallow_clone_is_a_problem(git: Git, dvc: Callable[..., None], tmp_path: Path) -> None:
    """And so is a base that is missing."""
    (git.root / "a").write_text("1")
    git.run("add", "a")
    git.run("commit", "--quiet", "--message", "second")
    git.run("push", "--quiet")
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", f"file://{tmp_path}/origin.git", tmp_path / "shallow"], check=True
    )
    assert "shallow" in problems(Git(tmp_path / "shallow"))["history"]
    assert "not in this clone" in problems(git, "gone")["history"]
