"""One look at what is stable: record its reference window, compare, raise alarms, and act as the policy allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import ExitCode, StateError
from weighbridge.core.files import parse_json, pretty_json
from weighbridge.core.git import Git
from weighbridge.registry.lifecycle.alarms import Watcher
from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.layout import (
    WorkTree,
    channels_path,
    event_path,
    evidence_path,
    model_names,
    parse_mapping,
    require_channels,
)
from weighbridge.registry.state.records import Channels, Placed
from weighbridge.registry.state.tip import Settings, Tip
from weighbridge.registry.trust.registry_policy import read_policy
from weighbridge.registry.trust.watch_policy import Action, WatchSection
from weighbridge.registry.watch.findings import Kind, Shift, shifts
from weighbridge.registry.watch.reference_traffic import NAME, Counting, Counts, ReferenceWindow, reference_of
from weighbridge.registry.watch.seen_requests import Seen, Source, read_requests
from weighbridge.registry.watch.stream_detectors import Change, Detectors

_MOST: dict[Kind, Action] = {"realised": "roll back", "estimated": "hold", "drift": "tell"}
"""The most that each kind of evidence may do, whatever the policy says."""
_ORDER: tuple[Action, ...] = ("tell", "hold", "roll back")


@dataclass(frozen=True)
class Alarm:
    """One thing that is wrong, and what it does."""

    kind: Kind
    what: str
    said: str
    action: Action

    @property
    def cause(self) -> str:
        """By which a second look knows it again."""
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True)
class Epoch:
    """What was seen in some time, compared with the reference window."""

    name: str
    """`since the reference`, or when the epoch began."""
    counts: Counts
    shifts: tuple[Shift, ...]


@dataclass(frozen=True)
class Look:
    """What one look found and did."""

    model: str
    version: str
    at: str
    epochs: tuple[Epoch, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    """All that stand now."""
    written: tuple[str, ...] = ()
    """Causes of the alarms that are new."""
    events: tuple[int, ...] = ()
    rolled_back_to: str | None = None
    unjudged: str | None = None
    """Why nothing could be judged."""

    @property
    def exit_code(self) -> ExitCode:
        """0: nothing is wrong; 1: an alarm stands; 3: nothing could be judged."""
        if self.alarms:
            return ExitCode.FAIL
        return ExitCode.UNJUDGED if self.unjudged else ExitCode.PASS

    def worst_slices(self) -> list[dict[str, Any]]:
        """Slices by accuracy, the worst first, in each epoch: how edge cases move over time."""
        rows = [
            {"epoch": epoch.name, "slice": name, "labelled": n, "accuracy": round(right / n, 4)}
            for epoch in self.epochs
            for name, (n, right) in epoch.counts.slices.items()
            if n
        ]
        return sorted(rows, key=lambda row: (row["epoch"], row["accuracy"]))

    def to_json(self) -> dict[str, Any]:
        """The look as JSON values; one of them a line is a history of looks."""
        return {
            "model": self.model,
            "version": self.version,
            "at": self.at,
            "unjudged": self.unjudged,
            "epochs": [
                {"epoch": epoch.name, "requests": epoch.counts.requests, "shifts": [_row(s) for s in epoch.shifts]}
                for epoch in self.epochs
            ],
            "slices": self.worst_slices(),
            "alarms": [{**vars(alarm), "new": alarm.cause in self.written} for alarm in self.alarms],
            "events": list(self.events),
            "rolled_back_to": self.rolled_back_to,
        }

    def text(self) -> str:
        """The look for people."""
        said = self.unjudged or f"{len(self.alarms)} alarm{'' if len(self.alarms) == 1 else 's'}"
        lines = [f"{self.model}@{self.version}: {said}"]
        lines += [f"  {alarm.action}: {alarm.cause}: {alarm.said}" for alarm in self.alarms]
        for epoch in self.epochs:
            lines.append(f"  {epoch.name}: {epoch.counts.requests} requests")
            lines += [f"    {shift.kind}: {shift.text()} ({shift.samples} requests)" for shift in epoch.shifts]
        lines += [
            f"  slice {r['slice']}, {r['epoch']}: {r['accuracy']:.3f} of {r['labelled']}" for r in self.worst_slices()
        ]
        if self.rolled_back_to:
            lines.append(f"rolled back to {self.rolled_back_to}")
        return "\n".join(lines) + "\n"


def _row(shift: Shift) -> dict[str, Any]:
    seen = shift.interval
    return {
        "kind": shift.kind,
        "what": shift.what,
        "limit": shift.limit,
        "estimate": seen.estimate,
        "lower": seen.lower,
        "upper": seen.upper,
        "samples": shift.samples,
    }


def watch(root: Path, source: Source, *, settings: Settings | None = None, dry_run: bool = False) -> Look:
    """Look at the stable version. Writes the reference window once it is complete, each alarm once, and rolls back
    where labels or failures call for it and the policy lets them. Nothing is written in a `dry_run`.
    """
    chosen = settings or Settings()
    source = replace(source, only_model=model_names(root) == [source.model])
    channels = parse(Channels, require_channels(WorkTree(root), source.model), channels_path(source.model))
    stable = channels.stable
    if stable is None:
        raise StateError(f"{source.model} has no stable version", fix="promote one first")
    git = Git(root)
    now = chosen.clock()
    policy = read_policy(Tip(git, git.head(), now, git.prefix())).watch
    look = Look(source.model, stable.version, now.isoformat(timespec="seconds"))
    watcher = Watcher(root, source.model, chosen)
    requests = list(read_requests(source, stable.version, now))
    window = _window(requests, stable, policy)
    reference = read_reference(root, source.model, stable.version)
    events: list[int] = []
    if reference is None:
        if isinstance(window, str):
            return replace(look, unjudged=window)
        reference = reference_of(source.model, stable.version, window)
        if not dry_run:
            content = pretty_json(reference.to_json()).encode()
            events.append(watcher.record_reference(stable.version, NAME, content).event.number)
    later = [seen for seen in requests if seen.time > datetime.fromisoformat(reference.until) + timedelta(seconds=1)]
    epochs = tuple(compare(reference, later, policy))
    alarms = _alarms(epochs, changes(window if isinstance(window, list) else [], later), policy)
    look = replace(look, epochs=epochs, alarms=alarms, events=tuple(events))
    if not later:
        look = replace(look, unjudged="no requests since the reference window")
    return look if dry_run or not alarms else _act(look, watcher, _noted(root, source.model, stable))


def read_reference(root: Path, model: str, version: str) -> ReferenceWindow | None:
    """The reference window beside a version; None where none was recorded."""
    where = evidence_path(model, version, NAME)
    data = WorkTree(root).read(where)
    if data is None:
        return None
    return parse(ReferenceWindow, parse_json(data.decode("utf-8", errors="replace"), where), where)


def compare(reference: ReferenceWindow, later: Sequence[Seen], policy: WatchSection) -> Iterator[Epoch]:
    """All that came since the reference, and the last two epochs, each from its own start: a whole epoch is not
    diluted by the good time before it.
    """
    if not later:
        return
    begins = datetime.fromisoformat(reference.until)
    places = [(seen.time - begins).total_seconds() // policy.epoch for seen in later]
    newest = max(places)
    countings: dict[str, Counting] = {}
    names = {place: (begins + timedelta(seconds=place * policy.epoch)).isoformat() for place in {*places}}
    for seen, place in zip(later, places, strict=True):
        for name in ("since the reference", *((names[place],) if place >= newest - 1 else ())):
            if name not in countings:
                countings[name] = Counting(reference.slow_seconds, reference.edges)
            countings[name].add(seen)
    for name, counting in countings.items():
        counts = counting.counts()
        yield Epoch(name, counts, shifts(reference, counts, policy))


def changes(window: Sequence[Seen], later: Sequence[Seen]) -> list[Change]:
    """What river's detectors say of everything since the reference, the first of each."""
    detectors = Detectors(window)
    first: dict[str, Change] = {}
    for seen in later:
        for change in detectors.add(seen):
            first.setdefault(change.what, change)
    return list(first.values())


