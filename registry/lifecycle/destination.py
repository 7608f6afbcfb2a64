"""Where a new version goes: stable, a canary, or recorded until somebody says more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.records import CanaryPlan, Channels
from weighbridge.registry.trust.registry_policy import RegistryPolicy

Channel = Literal["stable", "canary", "none", "policy"]
"""`none` records a version; `policy` does what `on_merge` of the registry's policy says."""

WAITS_FOR = "waits_for"
"""In the evidence of a recorded version: the canary whose end it waits for."""


@dataclass(frozen=True)
class Destination:
    """The event that brings a version in."""

    kind: EventKind
    plan: CanaryPlan | None = None
    note: str = ""
    """Why it does not go where the policy sends it; empty where it does."""
    waits_for: str | None = None
    """The version whose canary has to end first."""

    @property
    def verb(self) -> str:
        """For the commit's subject."""
        verbs = {EventKind.PROMOTED: "promote", EventKind.CANARY_STARTED: "start a canary of"}
        return verbs.get(self.kind, "record")


def destination(channel: Channel, channels: Channels, policy: RegistryPolicy) -> Destination:
    """Where a new version goes. By `policy`, it waits, recorded, for a canary that is open; and the first version of
    a model becomes stable whatever the policy says but `record`: there is nothing to compare a canary with.
    """
    if channel == "none" or (channel == "policy" and policy.on_merge == "record"):
        return Destination(EventKind.RECORDED)
    if channel == "policy":
        if channels.canary is not None:
            other = channels.canary.version
            note = f"{other} is on canary; this version waits for its end"
            return Destination(EventKind.RECORDED, note=note, waits_for=other)
        if policy.on_merge == "canary" and channels.stable is not None:
            return Destination(EventKind.CANARY_STARTED, policy.canary)
        return Destination(EventKind.PROMOTED)
    if channel == "canary":
        return Destination(EventKind.CANARY_STARTED, policy.canary)
    return Destination(EventKind.PROMOTED)
