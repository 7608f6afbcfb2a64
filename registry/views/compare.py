"""What differs between two versions, as rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.formatting import quantity, signed
from weighbridge.registry.lookup.resolve import resolve_all
from weighbridge.registry.state.layout import WorkTree, read_record

_OWN = ("version", "event", "at", "by", "schema_version", "model")
"""Fields that differ between any two versions and say nothing."""


@dataclass(frozen=True)
class Difference:
    """One field; an empty text where one side does not have it."""

    field: str
    old: str
    new: str
    change: str
    """In per cent, for numbers."""

    def to_json(self) -> dict[str, str]:
        """The row as JSON values."""
        return dict(vars(self))


def compare(root: Path, old: str, new: str) -> list[Difference]:
    """Every field in which two versions differ: recipe, metrics, sizes, verdict, lineage, device, libraries."""
    sides = []
    for spec in (old, new):
        found = resolve_all(root, spec)[0]
        record = read_record(WorkTree(root), found.model, found.version)
        sides.append(_flat({key: value for key, value in record.items() if key not in _OWN}))
    before, after = sides
    keys = [*before, *(key for key in after if key not in before)]
    return [_difference(key, before, after) for key in keys if before.get(key) != after.get(key)]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted path; lists by index; list of budgets by metric and rule."""
    if isinstance(value, dict) and value:
        items = [(f"{prefix}.{key}" if prefix else str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        items = [(f"{prefix}[{_index(position, item)}]", item) for position, item in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for path, item in items:
        flat.update(_flat(item, path))
    return flat


def _index(position: int, item: Any) -> str:
    if isinstance(item, dict) and "metric" in item and "rule" in item:
        return f"{item['metric']} {item['rule']} {item.get('against') or ''}".strip()
    return str(position)


def _difference(key: str, before: dict[str, Any], after: dict[str, Any]) -> Difference:
    old, new = before.get(key), after.get(key)
    change = ""
    if _number(old) and _number(new) and old:
        change = signed(quantity((new - old) / abs(old), "fraction", 3))
    return Difference(key, _text(old), _text(new), change)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
