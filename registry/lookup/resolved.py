"""What a name resolves to: one artifact of one version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weighbridge.core.files import pretty_json


@dataclass(frozen=True)
class Resolved:
    """One artifact of one version, and what is needed to get its bytes."""

    model: str
    version: str
    digest: str
    """SHA-256 of the artifact's bytes."""
    bytes: int
    target: str
    """The runtime that it is for. A version has one artifact for each of its targets."""
    path: str
    """Where the artifact lies in the project at `commit`, relative to its root."""
    md5: str
    """DVC's name of the bytes; never used to decide what they are."""
    commit: str
    record: str
    """Path of the version's record, relative to the project's root."""
    channel: str | None = None
    """The channel that was asked for."""
    weight: float | None = None
    """Per cent of the traffic, for a canary."""
    since: str | None = None
    """Since when the channel has pointed here."""
    quarantined: bool = False
    deprecated: str | None = None
    """Why the version should not be taken any more."""

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return dict(vars(self))

    def json_text(self) -> str:
        """The answer as JSON text."""
        return pretty_json(self.to_json())

    def line(self) -> str:
        """The answer for shells: `MODEL@VERSION DIGEST`."""
        return f"{self.model}@{self.version} {self.digest}\n"
