"""What pydantic found wrong with a document, as one line for people: the key, what it is, what was expected."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from weighbridge.core.errors import InputError


def explain(error: ValidationError, kind: type[BaseModel], where: str) -> InputError:
    """The first problem of a validation error as one line with the key's path and a suggestion."""
    problems = error.errors()
    # A misspelt key also leaves the right one missing: the misspelling is the problem to name.
    first = next((item for item in problems if item["type"] == "extra_forbidden"), problems[0])
    return _explained(first, kind, where)


def explain_all(
    error: ValidationError, kind: type[BaseModel], where: str
) -> list[tuple[tuple[int | str, ...], InputError]]:
    """Every problem of a validation error, each with its keys; see `explain`."""
    return [(problem["loc"], _explained(problem, kind, where)) for problem in error.errors()]


def _explained(first: ErrorDetails, kind: type[BaseModel], where: str) -> InputError:
    location = f"{where}: {_key_path(first['loc'])}" if first["loc"] else where
    if first["type"] == "extra_forbidden":
        return _unknown_key(first, kind, location)
    if first["type"] == "missing":
        return InputError("is missing", where=location)
    if first["loc"] and first["loc"][-1] == "[key]" and not isinstance(first["input"], str):
        section = f"{where}: {_key_path(first['loc'][:-2])}"
        return InputError(f"a name is {first['input']!r} to YAML, not text", where=section, fix="put it in quotes")
    message = first["msg"].removeprefix("Value error, ")
    found = "" if isinstance(first["input"], dict | list | bool) else f"; found {first['input']!r}"
    return InputError(f"{message[:1].lower()}{message[1:]}{found}", where=location)


def _unknown_key(problem: ErrorDetails, kind: type[BaseModel], location: str) -> InputError:
    key = str(problem["loc"][-1])
    known = sorted(_fields_at(kind, problem["loc"][:-1]))
    close = difflib.get_close_matches(key, known, n=1)
    fix = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}" if known else None
    return InputError(f"unknown key {key!r}", where=location, fix=fix)


def _fields_at(kind: type[BaseModel], location: tuple[int | str, ...]) -> set[str]:
    """Names of the fields that the model at a validation error's location knows."""
    current: Any = kind
    for part in location:
        model = _model_in(current)
        if model is not None and part in model.model_fields:
            current = model.model_fields[str(part)].annotation
        elif model is None:
            current = next(iter(reversed(get_args(current))), None)
    model = _model_in(current)
    return set(model.model_fields) if model else set()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    options = [item for item in get_args(annotation) if isinstance(item, type) and issubclass(item, BaseModel)]
    is_union = annotation is not None and getattr(annotation, "__origin__", None) not in (list, dict, tuple)
    return options[0] if options and is_union else None


def _key_path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
