"""Every fault of a `params.yaml` at once, each with its line; without torch, for the pre-commit hook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weighbridge.ci.annotations import line_of
from weighbridge.ci.known_techniques import check_steps
from weighbridge.core.documents import Params
from weighbridge.core.documents.shared_budgets import shared_text, with_shared
from weighbridge.core.documents.validation_faults import explain_all
from weighbridge.core.errors import InputError
from weighbridge.core.files import read_bytes
from weighbridge.core.project import without_anchors
from weighbridge.core.strict_yaml import parse_yaml


@dataclass(frozen=True)
class Fault:
    """One fault."""

    file: str
    line: int
    what: str

    def text(self) -> str:
        """As editors and terminals make a link of it: `file:line: what`."""
        return f"{self.file}:{self.line}: {self.what}"


def faults(path: Path) -> list[Fault]:
    """All faults of a file, by line; a file that is not YAML has one."""
    file = str(path)
    text = read_bytes(path).decode("utf-8", errors="replace")
    try:
        content = parse_yaml(text, file)
    except InputError as error:
        return [Fault(file, line_of(text), error.what)]
    if not isinstance(content, dict):
        return [Fault(file, 1, "is empty or not a mapping of keys to values")]
    found = [*_of_document(text, file, content), *_of_steps(text, file, content)]
    return sorted(dict.fromkeys(found), key=lambda fault: (fault.line, fault.what))


def _of_document(text: str, file: str, content: dict[str, Any]) -> Iterator[Fault]:
    try:
        whole = with_shared(without_anchors(content), lambda name: shared_text(Path(file), name), file)
    except InputError as error:
        yield Fault(file, line_of(text, "budgets"), str(error).removeprefix(f"{file}: "))
        whole = {
            **without_anchors(content),
            "budgets": [{"metric": "size.bytes", "max_ratio": 1.0}],
        }  # the rest counts too
    try:
        Params.model_validate(whole)
    except ValidationError as error:
        for keys, found in explain_all(error, Params, file):
            where = (found.where or "").removeprefix(f"{file}: ").removeprefix(file)
            fix = f" ({found.fix})" if found.fix else ""
            yield Fault(file, line_of(text, *keys), f"{where}: {found.what}{fix}".removeprefix(": "))


def _of_steps(text: str, file: str, content: dict[str, Any]) -> Iterator[Fault]:
    recipes = content.get("recipes")
    for name, recipe in recipes.items() if isinstance(recipes, dict) else ():
        steps = recipe.get("steps") if isinstance(recipe, dict) else None
        for wrong in check_steps(steps) if isinstance(steps, list) else ():
            path = ("recipes", str(name), "steps", *wrong.path)
            yield Fault(file, line_of(text, *path), f"{_keys(path)}: {wrong.what}")


def _keys(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
