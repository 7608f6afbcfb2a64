"""What a change changes: the merge base, the paths that differ from it, and which pipelines those paths feed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import read_bytes
from weighbridge.core.git import Git
from weighbridge.core.strict_yaml import parse_yaml

PARAMS = "params.yaml"
PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"
WAIVERS = "waivers"
_DEEPER = "fetch the whole history: `fetch-depth: 0` in actions/checkout, or `git fetch --unshallow`"
# Besides what the lock file names: the pipeline itself, its policy, and what decides which libraries run it.
_ALWAYS = (PARAMS, PIPELINE, LOCK, WAIVERS, ".dvc", "requirements*.txt", "constraints*.txt", "pyproject.toml")


@dataclass(frozen=True)
class Base:
    """What a change is compared with."""

    commit: str | None
    """The merge base; None where there is nothing to compare with, so that everything counts as changed."""
    changed: tuple[str, ...]
    """Paths that differ from it, relative to the repository's top."""


def find_base(git: Git, revision: str | None) -> Base:
    """The merge base of HEAD and `revision`; where that is None there is nothing to compare with.

    A shallow clone, an unknown revision or histories without a common commit are a `StateError`: a wrong base
    would compare with somebody else's policy.
    """
    if git.run("rev-parse", "--is-shallow-repository") == "true":
        raise StateError("the clone is shallow, so the merge base is not known", where=str(git.root), fix=_DEEPER)
    if revision is None:
        return Base(None, ())
    commit = merge_base(git, revision)
    names = _paths(git, "diff", "--name-only", "--no-renames", "-z", commit, "HEAD")
    return Base(commit, tuple(names))


def merge_base(git: Git, revision: str) -> str:
    """The newest commit that HEAD and `revision` share."""
    if revision.startswith("-") or git.attempt("rev-parse", "--verify", f"{revision}^{{commit}}").returncode != 0:
        raise StateError(f"the base {revision!r} is not in this clone", where=str(git.root), fix=_DEEPER)
    done = git.attempt("merge-base", "HEAD", revision)
    if done.returncode != 0:
        raise StateError(f"HEAD and {revision!r} have no commit in common", where=str(git.root), fix=_DEEPER)
    return done.stdout.strip()


def default_base(git: Git) -> str:
    """The remote's default branch, for a person who names no base."""
    done = git.attempt("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
    if done.returncode == 0:
        return done.stdout.strip().removeprefix("refs/remotes/")
    for branch in ("origin/main", "origin/master"):
        if git.attempt("rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}").returncode == 0:
            return branch
    raise StateError("the remote's default branch is not known", where=str(git.root), fix="name it with --base")


def projects(git: Git) -> list[str]:
    """Folders with a Weighbridge pipeline, relative to the repository's top (`.` for the top itself), sorted."""
    tracked = set(_paths(git, "ls-files", "-z", "--full-name", "--", ":/"))
    found = []
    for path in sorted(tracked):
        folder = PurePosixPath(path).parent
        if PurePosixPath(path).name == PARAMS and str(folder / PIPELINE) in tracked:
            pipeline = git.root / folder / PIPELINE
            if pipeline.is_file() and "weighbridge stage" in read_bytes(pipeline).decode(errors="replace"):
                found.append(str(folder))
    return sorted(found)


def touched(changed: Iterable[str], folder: str, dependencies: Iterable[str]) -> list[str]:
    """Which of the changed paths can change what the project in `folder` builds, weighs or demands.

    `dependencies` are the pipeline's, relative to `folder`, files or folders. Pure.
    """
    home = PurePosixPath(folder)
    patterns = [_joined(home, name) for name in (*_ALWAYS, *dependencies)]
    # What decides about libraries and DVC's settings may also lie at the repository's top.
    patterns += [PurePosixPath(name) for name in _ALWAYS if name not in (PARAMS, PIPELINE, LOCK, WAIVERS)]
    return [path for path in changed if any(_under(PurePosixPath(path), pattern) for pattern in patterns)]


def dependencies(lock_text: str | None, where: str) -> list[str] | None:
    """Paths that the stages of a lock file depend on or make; None where there is no lock file."""
    if lock_text is None:
        return None
    content = parse_yaml(lock_text, where)
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise InputError("holds no stages", where=where, fix="run `dvc repro` and commit it")
    return sorted({path for stage in stages.values() for path in _stage_paths(stage)})


def _stage_paths(stage: Any) -> list[str]:
    entries = [
        entry for kind in ("deps", "outs") for entry in (stage.get(kind) or [] if isinstance(stage, dict) else [])
    ]
    return [entry["path"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("path"), str)]


def _joined(home: PurePosixPath, name: str) -> PurePosixPath:
    parts: list[str] = []
    for part in (home / name).parts:
        if part == ".." and parts:
            parts.pop()
        elif part != "..":
            parts.append(part)
    return PurePosixPath(*parts)


def _under(path: PurePosixPath, pattern: PurePosixPath) -> bool:
    if len(path.parts) < len(pattern.parts):
        return False
    head = PurePosixPath(*path.parts[: len(pattern.parts)])
    return head == pattern or (head.parent == pattern.parent and head.match(pattern.name))


def _paths(git: Git, *command: str) -> list[str]:
    return [name for name in git.run(*command).split("\0") if name]


def relative(git: Git, root: Path) -> str:
    """A project's folder, relative to the repository's top."""
    return PurePosixPath(root.resolve().relative_to(git.root.resolve())).as_posix()
