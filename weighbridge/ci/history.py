"""What a change is compared with: the merge base; and which folders of a checkout have a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weighbridge.core.errors import StateError
from weighbridge.core.files import read_bytes
from weighbridge.core.git import Git
from weighbridge.core.project import COMMAND, PARAMS, PIPELINE


@dataclass(frozen=True)
class Base:
    """What a change is compared with."""

    commit: str | None
    """The merge base; None where there is nothing to compare with, so that everything counts as changed."""


def find_base(git: Git, revision: str | None) -> Base:
    """The merge base of HEAD and `revision`; where that is None there is nothing to compare with.

    A shallow clone, an unknown revision or histories without a common commit are a `StateError`: a wrong base
    would compare with somebody else's policy.
    """
    git.refuse_shallow()
    return Base(None if revision is None else git.merge_base(revision))


def default_base(git: Git) -> str:
    """The remote's default branch, for a person who names no base."""
    done = git.attempt("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
    if done.returncode == 0:
        return done.stdout.strip().removeprefix("refs/remotes/")
    for branch in ("origin/main", "origin/master"):
        if git.attempt("rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}").returncode == 0:
            return branch
    raise StateError("the remote's default branch is not known", where=str(git.root), fix="name it with --base")


def projects(git: Git, *, untracked: bool = False) -> list[str]:
    """Folders with a Weighbridge pipeline, relative to the repository's top (`.` for the top itself), sorted.

    With `untracked`, also those that are not committed yet.
    """
    more = ("--cached", "--others", "--exclude-standard") if untracked else ()
    tracked = set(_paths(git, "ls-files", "-z", *more, "--full-name", "--", ":/"))
    found = []
    for path in sorted(tracked):
        folder = PurePosixPath(path).parent
        if PurePosixPath(path).name == PARAMS and str(folder / PIPELINE) in tracked:
            pipeline = git.root / folder / PIPELINE
            if pipeline.is_file() and COMMAND.search(read_bytes(pipeline).decode(errors="replace")):
                found.append(str(folder))
    return sorted(found)


def _paths(git: Git, *command: str) -> list[str]:
    return [name for name in git.run(*command).split("\0") if name]


def relative(git: Git, root: Path) -> str:
    """A project's folder, relative to the repository's top."""
    return PurePosixPath(root.resolve().relative_to(git.root.resolve())).as_posix()
