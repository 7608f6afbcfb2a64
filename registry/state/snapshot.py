"""The whole state of the registry, read once and checked: what the site, cards, tags and manifests are made from.

Reading follows the chain: every event by the digest in the next one, every record by the digest in the event that
brought it. What is published is what the history says, or nothing. (`registry.trust.verify` proves more: that the
channels are the fold of the events, and that nothing else lies beside them.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.state.events import Event, NewRecord
from weighbridge.registry.state.layout import (
    HAND_EDITED,
    MODELS,
    View,
    WorkTree,
    channels_path,
    event_path,
    model_names,
    parse_mapping,
    read_record,
    require_channels,
    version_path,
)
from weighbridge.registry.state.presence import require_place
from weighbridge.registry.state.records import Channels, Estimate, VersionRecord


@dataclass(frozen=True)
class ModelState:
    """One model: what serves, all versions in the order they came, all events."""

    channels: Channels
    records: Mapping[str, VersionRecord]
    """By version name; baselines among them."""
    events: tuple[Event, ...]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.channels.model

    def estimate(self, version: str, metric: str) -> Estimate | None:
        """A metric of a version; of a baseline also as the newest version that was weighed against it found it.

        None where nobody measured it. What comes from a comparison has no interval of its own.
        """
        own = self.records[version].metrics.get(metric)
        if own is not None or self.records[version].kind != "baseline":
            return own
        for record in reversed(list(self.records.values())):
            found = record.metrics.get(metric)
            if record.baseline and record.baseline.version == version and found and found.baseline is not None:
                value = found.baseline
                return Estimate(value=value, lower=value, upper=value, unit=found.unit)
        return None

    @cached_property
    def entries(self) -> Mapping[str, NewRecord]:
        """What the events say of each version that they brought: digests of its bytes, record and signature."""
        return {entry.version: entry for event in self.events for entry in event.records}

    def status(self, version: str) -> tuple[str, ...]:
        """What is said of a version: its channels, `quarantined`, `deprecated`."""
        places = {
            "stable": self.channels.stable,
            "canary": self.channels.canary,
            "baseline": self.channels.baseline,
        }
        said = [name for name, place in places.items() if place is not None and place.version == version]
        marked = {"quarantined": self.channels.quarantined, "deprecated": self.channels.deprecated}
        return (*said, *(name for name, versions in marked.items() if version in versions))


def read_model(view: View, model: str) -> ModelState:
    """Everything about one model; a broken chain or a changed record is an `IntegrityError` that names the file."""
    where = channels_path(model)
    channels = parse(Channels, require_channels(view, model), where)
    if channels.head is None:
        raise IntegrityError("does not name the last event", where=where, fix=HAND_EDITED)
    events: list[Event] = []
    expected = channels.head.digest
    for number in range(channels.head.event, 0, -1):
        path = event_path(model, number)
        data = view.read(path)
        if data is None or sha256_bytes(data) != expected:
            raise IntegrityError("is missing, or not the event that the next one names", where=path, fix=HAND_EDITED)
        event = parse(Event, parse_mapping(data, path), path)
        events.append(event)
        expected = event.previous
    events.reverse()
    records = {}
    for event in events:
        for entry in event.records:
            content = read_record(view, model, entry.version, entry.record)
            records[entry.version] = parse(VersionRecord, content, version_path(model, entry.version))
    return ModelState(channels, records, tuple(events))


def read_models(root: Path, models: list[str] | None = None) -> tuple[ModelState, ...]:
    """The models of a project's working tree, all or those named, by name; see `read_model`."""
    known = model_names(root)
    require_place(root, known)
    unknown = [name for name in models or [] if name not in known]
    if unknown:
        raise StateError(f"the registry has no model {unknown[0]!r}", where=MODELS)
    return tuple(read_model(WorkTree(root), name) for name in models or known)
