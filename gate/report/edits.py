"""What changed in `params.yaml` between the merge base and here, value by value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from weighbridge.gate.report.governance import Edit

ABSENT = "not there"


def edits(base: Any, head: Any) -> list[Edit]:
    """Every leaf that differs, by its path (`recipes.int8.steps[0].quantize.scheme`), sorted by path."""
    before, after = dict(_leaves(base, "")), dict(_leaves(head, ""))
    return [
        Edit(key, before.get(key, ABSENT), after.get(key, ABSENT))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)
