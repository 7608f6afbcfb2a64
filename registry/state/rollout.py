"""Pure transitions: what each event does to a model's channels, and when it may not happen.

`apply` is the only interpreter of events. A command drafts an event and applies it; `verify` applies the whole
history again. So channels are the fold of events by construction, and a precondition cannot be forgotten by one
of the two.
"""

from __future__ import annotations

from collections.abc import Callable

from weighbridge.core.errors import StateError
from weighbridge.registry.state.events import After, Event, EventKind
from weighbridge.registry.state.records import LATEST_SCHEMA, Canary, Channels, Held, Placed, Pointer


def apply(channels: Channels, event: Event) -> Channels:
    """The channels after `event`; a `StateError` where its preconditions do not hold. Leaves `head` alone."""
    if event.model != channels.model:
        raise StateError(f"the event is about {event.model}, not {channels.model}")
    return _APPLY[event.kind](_with_records(channels, event), event)


def after(channels: Channels) -> After:
    """Where the channels point, as events note it."""
    return After(
        stable=channels.stable.version if channels.stable else None,
        stable_event=channels.stable.event if channels.stable else None,
        canary=channels.canary.version if channels.canary else None,
        baseline=channels.baseline.version if channels.baseline else None,
    )


def _with_records(channels: Channels, event: Event) -> Channels:
    """Count new versions; a new baseline becomes the baseline."""
    for entry in event.records:
        is_baseline = entry.version.startswith("b")
        count = channels.baselines if is_baseline else channels.versions
        if int(entry.version[1:]) != count + 1:
            raise StateError(f"{entry.version} is not the next version of {channels.model}")
        if entry.digest in channels.quarantined.values():
            raise StateError(f"the bytes of {entry.version} are quarantined", fix="lift the quarantine first")
        if is_baseline:
            pointer = Pointer(version=entry.version, digest=entry.digest, record=entry.record)
            channels = channels.model_copy(update={"baselines": count + 1, "baseline": _place(pointer, event)})
        else:
            channels = channels.model_copy(update={"versions": count + 1})
    return channels


def _recorded(channels: Channels, event: Event) -> Channels:
    if not event.records:
        raise StateError("an event of this kind needs a record")
    return channels


def _promoted(channels: Channels, event: Event) -> Channels:
    target = _target(channels, event)
    canary = channels.canary
    if canary and canary.version != target.version:
        raise StateError(
            f"{canary.version} is on canary", fix="advance or abort it first: two changes at once cannot be told apart"
        )
    if channels.stable and channels.stable.version == target.version:
        raise StateError(f"{target.version} is stable already")
    return channels.model_copy(update={"stable": _place(target, event), "canary": None, "held": None})


def _canary_started(channels: Channels, event: Event) -> Channels:
    target = _target(channels, event)
    if channels.canary:
        raise StateError(f"{channels.canary.version} is on canary already", fix="advance or abort it first")
    if channels.stable is None:
        raise StateError("no stable version to compare a canary with", fix="promote one first")
    if channels.stable.version == target.version:
        raise StateError(f"{target.version} is stable already")
    if event.plan is None:
        raise StateError("a canary needs a plan")
    if sorted(event.plan.steps) != event.plan.steps or len(set(event.plan.steps)) != len(event.plan.steps):
        raise StateError("a canary's steps must grow")
    canary = Canary(
        **_place(target, event).model_dump(),
        weight=event.plan.steps[0],
        step=0,
        step_since=event.at,
        plan=event.plan,
    )
    return channels.model_copy(update={"canary": canary})


def _canary_advanced(channels: Channels, event: Event) -> Channels:
    canary = _canary(channels, event)
    if event.step != canary.step + 1 or event.step >= len(canary.plan.steps):
        raise StateError(f"step {event.step} does not follow step {canary.step} of {len(canary.plan.steps)}")
    moved = {"step": event.step, "weight": canary.plan.steps[event.step], "step_since": event.at}
    return channels.model_copy(update={"canary": canary.model_copy(update=moved)})


def _canary_held(channels: Channels, event: Event) -> Channels:
    _canary(channels, event)
    return channels


def _canary_aborted(channels: Channels, event: Event) -> Channels:
    canary = _canary(channels, event)
    ended = channels.model_copy(update={"canary": None})
    return _quarantine(ended, event, allowed={canary.version})


def _rolled_back(channels: Channels, event: Event) -> Channels:
    target = _target(channels, event)
    if channels.stable is None:
        raise StateError("there is nothing to roll back: no version is stable")
    if channels.stable.version == target.version:
        raise StateError(f"{target.version} is stable already")
    left = channels.stable.version
    # A running canary was compared with the version that is left: its evidence is void.
    moved = channels.model_copy(update={"stable": _place(target, event), "canary": None, "held": None})
    return _quarantine(moved, event, allowed={left})


