"""What all documents share: strictness by author, one loader, validation errors as one clear line."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from weighbridge.core.errors import InputError
from weighbridge.core.files import canonical_json, read_json, read_yaml, sha256_bytes, write_json

SCHEMA_VERSION = 1

Document = TypeVar("Document", bound=BaseModel)

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", description="SHA-256 of the bytes")]


def _importable(value: str) -> str:
    module, _, name = value.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError("expected 'package.module:callable'")
    return value


Factory = Annotated[str, AfterValidator(_importable), Field(description="`package.module:callable`")]


class Written(BaseModel):
    """A document, or part of one, that people write: an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`bits: true` would otherwise be taken for 1."""
        if isinstance(value, bool) and not _takes_truth(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"expected a number or text, got a boolean ({str(value).lower()})")
        return value


def _takes_truth(annotation: Any) -> bool:
    """Whether true and false are among the values of a field."""
    return annotation in (bool, Any) or any(map(_takes_truth, get_args(annotation)))


class Recorded(BaseModel):
    """A document, or part of one, that a program wrote: unknown keys are kept, so that an older program
    does not destroy what a newer one recorded.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    def to_json(self) -> dict[str, Any]:
        """The document as JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def content_digest(self) -> str:
        """SHA-256 over the document's canonical JSON."""
        return sha256_bytes(canonical_json(self.to_json()))

    def write(self, path: Path) -> None:
        """Write the document as JSON, atomically."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate the document; see `load`."""
        return load(cls, path)


def load(kind: type[Document], path: Path) -> Document:
    """Read a `.json` or YAML file as one document; every problem is one `InputError` with file and key."""
    content = read_json(path) if path.suffix == ".json" else read_yaml(path)
    return parse(kind, content, str(path))


def parse(kind: type[Document], content: Any, where: str) -> Document:
    """Validate plain values as one document; the first problem is an `InputError` whose `where` has the key."""
    if not isinstance(content, dict):
        raise InputError("is empty or not a mapping of keys to values", where=where)
    version, latest = content.get("schema_version", SCHEMA_VERSION), getattr(kind, "latest_schema", SCHEMA_VERSION)
    if isinstance(version, int) and version > latest:
        raise InputError(
            f"has schema_version {version}; this program reads up to {latest}",
            where=where,
            fix="install a newer weighbridge",
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise explain(error, kind, where) from error


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
