"""Channel statements: which version a channel names, signed, with an expiry, and with the number of the last event.

A signature over a version stays good for ever, so whoever controls a tag could serve yesterday's version of a model
with yesterday's signature. A channel statement says that the version was what the channel named a short time ago; the
number of the registry's last event orders statements, so that a client which remembers it refuses one that is older
(freeze and rollback attacks in the words of TUF, https://theupdateframework.io/docs/security/). It travels as the
versions' statements do: an in-toto statement in a DSSE envelope or a sigstore bundle, by today's keys or identities.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from weighbridge.core.documents.base import Recorded, parse
from weighbridge.core.errors import InputError, IntegrityError, StateError, WeighbridgeError
from weighbridge.core.files import canonical_json, read_json, sha256_bytes, write_json
from weighbridge.registry.state.layout import View, require_channels
from weighbridge.registry.state.records import Timestamp, Version, VersionRecord
from weighbridge.registry.trust.registry_policy import RegistryPolicy
from weighbridge.registry.trust.signing import STATEMENT_TYPE, Signer, open_trusted, seal

PREDICATE_TYPE = "urn:weighbridge:predicate:channel:v1"
_CLOCKS = timedelta(minutes=5)
"""By how much two machines' clocks may differ."""


class ChannelStatement(Recorded):
    """What is signed of a channel."""

    model: str
    channel: Literal["stable", "canary", "baseline"]
    version: Version
    record: str
    """SHA-256 of the version's record."""
    event: int = Field(ge=1)
    """The last event of the model's history when this was signed: a later statement has the same number or a higher."""
    issued: Timestamp
    expires: Timestamp


class Seen(Recorded):
    """What a channel named when it was last pulled."""

    event: int = Field(ge=1)
    version: Version


@dataclass(frozen=True)
class Stated:
    """What a statement must be about, and until when it is good."""

    record: VersionRecord
    record_bytes: bytes
    channel: str
    now: datetime
    """UTC."""
    where: str


def state_channel(view: View, place: Stated, lifetime: timedelta, key: Signer) -> bytes:
    """Sign that a channel names a version, good for `lifetime` from now.

    A channel that names another version now is a `StateError`; a lifetime that is no time at all an `InputError`.
    """
    if lifetime < timedelta(seconds=1):
        raise InputError("expected at least a second", where="--fresh-for", fix="such as --fresh-for 48h")
    record = place.record
    channels = require_channels(view, record.model)
    if (channels.get(place.channel) or {}).get("version") != record.version:
        raise StateError(f"{place.channel} of {record.model} does not name {record.version} now")
    stated = ChannelStatement(
        model=record.model,
        channel=place.channel,
        version=record.version,
        record=sha256_bytes(place.record_bytes),
        event=channels["head"]["event"],
        issued=_stamp(place.now),
        expires=_stamp(place.now + lifetime),
    )
    subject = [
        {"name": f"{record.model}@{record.version}", "digest": {"sha256": artifact.digest.removeprefix("sha256:")}}
        for artifact in record.artifacts
    ]
    content = {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": PREDICATE_TYPE}
    return seal(canonical_json({**content, "predicate": stated.to_json()}), key)


def require_fresh(
    envelopes: Sequence[bytes], place: Stated, policy: RegistryPolicy, seen: Path | None = None
) -> ChannelStatement:
    """The newest statement that a key of the policy signed, about this channel and version, not expired.

    With `seen`, a file that `remember` wrote, nor is it older than what the file says. Retired keys do not count. A
    statement that nobody of the policy signed cannot push a good one aside; where there is no good one, the error says
    what is wrong with it: an `IntegrityError`, or a `StateError` for one that is missing or has expired.
    """
    if not envelopes:
        raise StateError(
            f"has no signed statement of the channel {place.channel}, and freshness is required",
            where=place.where,
            fix="the publisher adds one: `weighbridge registry push … --fresh-for 48h`",
        )
    fitting, refused = [], []
    for envelope in envelopes:
        try:
            fitting.append(_about(_read(envelope, policy, place.where), place))
        except WeighbridgeError as error:
            refused.append(error)
    if not fitting:
        raise refused[0]
    newest = max(fitting, key=lambda stated: (stated.event, stated.issued))
    _require_time(newest, place)
    if seen is not None:
        _require_not_older(newest, seen)
    return newest


def remember(seen: Path, stated: ChannelStatement) -> None:
    """Note in the file `seen` which event a channel was at, for the next `require_fresh`."""
    known = _seen(seen)
    known[_name(stated)] = Seen(event=stated.event, version=stated.version)
    write_json(seen, {name: entry.to_json() for name, entry in sorted(known.items())})


def _read(envelope: bytes, policy: RegistryPolicy, where: str) -> ChannelStatement:
    what = f"{where}: channel statement"
    payload = json.loads(open_trusted(envelope, policy, what).payload)
    if not isinstance(payload, dict) or payload.get("predicateType") != PREDICATE_TYPE:
        raise IntegrityError("is signed, but states nothing of a channel", where=what)
    try:
        return parse(ChannelStatement, payload.get("predicate"), what)
    except InputError as error:
        raise IntegrityError(f"cannot be read: {error}", where=what) from error


def _about(stated: ChannelStatement, place: Stated) -> ChannelStatement:
    record = place.record
    found = f"{stated.channel} of {stated.model} is {stated.version}"
    if (stated.model, stated.channel, stated.version) != (record.model, place.channel, record.version):
        raise IntegrityError(
            f"its channel statement says that {found}, not that {place.channel} of {record.model} is {record.version}",
            where=place.where,
        )
    if stated.record != sha256_bytes(place.record_bytes):
        raise IntegrityError(f"its channel statement names another record of {record.version}", where=place.where)
    return stated


def _require_time(stated: ChannelStatement, place: Stated) -> None:
    now = _stamp(place.now)
    if stated.expires <= now:
        raise StateError(
            f"its channel statement expired at {stated.expires}; it is {now} here",
            where=place.where,
            fix="the publisher pushes again (`--fresh-for`); check this machine's clock",
        )
    if stated.issued > _stamp(place.now + _CLOCKS):
        raise StateError(
            f"its channel statement was signed at {stated.issued}, and it is {now} here",
            where=place.where,
            fix="check this machine's clock",
        )


def _require_not_older(stated: ChannelStatement, seen: Path) -> None:
    last = _seen(seen).get(_name(stated))
    if last is None:
        return
    if stated.event < last.event or (stated.event == last.event and stated.version != last.version):
        raise IntegrityError(
            f"{stated.channel} of {stated.model} went back outside the registry: {stated.version} is stated as of "
            f"event {stated.event}, but {last.version} as of event {last.event} was seen before",
            where=str(seen),
            fix="ask the publisher; a true roll-back has a later event",
        )


def _seen(path: Path) -> dict[str, Seen]:
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError("does not list channels that were seen", where=str(path), fix="name another file")
    return {str(name): parse(Seen, entry, f"{path}: {name}") for name, entry in content.items()}


def _name(stated: ChannelStatement) -> str:
    return f"{stated.model}@{stated.channel}"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