def _quarantined(channels: Channels, event: Event) -> Channels:
    if event.target is None:
        raise StateError("a quarantine needs a version")
    for place in (channels.stable, channels.canary):
        if place and place.version == event.target.version:
            raise StateError(f"{place.version} is serving", fix="roll back or abort the canary first")
    return _quarantine(channels, event.model_copy(update={"quarantine": [event.target]}), {event.target.version})


def _quarantine_lifted(channels: Channels, event: Event) -> Channels:
    if event.target is None or event.target.version not in channels.quarantined:
        raise StateError("that version is not quarantined")
    kept = {name: digest for name, digest in channels.quarantined.items() if name != event.target.version}
    return channels.model_copy(update={"quarantined": kept})


def _deprecated(channels: Channels, event: Event) -> Channels:
    if event.target is None:
        raise StateError("a deprecation needs a version")
    if channels.stable and channels.stable.version == event.target.version:
        raise StateError(f"{event.target.version} is stable", fix="promote another version first")
    return channels.model_copy(update={"deprecated": {**channels.deprecated, event.target.version: event.reason}})


def _migrated(channels: Channels, event: Event) -> Channels:
    schema = event.evidence.get("schema")
    if not isinstance(schema, int) or not channels.schema_version < schema <= LATEST_SCHEMA:
        raise StateError(f"cannot migrate from schema {channels.schema_version} to {schema}")
    return channels.model_copy(update={"schema_version": schema})


def _reference_recorded(channels: Channels, event: Event) -> Channels:
    _require_stable(channels, event)
    return channels


def _alarmed(channels: Channels, event: Event) -> Channels:
    stable = _require_stable(channels, event)
    if event.evidence.get("action") == "tell":
        return channels
    return channels.model_copy(update={"held": Held(version=stable, event=event.number, reason=event.reason)})


def _alarm_cleared(channels: Channels, _: Event) -> Channels:
    if channels.held is None:
        raise StateError(f"no alarm holds {channels.model}")
    return channels.model_copy(update={"held": None})


def _require_stable(channels: Channels, event: Event) -> str:
    stable = channels.stable.version if channels.stable else "none"
    if event.target is None or event.target.version != stable:
        raise StateError(f"stable is {stable}, not the version of this event")
    return stable


def _quarantine(channels: Channels, event: Event, allowed: set[str]) -> Channels:
    """Quarantine what the event names, of `allowed`; a baseline never is: it must stay deployable."""
    named = {pointer.version: pointer.digest for pointer in event.quarantine}
    if not set(named) <= allowed:
        raise StateError(f"the event cannot quarantine {', '.join(sorted(set(named) - allowed))}")
    if any(version.startswith("b") for version in named):
        raise StateError("a baseline is never quarantined: it is the way back")
    return channels.model_copy(update={"quarantined": {**channels.quarantined, **named}})


def _target(channels: Channels, event: Event) -> Pointer:
    """The version that shall serve: it must exist and must not be quarantined, by name or by bytes."""
    target = event.target
    if target is None:
        raise StateError(f"an event {event.kind} needs a version")
    count = channels.baselines if target.version.startswith("b") else channels.versions
    if int(target.version[1:]) > count:
        raise StateError(f"{channels.model} has no version {target.version}")
    if target.version in channels.quarantined or (
        target.digest in channels.quarantined.values() and not target.version.startswith("b")
    ):
        raise StateError(f"{target.version} is quarantined", fix="lift the quarantine first, with a reason")
    return target


def _canary(channels: Channels, event: Event) -> Canary:
    if channels.canary is None:
        raise StateError("no version is on canary")
    if event.target is None or event.target.version != channels.canary.version:
        raise StateError(f"{channels.canary.version} is on canary, not the version of this event")
    return channels.canary


def _place(pointer: Pointer, event: Event) -> Placed:
    return Placed(
        version=pointer.version, digest=pointer.digest, record=pointer.record, event=event.number, since=event.at
    )


_APPLY: dict[EventKind, Callable[[Channels, Event], Channels]] = {
    EventKind.RECORDED: _recorded,
    EventKind.PROMOTED: _promoted,
    EventKind.CANARY_STARTED: _canary_started,
    EventKind.CANARY_ADVANCED: _canary_advanced,
    EventKind.CANARY_HELD: _canary_held,
    EventKind.CANARY_ABORTED: _canary_aborted,
    EventKind.ROLLED_BACK: _rolled_back,
    EventKind.QUARANTINED: _quarantined,
    EventKind.QUARANTINE_LIFTED: _quarantine_lifted,
    EventKind.DEPRECATED: _deprecated,
    EventKind.MIGRATED: _migrated,
    EventKind.REFERENCE_RECORDED: _reference_recorded,
    EventKind.ALARMED: _alarmed,
    EventKind.ALARM_CLEARED: _alarm_cleared,
}
