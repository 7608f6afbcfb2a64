"""Budgets that stand elsewhere than in a project's common list: of one recipe, or in a file that projects share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from weighbridge.core.documents.base import Written, parse
from weighbridge.core.documents.budgets import Budget, BudgetFile
from weighbridge.core.errors import InputError
from weighbridge.core.files import read_bytes, read_yaml
from weighbridge.core.project import without_anchors
from weighbridge.core.strict_yaml import parse_yaml

SHARED = re.compile(r"\bfrom[\"']?\s*:")
"""Without this nothing in a params file is taken from elsewhere, so that it need not be parsed to know."""


class SharedBudgets(Written):
    """`budgets:` of a project that takes those of a file which several projects share."""

    source: str = Field(alias="from")
    """Path of a `BudgetFile`, relative to the project's folder, within the repository."""
    override: list[Budget] = []
    """Budgets of this project: each takes the place of a shared one on the same metric, rule and reference, or is
    added."""


def overridden(common: Sequence[Budget], own: Sequence[Budget]) -> list[Budget]:
    """The common budgets, each replaced by the one of `own` on the same metric, rule and reference; others are added.

    One that names a device replaces those for that device alone.
    """
    kept = [budget for budget in common if not any(_replaces(other, budget) for other in own)]
    return [*kept, *own]


def _replaces(own: Budget, common: Budget) -> bool:
    return budget_key(own) == budget_key(common) and own.device in (None, common.device)


def budget_key(budget: Budget) -> tuple[str, str, str | None]:
    """What a budget is about: metric, rule, and the reference of a relative one."""
    return budget.metric, budget.rule.name, budget.against if budget.relative else None


def with_shared(content: Any, read: Callable[[str], str], where: str) -> Any:
    """The content of a params file with the budgets that it takes from elsewhere in their place.

    `read` gives the text of a path relative to the project. Raises `InputError` that names the file at fault.
    """
    if not isinstance(content, dict) or not isinstance(content.get("budgets"), dict):
        return content
    named = parse(SharedBudgets, content["budgets"], f"{where}: budgets")
    shared = parse(BudgetFile, parse_yaml(read(named.source), named.source), named.source)
    budgets = overridden(shared.budgets, named.override)
    return {**content, "budgets": [budget.model_dump(mode="json", exclude_unset=True) for budget in budgets]}


def shared_text(path: Path, name: str) -> str:
    """The shared budgets that the params file `path` names; an `InputError` where that is no file of the repository."""
    home = path.parent.resolve()
    top = next((folder for folder in (home, *home.parents) if (folder / ".git").exists()), None)
    file = (home / name).resolve()
    if not file.is_file():
        raise InputError("file not found", where=f"{path}: budgets.from", fix=f"a path from {path.parent}")
    if top is not None and not file.is_relative_to(top):
        raise InputError("lies outside of the repository", where=f"{path}: budgets.from", fix="keep it in Git")
    return read_bytes(file).decode("utf-8", errors="replace")


def content_of(path: Path) -> Any:
    """The plain values of a params file, with shared budgets in their place.

    Keys that start with `x-` at top level (YAML anchors) are left out.
    """
    content = read_yaml(path)
    if isinstance(content, dict):
        content = without_anchors(content)
    return with_shared(content, lambda name: shared_text(path, name), str(path))
