"""The one resolver: from `model@stable` to the artifacts of a version. `location` finds their verified bytes.

CLI, API and CI all ask here. Resolving reads the channels, the last event and one record, however long the
history; it imports neither pydantic nor DVC and starts no process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import DIGEST
from weighbridge.registry.lookup.resolved import Resolved
from weighbridge.registry.state.layout import (
    HAND_EDITED,
    MODELS,
    VERSION_NAME,
    View,
    WorkTree,
    channels_path,
    event_path,
    model_names,
    parse_mapping,
    read_channels,
    read_record,
    require_channels,
    safe_relative,
    version_path,
)

CHANNEL_NAMES = ("stable", "canary", "baseline")
_FORMS = (
    "MODEL@stable, @canary, @baseline, @v7, @sha256:…, @yesterday, @3-days-ago, @2026-11-23 (at the end of that day), "
    "or @2026-11-23T20:00:00Z"
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_DAYS_AGO = re.compile(r"([1-9]\d{0,3})-days?-ago")
_HEX = re.compile(r"sha256:[0-9a-f]{8,64}")


def resolve(root: Path, spec: str, *, target: str | None = None, view: View | None = None) -> Resolved:
    """The artifact that `MODEL@stable|canary|baseline|v7|b1|sha256:…|TIME` names; `MODEL` alone means stable.

    A TIME is ISO 8601 (UTC where it names no zone) or a day, `yesterday` among them, and asks what was stable then, at
    the end of the day. `target` chooses among the artifacts
    of a version that was built for several; not to choose then is an `InputError` that lists them, unless a digest
    did. A form that cannot be read is an `InputError`, a model, version or channel that is missing a `StateError`,
    and a file that does not agree with the history an `IntegrityError`. Nothing is ever replaced by a default.
    """
    found = resolve_all(root, spec, view=view)
    what = spec.partition("@")[2]
    if what.startswith("sha256:"):
        found = tuple(artifact for artifact in found if artifact.digest.startswith(what))
    fitting = tuple(artifact for artifact in found if target in (None, artifact.target))
    if len(fitting) == 1:
        return fitting[0]
    name, built = f"{found[0].model}@{found[0].version}", ", ".join(artifact.target for artifact in found)
    if not fitting:
        raise InputError(f"{name} was not built for {target!r}", fix=f"built for: {built}")
    raise InputError(f"{name} was built for {built}", fix="say which: --target NAME")


def resolve_all(root: Path, spec: str, *, view: View | None = None) -> tuple[Resolved, ...]:
    """All artifacts of the version that `spec` names, one for each target, the one that its record leads with first.

    See `resolve`.
    """
    model, _, what = spec.partition("@")
    source = view or WorkTree(root)
    channels = require_channels(source, model)
    what = what or "stable"
    if what in CHANNEL_NAMES:
        return _by_channel(source, channels, what)
    if VERSION_NAME.fullmatch(what):
        return _resolved(source, channels, what)
    if what.startswith("sha256:"):
        return _resolved(source, channels, _by_digest(source, channels, what))
    return _resolved(source, channels, _stable_at(source, channels, what), channel="stable")


def stable_or_none(root: Path, model: str) -> Resolved | None:
    """The artifact that the stable version leads with; None where the registry has no such model or nothing of it is
    stable yet. Damage is an error, never None.
    """
    return next(iter(stable_artifacts(root, model)), None)


def stable_artifacts(root: Path, model: str) -> tuple[Resolved, ...]:
    """All artifacts of the stable version, one for each target; none where `stable_or_none` gives None."""
    if model not in (names := model_names(root)):
        from weighbridge.registry.state.presence import require_whole  # noqa: PLC0415  # asks git; resolving must start fast

        require_whole(root, names)
        return ()
    channels = settled_channels(root, model)
    return () if not channels or channels.get("stable") is None else resolve_all(root, f"{model}@stable")


def settled_channels(root: Path, model: str) -> dict[str, Any] | None:
    """The channels of a model whose folder is there. A folder without channels is what a command that was killed
    while it wrote the model's first event leaves: that is finished first. None where the model's folder holds no
    events; without channels beside events, an `IntegrityError`.
    """
    view = WorkTree(root)
    channels = read_channels(view, model)
    if channels is None:
        from weighbridge.registry.state.store import Store  # noqa: PLC0415  # needed after a crash only; resolving must start fast

        Store(root).repair()
        channels = read_channels(view, model)
    if channels is None and view.read(event_path(model, 1)) is not None:
        raise IntegrityError("is missing", where=channels_path(model), fix=HAND_EDITED)
    return channels


def _by_channel(view: View, channels: dict[str, Any], channel: str) -> tuple[Resolved, ...]:
    place = channels.get(channel)
    if place is None:
        raise StateError(f"{channels['model']} has no {channel} version", where=f"{MODELS}/{channels['model']}")
    return _resolved(
        view,
        channels,
        str(place["version"]),
        record=str(place["record"]),
        channel=channel,
        weight=place.get("weight"),
        since=place["since"],
    )


def _resolved(
    view: View, channels: dict[str, Any], version: str, *, record: str | None = None, **facts: Any
) -> tuple[Resolved, ...]:
    model = channels["model"]
    content = read_record(view, model, version, record)
    where = version_path(model, version)
    try:
        if content["model"] != model or content["version"] != version:
            raise IntegrityError(f"describes {content['model']}@{content['version']}", where=where, fix=HAND_EDITED)
        shared = {
            "model": model,
            "version": version,
            "commit": str(content["commit"]),
            "record": where,
            "quarantined": version in channels["quarantined"],
            "deprecated": channels["deprecated"].get(version),
            **facts,
        }
        found = tuple(_artifact(item, shared, where) for item in content["artifacts"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"is not a version record: {error!r}", where=where, fix=HAND_EDITED) from error
    if not found or len({artifact.target for artifact in found}) != len(found):
        raise IntegrityError("lists no artifact, or two for one target", where=where, fix=HAND_EDITED)
    return found


def _artifact(item: Mapping[str, Any], shared: Mapping[str, Any], where: str) -> Resolved:
    if not DIGEST.fullmatch(item["digest"]) or not safe_relative(item["path"]):
        raise IntegrityError("has no digest, or a path outside the project", where=where)
    return Resolved(
        digest=item["digest"],
        bytes=int(item["bytes"]),
        target=str(item["target"]),
        path=item["path"],
        md5=str(item["md5"]),
        requires=_requires(item),
        weights=_weights(item, where),
        **shared,
    )


def _weights(item: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    """The second file of an artifact in two, as the record has it."""
    found = item.get("weights")
    if found is None:
        return None
    if not DIGEST.fullmatch(found["digest"]) or not safe_relative(found["path"]):
        raise IntegrityError("has weights without a digest, or with a path outside the project", where=where)
    return {"path": found["path"], "digest": found["digest"], "bytes": int(found["bytes"]), "md5": str(found["md5"])}


def _requires(item: Mapping[str, Any]) -> tuple[str, ...]:
    """None are recorded by versions that are older than the field."""
    found = item.get("requires", [])
    if not isinstance(found, list):
        raise TypeError("'requires' is not a list")
    return tuple(map(str, found))


def _by_digest(view: View, channels: dict[str, Any], digest: str) -> str:
    """The newest version with an artifact that has the digest, or a digest that starts so (8 digits at least)."""
    model = channels["model"]
    if not _HEX.fullmatch(digest):
        raise InputError(f"{digest!r} is not a digest", fix="sha256: and 8 to 64 hex digits")
    needle = digest.encode()
    found: dict[str, str] = {}
    for kind, count in (("v", channels["versions"]), ("b", channels["baselines"])):
        for number in range(count, 0, -1):
            data = view.read(version_path(model, f"{kind}{number}"))
            if data is not None and needle in data:
                content = parse_mapping(data, version_path(model, f"{kind}{number}"))
                for artifact in content["artifacts"]:
                    if str(artifact["digest"]).startswith(digest):
                        found.setdefault(str(artifact["digest"]), f"{kind}{number}")
    if not found:
        raise StateError(f"{model} has no version with {digest}")
    if len(found) > 1:
        raise InputError(f"{digest} fits {len(found)} artifacts", fix="give more digits")
    return next(iter(found.values()))


def _moment(text: str, now: datetime) -> datetime:
    """A time, or the end of a day in UTC: `yesterday`, `3-days-ago`, `2026-11-23`."""
    ago = _DAYS_AGO.fullmatch(text)
    day = {"today": 0, "yesterday": 1}.get(text, int(ago[1]) if ago else None)
    if day is not None:
        return (now - timedelta(days=day)).replace(hour=23, minute=59, second=59, microsecond=999999)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not a version, channel, digest, day or time", fix=_FORMS) from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return moment + timedelta(days=1, microseconds=-1) if _DAY.fullmatch(text) else moment


def _stable_at(view: View, channels: dict[str, Any], text: str) -> str:
    """The version that was stable at a time: binary search over events, whose times never run back."""
    model = channels["model"]
    moment = _moment(text, datetime.now(UTC))
    low, high, stable = 1, int(channels["head"]["event"]), None
    while low <= high:
        middle = (low + high) // 2
        where = event_path(model, middle)
        data = view.read(where)
        if data is None:
            raise IntegrityError("is missing", where=where, fix=HAND_EDITED)
        event = parse_mapping(data, where)
        if datetime.fromisoformat(str(event["at"])) <= moment:
            low, stable = middle + 1, event["after"].get("stable")
        else:
            high = middle - 1
    if stable is None:
        raise StateError(f"no version of {model} was stable at {text}")
    return str(stable)
