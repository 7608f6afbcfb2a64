"""What a name resolves to: one artifact of one version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.core.errors import StateError
from weighbridge.core.facts.isa import Host
from weighbridge.core.files import pretty_json


def require_host(requires: Sequence[str], host: Host | None, what: str) -> None:
    """Raise `StateError` where a host lacks what an artifact requires of its processor; None: whatever the host."""
    lacking = host.lacks(requires) if host is not None and requires else ()
    if lacking:
        raise StateError(
            f"requires {', '.join(lacking)}, which {host.name if host else ''} lacks: it would answer otherwise there",
            where=what,
            fix="take a portable version, name the processor that will run it (--isa avx512_vnni), or say --any-host",
        )


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
    requires: tuple[str, ...] = ()
    """What a processor must have to answer as the artifact was made to, such as `vnni`."""
    weights: dict[str, Any] | None = None
    """Path, digest, bytes and md5 of the file with its weights, of an artifact in two files."""
    quarantined: bool = False
    deprecated: str | None = None
    """Why the version should not be taken any more."""

    @property
    def beside(self) -> Resolved | None:
        """The file with the artifact's weights, to be found as the artifact is; None where it is one file."""
        return None if self.weights is None else replace(self, **self.weights, weights=None)

    @property
    def parts(self) -> tuple[Resolved, ...]:
        """Itself, and the file with its weights where there is one."""
        return (self,) if self.beside is None else (self, self.beside)

    def require_one_file(self, what: str) -> None:
        """Raise `StateError` for an artifact in two files, where `what` takes one."""
        if self.weights is not None:
            raise StateError(f"{self.model}@{self.version} is two files; {what} takes one", fix="pull it in a clone")

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return {key: value for key, value in vars(self).items() if key != "weights" or value is not None}

    def json_text(self) -> str:
        """The answer as JSON text."""
        return pretty_json(self.to_json())

    def require_host(self, host: Host | None) -> None:
        """Raise `StateError` where a host lacks what the artifact requires; None: whatever the host."""
        require_host(self.requires, host, f"{self.model}@{self.version}")

    def line(self) -> str:
        """The answer for shells: `MODEL@VERSION DIGEST`."""
        return f"{self.model}@{self.version} {self.digest}\n"
