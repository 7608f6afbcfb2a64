"""A recipe that could not be built or weighed: the reason, in the place of the artifact or the measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from weighbridge.core.documents.base import SCHEMA_VERSION, Recorded
from weighbridge.core.errors import InputError, WeighbridgeError

REFUSAL = "refusal.json"
"""Name of the file that stands where an artifact or a measurement would."""


class Refusal(Recorded):
    """What `compress` or `weigh` refused, and why. The gate reports it as an error (`verdict.Refused`) and fails."""

    schema_version: int = SCHEMA_VERSION
    recipe: str
    stage: Literal["compress", "weigh"]
    what: str
    where: str | None = None
    fix: str | None = None

    @classmethod
    def of(cls, error: WeighbridgeError, recipe: str, stage: Literal["compress", "weigh"]) -> Refusal:
        """The document of an error."""
        return cls(recipe=recipe, stage=stage, what=error.what, where=error.where, fix=error.fix)

    @property
    def reason(self) -> str:
        """One line: where, what, and what to do."""
        return str(InputError(self.what, where=self.where, fix=self.fix))


def find_refusal(path: Path) -> Refusal | None:
    """The refusal in a file; None where there is none. A malformed one is an `InputError`."""
    return Refusal.read(path) if path.is_file() else None
