"""What a change of the registry starts from, and what it makes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from weighbridge.core.errors import IntegrityError
from weighbridge.core.git import Git
from weighbridge.registry.state.events import Event, EventKind
from weighbridge.registry.state.layout import FILE_LIMIT, MODEL_NAME, MODELS
from weighbridge.registry.state.records import CanaryPlan, Channels, Pointer, VersionRecord


def utc_now() -> datetime:
    """The clock that an event's time is read from."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Settings:
    """How changes are made. Clock, chance and waiting come in from outside."""

    push: bool = True
    """Compare and swap against the remote's tip; False, or no remote: against the local branch."""
    remote: str | None = None
    """None: the branch's own remote, or `origin`."""
    clock: Callable[[], datetime] = utc_now
    jitter: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], None] = time.sleep
    attempts: int = 60
    lock_seconds: float = 120.0


@dataclass(frozen=True)
class Draft:
    """What a decision wants to happen; the store numbers, chains and writes it."""

    kind: EventKind
    summary: str
    """The commit message's first line, after the model's name."""
    target: Pointer | None = None
    records: tuple[tuple[VersionRecord, bytes | None], ...] = ()
    """New versions, each with its signed statement where there is one."""
    target_is_new: bool = False
    """The target is the last of `records`."""
    reason: str = ""
    plan: CanaryPlan | None = None
    step: int | None = None
    quarantine: tuple[Pointer, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Further files of the same commit, by path relative to the project's root."""


@dataclass(frozen=True)
class Committed:
    """A change that was accepted."""

    event: Event
    channels: Channels
    commit: str
    pushed: bool
    attempts: int
    local: str | None = None
    """Why the working tree does not show the change yet; None where it does."""


@dataclass(frozen=True)
class Tip:
    """The state in one commit; a `View`."""

    git: Git
    commit: str
    now: datetime
    """The time of the change: never before the last event of the model."""
    prefix: str = ""
    _seen: dict[str, bytes | None] = field(default_factory=dict, repr=False, compare=False)

    def read(self, path: str) -> bytes | None:
        """See `registry.state.layout.View.read`. A link, a folder and an oversized file are an `IntegrityError`.

        A commit does not change: what was read once is kept.
        """
        if path not in self._seen:
            self._seen[path] = self.git.blob(self.commit, f"{self.prefix}{path}")
            if self._seen[path] is None and self.git.present(self.commit, [f"{self.prefix}{path}"]):
                raise IntegrityError("is a link or a folder, not a plain file", where=path)
        data = self._seen[path]
        if data is not None and len(data) > FILE_LIMIT:
            raise IntegrityError(f"has {len(data)} bytes; at most {FILE_LIMIT} are allowed", where=path)
        return data

    def models(self) -> list[str]:
        """Names of the models."""
        folder = f"{self.prefix}{MODELS}/"
        listing = self.git.run("ls-tree", "-z", "--name-only", "--full-tree", self.commit, folder)
        names = (name.rpartition("/")[2] for name in listing.split("\0") if name)
        return [name for name in names if MODEL_NAME.fullmatch(name)]
