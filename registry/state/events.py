"""What can happen to a model, and what an event says of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from weighbridge.core.documents.base import Digest, Recorded
from weighbridge.registry.state.records import (
    LATEST_SCHEMA,
    NO_EVENT,
    SCHEMA_VERSION,
    CanaryPlan,
    ModelName,
    Pointer,
    Timestamp,
    Version,
)


class EventKind(StrEnum):
    """What can happen to a model."""

    RECORDED = "recorded"
    PROMOTED = "promoted"
    CANARY_STARTED = "canary-started"
    CANARY_ADVANCED = "canary-advanced"
    CANARY_HELD = "canary-held"
    CANARY_ABORTED = "canary-aborted"
    ROLLED_BACK = "rolled-back"
    QUARANTINED = "quarantined"
    QUARANTINE_LIFTED = "quarantine-lifted"
    DEPRECATED = "deprecated"
    MIGRATED = "migrated"
    REFERENCE_RECORDED = "reference-recorded"
    ALARMED = "alarmed"
    ALARM_CLEARED = "alarm-cleared"


UNPROVEN = "unproven"
"""In the evidence of a roll-back: the digest of a target whose bytes or signature could not be checked then."""


class NewRecord(Recorded):
    """A version that came with an event."""

    version: Version
    digest: Digest
    """Of the artifact's bytes."""
    record: Digest
    """Of the record's file."""
    signature: Digest | None = None
    """Of the signed statement's file."""


class After(Recorded):
    """Where the channels point after an event, so that any time in the past is found without replaying."""

    stable: Version | None = None
    stable_event: int | None = None
    """The event since which `stable` points there: the way back is found in jumps."""
    canary: Version | None = None
    baseline: Version | None = None


class Event(Recorded):
    """One line of a model's history. Each names the digest of the one before it."""

    latest_schema: ClassVar[int] = LATEST_SCHEMA
    schema_version: int = SCHEMA_VERSION
    number: int = Field(ge=1)
    model: ModelName
    kind: EventKind
    at: Timestamp
    by: str
    reason: str = ""
    records: list[NewRecord] = []
    target: Pointer | None = None
    """The version that the event is about."""
    plan: CanaryPlan | None = None
    """Of a canary that starts."""
    step: int | None = Field(default=None, ge=0)
    """The step that a canary advances to."""
    quarantine: list[Pointer] = []
    """Versions that a roll-back left."""
    evidence: dict[str, Any] = {}
    """What the decision rests on."""
    after: After = After()
    state: Digest = NO_EVENT
    """Of the channels after this event."""
    previous: Digest
    """Of the file of the event before; zeros for the first."""
