"""What the registry holds, as rows for tables and JSON: models, versions, history, one record, the canary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.core.git import Git
from weighbridge.registry.lookup.resolve import resolve_all, settled_channels
from weighbridge.registry.state.layout import (
    HAND_EDITED,
    WorkTree,
    event_path,
    model_names,
    parse_mapping,
    read_record,
    require_channels,
)
from weighbridge.registry.state.presence import require_place
from weighbridge.registry.views.origins import Origins


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    def to_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class ModelRow(Row):
    """One model and where its channels point."""

    model: str
    stable: str | None
    since: str | None
    canary: str | None
    baseline: str | None
    versions: int
    quarantined: int
    events: int


@dataclass(frozen=True)
class VersionRow(Row):
    """One version."""

    version: str
    channel: str
    recipe: str
    bytes: int
    at: str
    digest: str
    commit: str
    by: str


@dataclass(frozen=True)
class EventRow(Row):
    """One event of a model's history."""

    event: int
    at: str
    kind: str
    version: str | None
    recipe: str | None
    bytes: int | None
    """Of the version's first artifact."""
    stable: str | None
    pull_request: int | None
    """That brought the version, as the commit that it was made from says."""
    commit: str | None
    """That the event came with; None in a clone that is not deep enough to tell."""
    by: str
    reason: str


def models(root: Path) -> list[ModelRow]:
    """All models, by name."""
    rows = []
    names = model_names(root)
    require_place(root, names)
    for name in names:
        channels = settled_channels(root, name)
        if channels is None:
            continue
        canary = channels.get("canary")
        rows.append(
            ModelRow(
                model=name,
                stable=_version(channels.get("stable")),
                since=channels["stable"]["since"] if channels.get("stable") else None,
                canary=f"{canary['version']} at {canary['weight']:g}%" if canary else None,
                baseline=_version(channels.get("baseline")),
                versions=channels["versions"],
                quarantined=len(channels["quarantined"]),
                events=channels["head"]["event"],
            )
        )
    return rows


def versions(root: Path, model: str) -> list[VersionRow]:
    """A model's versions, newest first, baselines after them."""
    view = WorkTree(root)
    channels = require_channels(view, model)
    names = [f"v{number}" for number in range(channels["versions"], 0, -1)]
    names += [f"b{number}" for number in range(channels["baselines"], 0, -1)]
    rows = []
    for name in names:
        record = read_record(view, model, name)
        artifact = record["artifacts"][0]
        rows.append(
            VersionRow(
                version=name,
                channel=", ".join(_states(channels, name)),
                recipe=record["recipe_name"],
                bytes=artifact["bytes"],
                at=record["at"],
                digest=artifact["digest"][:19],
                commit=record["commit"][:12],
                by=record["by"],
            )
        )
    return rows


def history(root: Path, model: str, limit: int = 0) -> list[EventRow]:
    """A model's events, newest first; `limit` 0 means all. The chain is checked on the way back."""
    view = WorkTree(root)
    channels = require_channels(view, model)
    number, expected = int(channels["head"]["event"]), channels["head"]["digest"]
    rows: list[EventRow] = []
    origins = Origins(Git(root), model)
    while number >= 1 and (not limit or len(rows) < limit):
        where = event_path(model, number)
        data = view.read(where)
        if data is None or sha256_bytes(data) != expected:
            raise IntegrityError("is missing, or not the event that was recorded", where=where, fix=HAND_EDITED)
        event = parse_mapping(data, where)
        target = event["target"] or (event["records"][-1] if event["records"] else None)
        about = _record_of(view, model, _version(target))
        rows.append(
            EventRow(
                event=number,
                at=event["at"],
                kind=event["kind"],
                version=_version(target),
                recipe=about["recipe_name"] if about else None,
                bytes=about["artifacts"][0]["bytes"] if about else None,
                stable=event["after"]["stable"],
                pull_request=origins.pull_request(about["commit"]) if about else None,
                commit=origins.commit(number),
                by=event["by"],
                reason=event["reason"],
            )
        )
        number, expected = number - 1, event["previous"]
    return rows


def _record_of(view: WorkTree, model: str, version: str | None) -> dict[str, Any] | None:
    """A version's record; None where there is none, as that of a quarantined version may be gone."""
    if version is None:
        return None
    try:
        return read_record(view, model, version)
    except StateError:
        return None


def record(root: Path, spec: str) -> dict[str, Any]:
    """The record of the version that `spec` names; see `weighbridge.registry.lookup.resolve.resolve_all`."""
    found = resolve_all(root, spec)[0]
    return read_record(WorkTree(root), found.model, found.version)


def canary(root: Path, model: str) -> dict[str, Any]:
    """The canary of a model; a `StateError` where there is none."""
    channels = require_channels(WorkTree(root), model)
    found = channels.get("canary")
    if found is None:
        raise StateError(f"no version of {model} is on canary")
    return dict(found)


def _version(place: dict[str, Any] | None) -> str | None:
    return str(place["version"]) if place else None


def _states(channels: dict[str, Any], name: str) -> list[str]:
    states = [channel for channel in ("stable", "canary", "baseline") if _version(channels.get(channel)) == name]
    states += ["quarantined"] if name in channels["quarantined"] else []
    states += ["deprecated"] if name in channels["deprecated"] else []
    return states
