"""Versions that are recorded and wait: for a canary to end, or for somebody to release them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weighbridge.core.errors import StateError
from weighbridge.registry.lookup.resolve import resolve_all, settled_channels
from weighbridge.registry.state.layout import View, WorkTree, event_path, model_names, parse_mapping, read_record
from weighbridge.registry.state.records import EventKind

State = Literal["stable", "canary", "waiting", "quarantined", "deprecated", "superseded"]
_SERVING: tuple[Literal["stable", "canary"], ...] = ("stable", "canary")
_SERVED_BY = (EventKind.PROMOTED, EventKind.CANARY_STARTED, EventKind.ROLLED_BACK)


@dataclass(frozen=True)
class Standing:
    """What the registry knows of some bytes."""

    version: str
    state: State

    @property
    def settled(self) -> bool:
        """Whether nothing better is to be had by promoting something else: it serves, or will."""
        return self.state in ("stable", "canary", "waiting")

    def text(self, model: str) -> str:
        """The state as a clause about these bytes."""
        said = {
            "stable": "stable already, as",
            "canary": "on canary, as",
            "waiting": "recorded and waiting, as",
            "quarantined": "quarantined, as",
            "deprecated": "deprecated, as",
            "superseded": "an older version, not stable any more:",
        }
        return f"these bytes are {said[self.state]} {model}@{self.version}"


def standing(root: Path, model: str, digest: str) -> Standing | None:
    """What the registry knows of an artifact by its digest; None where no version has it."""
    channels = settled_channels(root, model) if model in model_names(root) else None
    if channels is None:
        return None
    try:
        version = resolve_all(root, f"{model}@{digest}")[0].version
    except StateError:
        return None
    return Standing(version, _state(WorkTree(root), channels, version, digest))


def _state(view: View, channels: dict[str, Any], version: str, digest: str) -> State:
    if version in channels["quarantined"] or digest in channels["quarantined"].values():
        return "quarantined"
    if version in channels["deprecated"]:
        return "deprecated"
    for name in _SERVING:
        if (channels.get(name) or {}).get("version") == version:
            return name
    return "waiting" if _waits(view, channels, version) else "superseded"


def newest_waiting(view: View, channels: dict[str, Any]) -> str | None:
    """The newest version that has never served, is newer than what serves, and neither quarantined nor deprecated."""
    for number in range(channels["versions"], 0, -1):
        version = f"v{number}"
        if any((channels.get(name) or {}).get("version") == version for name in _SERVING):
            return None
        retired = version in channels["quarantined"] or version in channels["deprecated"]
        if not retired and _waits(view, channels, version):
            return version
    return None


def _waits(view: View, channels: dict[str, Any], version: str) -> bool:
    """Whether no event since it was recorded was about a version: it was neither stable nor on canary yet."""
    first = read_record(view, channels["model"], version)["event"]
    for number in range(first, channels["head"]["event"] + 1):
        where = event_path(channels["model"], number)
        event = parse_mapping(view.read(where) or b"", where)
        if (event.get("target") or {}).get("version") == version and event["kind"] in _SERVED_BY:
            return False
    return version.startswith("v")
