"""One look at what is stable: record its reference window, compare, raise alarms, and act as the policy allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import ExitCode, InputError, StateError
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
from weighbridge.registry.watch.logged_traffic import LoggedTraffic
from weighbridge.registry.watch.reference_traffic import NAME, Counts, ReferenceWindow
from weighbridge.registry.watch.scraped_traffic import Scraped, ScrapedTraffic
from weighbridge.registry.watch.seen_requests import Source, read_requests
from weighbridge.registry.watch.stream_detectors import Change

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
    problems: tuple[str, ...] = ()
    """What is wrong with the data; with any, nothing is judged."""

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
            "problems": list(self.problems),
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


def watch(root: Path, source: Source | Scraped, *, settings: Settings | None = None, dry_run: bool = False) -> Look:
    """Look at the stable version. Writes the reference window once it is complete, each alarm once, and rolls back
    where labels or failures call for it and the policy lets them. Nothing is written in a `dry_run`, nor where the data
    cannot be used.
    """
    chosen = settings or Settings()
    channels = parse(Channels, require_channels(WorkTree(root), source.model), channels_path(source.model))
    stable = channels.stable
    if stable is None:
        raise StateError(f"{source.model} has no stable version", fix="promote one first")
    git = Git(root)
    now = chosen.clock()
    policy = read_policy(Tip(git, git.head(), now, git.prefix())).watch
    look = Look(source.model, stable.version, now.isoformat(timespec="seconds"))
    watcher = Watcher(root, source.model, chosen)
    traffic = _traffic(root, source, stable, policy, now)
    reference = read_reference(root, source.model, stable.version)
    events: list[int] = []
    if reference is None:
        found = traffic.reference_window()
        if traffic.problems or isinstance(found, str):
            return _unusable(look, traffic.problems) if traffic.problems else replace(look, unjudged=str(found))
        reference = found
        if not dry_run:
            content = pretty_json(reference.to_json()).encode()
            events.append(watcher.record_reference(stable.version, NAME, content).event.number)
    epochs = tuple(Epoch(name, now, shifts(reference, now, policy)) for name, now in traffic.epochs(reference))
    look = replace(look, events=tuple(events))
    if traffic.problems:
        return _unusable(look, traffic.problems)
    look = replace(look, epochs=epochs, alarms=_alarms(epochs, traffic.changes(reference), policy))
    if not any(epoch.counts.requests for epoch in epochs):
        look = replace(look, unjudged="no requests since the reference window")
    return look if dry_run or not look.alarms else _act(look, watcher, _noted(root, source.model, stable))


def source_of(
    model: str, metrics: str | None, logs: Sequence[Path] = (), journals: Sequence[Path] = ()
) -> Source | Scraped:
    """What to look at, as a command line says it: logs, or `metrics` as `FILE.jsonl` or `prometheus=URL`."""
    kind, equals, address = (metrics or "").replace("{model}", model).partition("=")
    if (metrics is None) != bool(logs) or (journals and not logs):
        raise InputError(
            "expected a log or --metrics, not both or neither",
            where="--log",
            fix="--log FILE.jsonl, as the server writes it",
        )
    if equals and kind == "prometheus":
        return Scraped(model, address)
    if metrics is not None and not metrics.endswith(".jsonl"):
        raise InputError(f"{metrics!r} is neither FILE.jsonl nor prometheus=URL", where="--metrics")
    return Source(model, logs or [Path((metrics or "").replace("{model}", model))], journals)


def _traffic(
    root: Path, source: Source | Scraped, stable: Placed, policy: WatchSection, now: datetime
) -> LoggedTraffic | ScrapedTraffic:
    if isinstance(source, Scraped):
        return ScrapedTraffic(source, stable, policy, now)
    source = replace(source, only_model=model_names(root) == [source.model])
    own = [seen for seen in read_requests(source, stable.version, now) if not seen.stands_in]
    return LoggedTraffic(own, source.model, stable, policy)


def _unusable(look: Look, problems: Sequence[str]) -> Look:
    """Data that contradicts itself or is not whole raises no alarm, and ends none."""
    said = tuple(dict.fromkeys(problems))
    return replace(look, problems=said, unjudged=f"the data cannot be used: {'; '.join(said)}")


def read_reference(root: Path, model: str, version: str) -> ReferenceWindow | None:
    """The reference window beside a version; None where none was recorded."""
    where = evidence_path(model, version, NAME)
    data = WorkTree(root).read(where)
    if data is None:
        return None
    return parse(ReferenceWindow, parse_json(data.decode("utf-8", errors="replace"), where), where)


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
