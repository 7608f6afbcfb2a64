"""What would fail in CI, found before pushing: one list of checks, one exit code, nothing changed."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from weighbridge.ci import history
from weighbridge.ci.declared import missing
from weighbridge.ci.scaffold_source import SOURCE
from weighbridge.ci.upgrade import changes
from weighbridge.core.documents import Params
from weighbridge.core.errors import StateError, WeighbridgeError
from weighbridge.core.facts.targets import DEFAULT_TARGET
from weighbridge.core.files import read_yaml
from weighbridge.core.git import Git
from weighbridge.core.project import LOCK, PARAMS, PIPELINE
from weighbridge.gate.stages.merge_base import base_at
from weighbridge.gate.verdict.policy import Policy, policy_changes
from weighbridge.gate.verdict.waivers import Terms, read_waivers
from weighbridge.gate.verdict.waiving import waive_changes
from weighbridge.registry.lookup.location import has_remote


@dataclass(frozen=True)
class Check:
    """One thing that CI needs."""

    name: str
    problem: str | None
    """What is wrong and what to do; None where all is well."""


def preflight(git: Git, base: str | None, today: dt.date) -> list[Check]:
    """All checks of all projects; every problem is found, not just the first."""
    checks = [_check("history", partial(_history, git, base))]
    for project in history.projects(git) or ["."]:
        root = git.root / project
        bodies: dict[str, Callable[[], str | None]] = {
            PARAMS: partial(_params, root),
            "recipes": partial(_recipes, root),
            "dependencies": partial(_dependencies, root),
            "lock file": partial(_lock, git, project, base),
            "files of init": partial(_upgradable, root),
            "committed": partial(_committed, git, project),
            "remote": partial(_remote, git, root),
            "policy": partial(_policy, git, project, base, today),
        }
        prefix = "" if project == "." else f"{project}: "
        checks += [_check(f"{prefix}{name}", body) for name, body in bodies.items()]
    return checks


def _check(name: str, body: Callable[[], str | None]) -> Check:
    try:
        return Check(name, body())
    except WeighbridgeError as error:
        return Check(name, str(error))


def _history(git: Git, base: str | None) -> str | None:
    history.find_base(git, base or history.default_base(git))
    return None


def _upgradable(root: Path) -> str | None:
    found = changes(root, SOURCE)
    names = ", ".join(change.path.name for change in found)
    return f"{names} as an earlier `weighbridge init` wrote them: run `weighbridge init --upgrade`" if found else None


def _params(root: Path) -> str | None:
    Params.read(root / PARAMS)
    return None


def _recipes(root: Path) -> str | None:
    """Every recipe is one that can run; needs the compress room, and says so where that is not installed."""
    try:
        from weighbridge.compress.recipe.recipe import read_recipe  # noqa: PLC0415  # torch, which this machine may not have
    except ModuleNotFoundError as error:
        return f"cannot be checked: {error.name} is not installed (pip install 'weighbridge[compress]')"
    params = Params.read(root / PARAMS)
    for name in params.recipes:
        read_recipe(params, name)
    return _without_target(root)


def _without_target(root: Path) -> str | None:
    """A recipe that leaves its target to the default, where DVC follows `target` by name and would not start."""
    pipeline = root / PIPELINE
    if not pipeline.is_file() or ".target" not in pipeline.read_text(encoding="utf-8", errors="replace"):
        return None
    recipes = read_yaml(root / PARAMS)["recipes"]
    bare = next((name for name, section in recipes.items() if "target" not in section), None)
    return (
        None
        if bare is None
        else f"recipes.{bare} names no target, which {PIPELINE} follows: add `target: {DEFAULT_TARGET}`"
    )


def _dependencies(root: Path) -> str | None:
    """Every file that a stage imports is a dependency of it: DVC would not notice that it changes."""
    if not (root / PIPELINE).is_file():
        return None
    found = missing(root)
    if not found:
        return None
    first = found[0]
    return f"{first.by} uses {first.path}, no dependency of the stage {first.stage}: `weighbridge deps --write` adds it"


def _lock(git: Git, project: str, base: str | None) -> str | None:
    """CI alone writes `dvc.lock`, after the merge: one that a branch brings is in conflict with the next one."""
    path = LOCK if project == "." else f"{project}/{LOCK}"
    commit = git.merge_base(base or history.default_base(git))
    before = git.blob(commit, path)
    if before is None or git.blob("HEAD", path) == before:
        return None
    return f"differs from {commit[:12]}, and CI writes it after the merge: `git checkout {commit[:12]} -- {path}`"


def _committed(git: Git, project: str) -> str | None:
    names = (PARAMS, PIPELINE)
    paths = [name if project == "." else f"{project}/{name}" for name in names]
    edited = git.dirty(*[f":/{path}" for path in paths])
    return f"{', '.join(edited)} not committed" if edited else None


def _remote(git: Git, root: Path) -> str | None:
    if not has_remote(git.root):
        return "there is no DVC remote: CI builds everything again, and nothing can be promoted (dvc remote add)"
    done = _dvc(root, "status", "--cloud", "--json", PIPELINE)
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        return f"the DVC remote did not answer: {said}"
    return None


def _policy(git: Git, project: str, base: str | None, today: dt.date) -> str | None:
    path = PARAMS if project == "." else f"{project}/{PARAMS}"
    root = git.root / project
    commit = git.merge_base(base or history.default_base(git))
    waivers = read_waivers(root)
    expired = [filed.file for filed in waivers if filed.waiver.expires < today]
    if expired:
        return f"{expired[0]} has expired: renew it or delete it"
    before = base_at(git, commit, project)
    if before.text is None:
        return None
    policy = Policy.parse(before.text, f"{path} at {commit[:12]}")
    found = policy_changes(policy, Policy.of(Params.read(root / PARAMS)))
    for change in waive_changes(found, waivers, today, Terms(policy.rules.waiver_days, before.waivers)):
        if change.blocks:
            return (
                f"{change.budget}: {change.kind}, from {change.base} to {change.head}: "
                f"it needs a waiver in waivers/ with `to: {change.accepts}`"
            )
    return None


def _dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["dvc", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StateError("dvc not found", fix="pip install 'weighbridge[pipeline]'") from error
