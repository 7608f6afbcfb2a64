"""What can be said of a recipe's steps without torch: from the table of techniques, written down as JSON.

`docs/make_techniques.py` writes it from the techniques themselves, and a test compares the two.
"""

from __future__ import annotations

import difflib
import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Path = tuple[str | int, ...]
_BOUNDS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "exclusiveMinimum": (operator.gt, "more than"),
    "exclusiveMaximum": (operator.lt, "less than"),
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "boolean": (bool,), "array": (list,), "object": (dict,), "null": (type(None),)
}  # fmt: skip


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong below a place."""

    path: Path
    what: str


@cache
def techniques() -> dict[str, Any]:
    """Name → phases, whether the config decides on them, and the config's JSON Schema."""
    text = files("weighbridge.ci").joinpath("templates", "techniques.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def check_steps(steps: Sequence[Any]) -> Iterator[Wrong]:
    """All that is wrong with the steps of one recipe: techniques, keys, values, ranges, and their order."""
    lowered = None
    for index, step in enumerate(steps):
        if not isinstance(step, dict) or len(step) != 1:
            yield Wrong((index,), "expected one technique with its parameters: '- technique: {parameters}'")
            continue
        ((name, config),) = step.items()
        known = techniques().get(name)
        if known is None:
            yield Wrong((index, name), f"unknown technique {name!r}{_suggest(str(name), techniques())}")
            continue
        schema = known["schema"]
        yield from check({} if config is None else config, schema, schema, (index, name))
        if known["phases"] == ["module"] and lowered is not None:
            yield Wrong((index, name), f"acts on the network and cannot follow {lowered}, which acts on the graph")
        if known["phases"] == ["lower"]:
            lowered = name


def check(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: Path) -> Iterator[Wrong]:
    """What of a value a JSON Schema refuses, in the part of JSON Schema that pydantic writes."""
    if "$ref" in schema:
        schema = {
            **root["$defs"][schema["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    if "anyOf" in schema:
        tried = [list(check(value, option, root, path)) for option in schema["anyOf"]]
        if all(tried):
            yield from min(tried, key=_distance)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield Wrong(path, f"expected {' or '.join(map(str, schema['enum']))}; found {value!r}{_close(value, schema)}")
        return
    wrong = _type(value, schema.get("type"))
    if wrong:
        yield Wrong(path, wrong)
        return
    yield from _number(value, schema, path)
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield Wrong(path, f"does not have the form {schema['pattern']}; found {value!r}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from check(item, schema.get("items", {}), root, (*path, index))
    if isinstance(value, dict) and "properties" in schema:
        yield from _object(value, schema, root, path)


def _object(value: dict[Any, Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: Path) -> Iterator[Wrong]:
    properties = schema["properties"]
    for key, item in value.items():
        if key in properties:
            yield from check(item, properties[key], root, (*path, key))
        elif schema.get("additionalProperties") is False:
            yield Wrong((*path, str(key)), f"unknown key {key!r}{_suggest(str(key), properties)}")
    for key in schema.get("required", ()):
        if key not in value:
            yield Wrong((*path, key), "is missing")


def _number(value: Any, schema: Mapping[str, Any], path: Path) -> Iterator[Wrong]:
    if schema.get("type") not in ("number", "integer"):
        return
    for bound, (holds, words) in _BOUNDS.items():
        if bound in schema and not holds(float(value), schema[bound]):
            yield Wrong(path, f"expected {words} {schema[bound]}; found {value!r}")


def _type(value: Any, kind: str | None) -> str:
    """Why a value is not of a type; empty where it is. A number in quotes is a number, as pydantic has it."""
    if kind in ("number", "integer"):
        try:
            number = None if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = None
        if number is None or math.isnan(number) or (kind == "integer" and not number.is_integer()):
            return f"expected {'a whole number' if kind == 'integer' else 'a number'}; found {value!r}"
    elif kind is not None and kind in _TYPES and not isinstance(value, _TYPES[kind]):
        return f"expected {kind}; found {value!r}"
    return ""


def _distance(found: list[Wrong]) -> tuple[int, int]:
    """Of several alternatives, the one that was meant: what is wrong lies deepest, and is least."""
    return -max(len(item.path) for item in found), len(found)


def _suggest(word: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(sorted(known))})"


def _close(value: Any, schema: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(value), list(map(str, schema["enum"])), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def steps_schema() -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON Schema of a recipe's steps, and the definitions that it needs, for editors."""
    options: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for name, known in techniques().items():
        schema = json.loads(json.dumps(known["schema"]).replace("#/$defs/", f"#/$defs/{name}."))
        definitions |= {f"{name}.{part}": content for part, content in schema.pop("$defs", {}).items()}
        definitions[name] = schema
        body = {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}
        options.append(
            {"type": "object", "properties": {name: body}, "required": [name], "additionalProperties": False}
        )
    return {"type": "array", "items": {"oneOf": options}, "minItems": 1}, definitions
