"""Versions that are recorded and wait: for a canary to end, or for somebody to release them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from weighbridge.core.errors import StateError
from weighbridge.core.git import Git
from weighbridge.registry.lifecycle.destination import WAITS_FOR
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lookup.resolve import resolve_all, settled_channels
from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.layout import View, WorkTree, event_path, model_names, parse_mapping, read_record
from weighbridge.registry.state.tip import Committed, Settings, Tip
from weighbridge.registry.trust.registry_policy import read_policy

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
    """The newest version that CI recorded because a canary was open, and that has never served since.

    None where what serves is newer. One that a person recorded waits for a person.
    """
    for number in range(channels["versions"], 0, -1):
        version = f"v{number}"
        if any((channels.get(name) or {}).get("version") == version for name in _SERVING):
            return None
        retired = version in channels["quarantined"] or version in channels["deprecated"]
        if not retired and _by_policy(view, channels["model"], version) and _waits(view, channels, version):
            return version
    return None


def _by_policy(view: View, model: str, version: str) -> bool:
    where = event_path(model, int(read_record(view, model, version)["event"]))
    return WAITS_FOR in (parse_mapping(view.read(where) or b"", where).get("evidence") or {})


def _waits(view: View, channels: dict[str, Any], version: str) -> bool:
    """Whether no event since it was recorded was about a version: it was neither stable nor on canary yet."""
    first = read_record(view, channels["model"], version)["event"]
    for number in range(first, channels["head"]["event"] + 1):
        where = event_path(channels["model"], number)
        event = parse_mapping(view.read(where) or b"", where)
        if (event.get("target") or {}).get("version") == version and event["kind"] in _SERVED_BY:
            return False
    return version.startswith("v")


def take_up(root: Path, model: str, settings: Settings | None = None) -> Committed | None:
    """Do with the newest version that waits what the policy does with a merge: start its canary, or make it stable.

    None where nothing waits, a canary is open, or the policy only records.
    """
    view, git = WorkTree(root), Git(root)
    channels = settled_channels(root, model)
    policy = read_policy(Tip(git, git.head(), datetime.now(UTC), git.prefix()))
    if channels is None or channels.get("canary") or policy.on_merge == "record":
        return None
    version = newest_waiting(view, channels)
    if version is None:
        return None
    operator = Operator(root, model, settings)
    if policy.on_merge == "canary" and channels.get("stable"):
        return operator.start_canary(version, reason="it waited for the end of a canary")
    return operator.release(version, reason="it waited for the end of a canary")
