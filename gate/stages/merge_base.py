"""What the budgets of a change are compared with: `params.yaml` in the merge base with a revision."""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.git import Git
from weighbridge.gate.stages.inventory import PARAMS
from weighbridge.gate.stages.summary import Base


def merge_base(root: Path, revision: str) -> Base:
    """The merge base of HEAD and a revision, with the project's `params.yaml` there.

    Raises `StateError` where there is no repository, no such revision, or no common history (a shallow clone).
    """
    git = Git.discover(root)
    commit = git.run("merge-base", "--end-of-options", "HEAD", revision)
    path = (root.resolve() / PARAMS).relative_to(git.root.resolve()).as_posix()
    return Base(commit[:12], git.show(commit, path))
