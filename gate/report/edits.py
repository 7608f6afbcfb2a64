"""What changed in `params.yaml` between the merge base and here: settings value by value, steps as steps."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "not there"
_IN_ORDER = 2
"""Values of a step that its name says enough of: `prune(magnitude, 0.95, …)`."""


@dataclass(frozen=True)
class Edit:
    """One value of `params.yaml` that differs from the merge base."""

    key: str
    base: str
    head: str


@dataclass(frozen=True)
class Edits:
    """Everything that differs."""

    values: tuple[Edit, ...] = ()
    steps: Mapping[str, tuple[str, ...]] | None = None
    """By recipe: its steps, each with `+`, `-` or a space in front."""

    def __bool__(self) -> bool:
        return bool(self.values or self.steps)


def edits(base: Any, head: Any) -> Edits:
    """Every leaf that differs, by its path (`budgets[0].max`), sorted by path; steps of recipes as lists of steps."""
    before, after = dict(_leaves(base, "")), dict(_leaves(head, ""))
    values = tuple(
        Edit(key, before.get(key, ABSENT), after.get(key, ABSENT))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )
    old, new = _recipes(base), _recipes(head)
    names = [*old, *(name for name in new if name not in old)]
    steps = {name: lines for name in names if (lines := _diff(old.get(name, []), new.get(name, [])))}
    return Edits(values, steps)


def changed_recipes(base: Any, head: Any) -> frozenset[str]:
    """Recipes of `head` whose section differs from that of `base`, or that it does not have."""
    old, new = (content.get("recipes") if isinstance(content, dict) else None for content in (base, head))
    there = old if isinstance(old, dict) else {}
    return frozenset(name for name, section in (new or {}).items() if there.get(name) != section)


def step_text(step: Any) -> str:
    """A step as one reads it: `prune(magnitude, 0.95, finetune.epochs=2)`."""
    if not isinstance(step, dict) or len(step) != 1:
        return json.dumps(step, default=str)
    [(technique, settings)] = step.items()
    said = list(_leaves(settings, "")) if settings else []
    shown = [
        value if place < _IN_ORDER and "." not in key else f"{key}={value}" for place, (key, value) in enumerate(said)
    ]
    return f"{technique}({', '.join(shown)})"


def _recipes(content: Any) -> dict[str, list[str]]:
    """Recipe → its steps as text."""
    recipes = content.get("recipes") if isinstance(content, dict) else None
    found = recipes.items() if isinstance(recipes, dict) else ()
    return {
        str(name): [step_text(step) for step in section.get("steps") or []]
        for name, section in found
        if isinstance(section, dict) and isinstance(section.get("steps") or [], list)
    }


def _diff(old: list[str], new: list[str]) -> tuple[str, ...]:
    """All steps in order, what differs marked; empty where nothing does."""
    if old == new:
        return ()
    return tuple(line for line in difflib.ndiff(old, new) if not line.startswith("?"))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if not (key == "steps" and path.startswith("recipes.") and isinstance(item, list)):
                yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)
