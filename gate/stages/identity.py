"""Which project of the merge base a project is: by the name of its model, wherever its folder lies now.

Whoever moves a project, renames its model or splits it in two is judged by the limits that it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weighbridge.core.documents import PolicyChange
from weighbridge.core.errors import InputError
from weighbridge.core.git_tree import Tree
from weighbridge.core.project import COMMAND, PARAMS, PIPELINE
from weighbridge.core.strict_yaml import parse_yaml


@dataclass(frozen=True)
class Before:
    """What a project was in the merge base."""

    folder: str | None
    """Relative to the repository's top, `.` for the top; None where the merge base has no such project."""
    changes: tuple[PolicyChange, ...] = ()
    """What became of it since, as changes of policy."""


def projects(tree: Tree) -> dict[str, str]:
    """The gated projects of a commit: folder (`.` for the top) → name of the model; empty where params have none."""
    folders = [path.rpartition("/")[0] for path in tree.entries if path.rpartition("/")[2] == PIPELINE]
    paired = [folder for folder in folders if _in(folder, PARAMS) in tree.entries]
    tree.load(_in(folder, name) for folder in paired for name in (PIPELINE, PARAMS))
    return {
        folder or ".": model_of(tree, folder)
        for folder in sorted(paired)
        if COMMAND.search(_text(tree, _in(folder, PIPELINE)))
    }


def model_of(tree: Tree, folder: str) -> str:
    """The name of the model in a folder's `params.yaml`; empty where there is none to read."""
    path = _in("" if folder == "." else folder, PARAMS)
    return model_in(_text(tree, path), path)


def model_in(text: str, where: str) -> str:
    """The name of the model in the text of a `params.yaml`; empty where there is none to read."""
    try:
        content = parse_yaml(text, where)
    except InputError:
        return ""
    model = content.get("model") if isinstance(content, dict) else None
    name = model.get("name") if isinstance(model, dict) else None
    return name if isinstance(name, str) else ""


def before(base: Tree, folder: str, model: str) -> Before:
    """What the project of a model, now in `folder`, was in the merge base: the one with its name, or else the one in
    its folder, whose name is another one now.
    """
    known = projects(base)
    same = [place for place, name in known.items() if name == model]
    if folder in same:
        return Before(folder)
    if same:
        moved = PolicyChange(kind="project moved", budget=f"project {model}", base=same[0], head=folder)
        return Before(same[0], (moved,))
    if known.get(folder) and model:
        renamed = PolicyChange(kind="model renamed", budget=f"model {known[folder]}", base=known[folder], head=model)
        return Before(folder, (renamed,))
    return Before(None)


def gone(base: Mapping[str, str], head: Mapping[str, str]) -> dict[str, PolicyChange]:
    """Projects of the merge base that are gated no more → that as a change of policy.

    One whose folder is still a project has been renamed, which `before` says.
    """
    return {
        folder: PolicyChange(kind="project gone", budget=f"project {name}", base=folder, head="not gated")
        for folder, name in base.items()
        if name and name not in head.values() and folder not in head
    }


def refuse_twins(head: Mapping[str, str]) -> None:
    """Two projects with one model's name are an `InputError`: neither is the whole of what the limits are about."""
    seen: dict[str, str] = {}
    for folder, name in head.items():
        other = seen.setdefault(name, folder) if name else folder
        if other != folder:
            raise InputError(
                f"the project in {other} already uses the model name {name!r}",
                where=f"{_in('' if folder == '.' else folder, PARAMS)}: model.name",
                fix="give each model one project and a name of its own",
            )


def _text(tree: Tree, path: str) -> str:
    real = tree.follow(path)
    return (tree.text(real) or "") if real is not None else ""


def _in(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
