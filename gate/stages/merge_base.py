"""What a change is compared with: `params.yaml` and waivers in the merge base with a revision."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from weighbridge.core.documents import Params, PolicyChange
from weighbridge.core.documents.shared_budgets import SHARED, with_shared
from weighbridge.core.errors import InputError
from weighbridge.core.files import dump_yaml
from weighbridge.core.git import Git
from weighbridge.core.git_tree import Tree, joined
from weighbridge.core.project import PARAMS
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.gate.stages.identity import before
from weighbridge.gate.stages.sides import CommittedSide
from weighbridge.gate.stages.summary import Base
from weighbridge.gate.verdict.waivers import FOLDER, identity_in


def merge_base(root: Path, revision: str) -> Base:
    """The merge base of HEAD and a revision, with what the project was there.

    Raises `StateError` where there is no repository, no such revision, or no common history (a shallow clone).
    """
    git = Git.discover(root)
    commit = git.merge_base(revision)
    project = root.resolve().relative_to(git.root.resolve()).as_posix()
    found = before(Tree(git, commit), project, _model(root))
    return base_at(git, commit, found.folder or project, found.changes)


def _model(root: Path) -> str:
    """The name that a project's model has now; empty where `params.yaml` cannot be read, which judging it says."""
    try:
        return Params.read(root / PARAMS).model.name
    except InputError:
        return ""


def base_at(git: Git, commit: str, project: str, changes: tuple[PolicyChange, ...] = ()) -> Base:
    """What the project in a folder (relative to the repository's top) was at a commit.

    `changes` are policy changes that the caller found besides.
    """
    home = PurePosixPath(project)
    names = git.run("ls-tree", "-z", "--name-only", "--full-tree", commit, f"{(home / FOLDER).as_posix()}/").split("\0")
    texts = {name: git.show(commit, name) for name in names if name.endswith((".yaml", ".yml"))}
    waivers = {identity_in(text, name) for name, text in texts.items() if text is not None}
    text = _whole(git, commit, home)
    known = frozenset(identity for identity in waivers if identity is not None)
    return Base(commit[:12], text, changes, known, CommittedSide(Tree(git, commit), project))


def _whole(git: Git, commit: str, home: PurePosixPath) -> str | None:
    """`params.yaml` as it stands in a commit, with the budgets that it takes from a shared file in their place."""
    path = (home / PARAMS).as_posix()
    text = git.show(commit, path)
    if text is None or SHARED.search(text) is None:
        return text
    where = f"{path} at {commit[:12]}"
    content = parse_yaml(text, where)

    def read(name: str) -> str:
        shared = joined(home.as_posix(), name)
        found = None if shared is None else git.show(commit, shared)
        if found is None:
            raise InputError(f"{name} not found in the repository", where=f"{where}: budgets.from")
        return found

    whole = with_shared(content, read, where)
    return text if whole is content else dump_yaml(whole)
