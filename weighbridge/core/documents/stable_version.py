"""What the registry serves as `stable`, laid out for the gate: `artifacts/stable/stable.json` and files beside it."""

from __future__ import annotations

from pydantic import Field

from weighbridge.core.documents.base import SCHEMA_VERSION, Digest, Recorded

STABLE = "stable.json"
"""Its file, in `artifacts/stable/`."""


class StableFile(Recorded):
    """One artifact of the stable version."""

    path: str = Field(pattern=r"^[A-Za-z0-9_]+/[A-Za-z0-9_.-]+$")
    """Relative to the folder of `stable.json`: `<target>/<file>`."""
    digest: Digest


class Stable(Recorded):
    """The stable version's artifacts by target; none, with the reason, where nothing is served or can be had."""

    schema_version: int = SCHEMA_VERSION
    version: str | None
    reason: str | None = None
    artifacts: dict[str, StableFile] = {}