def _window(requests: Sequence[Seen], stable: Placed, policy: WatchSection) -> list[Seen] | str:
    """The requests of the reference window, or why there are not enough yet."""
    promoted, size = datetime.fromisoformat(stable.since), policy.reference
    before = [seen for seen in requests if seen.time <= promoted]
    chosen = before[-size:] if len(before) >= size else list(requests[:size])
    labelled = sum(seen.right is not None for seen in chosen)
    if len(chosen) < size:
        return f"the reference window has {len(chosen)} of {size} requests"
    if labelled < policy.min_labels:
        return f"the reference window has {labelled} of {policy.min_labels} labels"
    return chosen


def _alarms(epochs: Sequence[Epoch], found: Sequence[Change], policy: WatchSection) -> tuple[Alarm, ...]:
    alarms: dict[str, Alarm] = {}
    for epoch in epochs:
        for shift in epoch.shifts:
            if shift.beyond:
                action = min(policy.on_alarm, _MOST[shift.kind], key=_ORDER.index)
                said = f"{shift.text()} ({epoch.name}, {shift.samples} requests)"
                alarm = Alarm(shift.kind, shift.what, said, action)
                alarms.setdefault(alarm.cause, alarm)
    for change in found:
        alarm = Alarm("drift", change.what, f"changed at {change.at.isoformat(timespec='seconds')}", "tell")
        alarms.setdefault(alarm.cause, alarm)
    return tuple(alarms.values())


def _noted(root: Path, model: str, stable: Placed) -> set[str]:
    """Causes of the alarms that the history has of this version since it became stable."""
    view, causes = WorkTree(root), set()
    number = require_channels(view, model)["head"]["event"]
    while number > stable.event:
        where = event_path(model, number)
        event = parse_mapping(view.read(where) or b"", where)
        if event["kind"] == EventKind.ALARMED:
            causes |= set(event["evidence"].get("causes", ()))
        number -= 1
    return causes


def _act(look: Look, watcher: Watcher, noted: set[str]) -> Look:
    """Write what is new as one event; then roll back, where an alarm calls for it: also one of an earlier look, after
    which it could not be done.
    """
    new = [alarm for alarm in look.alarms if alarm.cause not in noted]
    strongest = max((alarm.action for alarm in look.alarms), key=_ORDER.index)
    events = list(look.events)
    if new:
        facts = {
            "causes": [alarm.cause for alarm in new],
            "alarms": [vars(alarm) for alarm in new],
            "slices": look.worst_slices()[:10],
        }
        said = "; ".join(f"{alarm.cause}: {alarm.said}" for alarm in new)
        action = max((alarm.action for alarm in new), key=_ORDER.index)
        done = watcher.alarm(look.version, action=action, reason=said, evidence=facts)
        events.append(done.event.number)
    look = replace(look, written=tuple(alarm.cause for alarm in new), events=tuple(events))
    if strongest != "roll back":
        return look
    why = "; ".join(alarm.cause for alarm in look.alarms if alarm.action == "roll back")
    back = watcher.roll_back_from(look.version, reason=f"its watch raised an alarm: {why}")
    assert back.event.target is not None
    return replace(look, events=(*events, back.event.number), rolled_back_to=back.event.target.version)
