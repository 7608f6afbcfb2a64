"""Whether what the gate passed at one commit still holds on a branch that has moved on since."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from weighbridge.ci.committed_content import Contents
from weighbridge.ci.committed_pipeline import Side
from weighbridge.ci.touch import differences
from weighbridge.core.errors import StateError
from weighbridge.core.git import Git
from weighbridge.core.git_tree import Tree
from weighbridge.core.project import LOCK, PARAMS
from weighbridge.registry.state.layout import MODELS, home


def catch_up(git: Git, branch: str) -> str:
    """Bring the local branch to the remote's tip; that commit.

    Raises `StateError` where the remote cannot be asked, or where the local branch has commits that it does not have:
    either they were not pushed, or the remote was rewound.
    """
    tracking = f"refs/remotes/origin/{branch}"
    done = git.attempt("fetch", "--quiet", "--no-tags", "origin", f"+refs/heads/{branch}:{tracking}")
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[0]
        raise StateError(f"cannot fetch {branch}: {said}", where="origin")
    tip, head = git.run("rev-parse", "--verify", tracking), git.head()
    if tip == head:
        return tip
    if not git.is_ancestor(head, tip):
        raise StateError(
            f"does not have {head[:12]}, the commit that this clone is on: it was not pushed, or {branch} was rewound",
            where=f"origin/{branch}",
            fix="push it, or check out what the remote has; nothing is promoted on a history that was rewritten",
        )
    git.run("merge", "--quiet", "--ff-only", tip)
    return tip


def outdated(git: Git, gated: str, tip: str, project: str) -> str | None:
    """Why evidence for the commit `gated` is not about a project at `tip`; None where it does.

    Commits of the registry, lock files of other projects, and whatever the project neither builds from nor is judged
    by leave it as it is.
    """
    if gated == tip:
        return None
    listing = git.run("diff", "--name-only", "--no-renames", "-z", gated, tip).split("\0")
    own = LOCK if project == "." else f"{project}/{LOCK}"
    registry = Path(os.path.relpath(home(git.root / project) / MODELS, git.root.resolve())).as_posix()
    if not [path for path in listing if path and not _of_no_concern(path, own, registry)]:
        return None
    before, after = (Side(Contents(Tree(git, commit)), project) for commit in (gated, tip))
    if after.document(PARAMS) is None:
        return f"{project} is gone"
    return next(iter(differences(before, after)), None)


def _of_no_concern(path: str, own_lock: str, registry: str) -> bool:
    others_lock = PurePosixPath(path).name == LOCK and path != own_lock
    return others_lock or path.startswith(f"{registry}/")
