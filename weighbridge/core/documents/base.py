"""What all documents share: strictness by author, one loader, validation errors as one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from weighbridge.core.documents.validation_faults import explain
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
