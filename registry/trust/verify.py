"""Verify the whole tree: chain, digests, channels = fold(events), append-only, signatures, plain files.

Every byte of the registry's state is covered: an event's by the digest in the next one (the last one's in the
channels), a record's and a signature's by the digest in the event that brought them, the channels' by being
rendered again from the fold of all events.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.state import rollout
from weighbridge.registry.state.events import UNPROVEN, Event, EventKind, NewRecord
from weighbridge.registry.state.layout import (
    EVENT_NAME,
    FILE_LIMIT,
    MODELS,
    VERSION_NAME,
    View,
    WorkTree,
    channels_path,
    event_path,
    model_folder,
    model_names,
    parse_mapping,
    signature_path,
    version_path,
)
from weighbridge.registry.state.presence import require_place
from weighbridge.registry.state.records import NO_EVENT, Channels, Head, Placed, VersionRecord
from weighbridge.registry.state.store import render
from weighbridge.registry.trust.kept_evidence import FOLDER, check_kept, kept_on_disk, migrated_evidence, named_evidence
from weighbridge.registry.trust.registry_policy import RegistryPolicy, read_policy
from weighbridge.registry.trust.signing import UntrustedError, require_statement, require_trusted

Report = Callable[[str, int, int, str], None]
D = TypeVar("D", Channels, Event, VersionRecord)
_CLAIMS = re.compile(
    rb"schema_version: \d+\nmodel: (\S+)\nversion: (\S+)\nkind: \w+\nevent: (\d+)\nat: .*\nby: .*\n"
    rb"artifacts:\n- target: .*\n  path: .*\n  digest: (\S+)\n"
)
"""What a record says of itself, in the form in which this program writes it; another form is read in full."""
_FOLDERS = ("events", "versions", "signatures")


@dataclass(frozen=True)
class CheckedRegistry:
    """What was verified of one model."""

    model: str
    events: int
    versions: int
    baselines: int
    signatures: int
    stable: str | None
    head: str
    """Digest of the last event."""
    unproven: str | None = None
    """The stable version, where it was gone back to without a proof of its bytes or its signature."""


@dataclass
class _Expected:
    """Files that the history accounts for, collected while it is folded."""

    paths: set[str] = field(default_factory=set)
    signatures: int = 0
    unproven: set[int] = field(default_factory=set)
    """Numbers of roll-backs to what could not be proven then."""


def verify_models(
    root: Path,
    *,
    models: list[str] | None = None,
    now: datetime | None = None,
    deep: bool = False,
    report: Report | None = None,
) -> list[CheckedRegistry]:
    """Verify models (default: all) as they lie in the working tree; the first defect is an `IntegrityError`.

    `now`: an event that is later than this is a defect too (None: not asked). `deep`: every record is also read as a
    document of its schema; otherwise those that are signed or serve are, and of the others the digest and the claims.
    """
    view = WorkTree(root)
    policy = read_policy(view)
    names = model_names(root)
    require_place(root, names)
    chosen = names if models is None else models
    checked = []
    for position, model in enumerate(chosen):
        if model not in names:
            raise StateError(f"the registry has no model {model!r}", where=MODELS)
        checked.append(_verify_model(view, model, policy, now, deep=deep))
        if report:
            report("verify", position + 1, len(chosen), model)
    return checked


def _verify_model(
    view: WorkTree, model: str, policy: RegistryPolicy, now: datetime | None, *, deep: bool
) -> CheckedRegistry:
    where = channels_path(model)
    data = view.read(where)
    if data is None:
        raise IntegrityError("is missing", where=where)
    claimed = _document(Channels, data, where)
    if claimed.head is None:
        raise IntegrityError("does not name the last event", where=where)
    expected = _Expected({where})
    channels, previous = Channels(model=model), Head(event=1, digest=NO_EVENT)
    last: Event | None = None
    for number in range(1, claimed.head.event + 1):
        event, digest = _event(view, model, number, previous, last)
        expected.paths.add(event_path(model, number))
        _records(view, event, expected, deep=deep)
        channels = _fold(channels, event)
        previous, last = Head(event=number, digest=digest), event
    if last is not None and now is not None and datetime.fromisoformat(last.at) > now:
        raise IntegrityError(f"is dated in the future: {last.at}", where=event_path(model, last.number))
    folded = channels.model_copy(update={"head": previous})
    if render(folded) != data:
        raise IntegrityError("does not match the events: it was edited, or an event is missing", where=where)
    for place in (channels.stable, channels.canary, channels.baseline):
        if place is not None:
            where_record = version_path(model, place.version)
            _document(VersionRecord, view.read(where_record) or b"", where_record)
    # Old signatures stay in the chain when their key retires; what serves must be trusted by the policy of today, or
    # an event must say that somebody went back to it without that.
    for place in (channels.stable, channels.canary):
        if place is not None:
            _require_trusted(view, place, expected, policy, model)
    _unaccounted(view.root, model, expected.paths)
    return CheckedRegistry(
        model=model,
        events=previous.event,
        versions=channels.versions,
        baselines=channels.baselines,
        signatures=expected.signatures,
        stable=channels.stable.version if channels.stable else None,
        head=previous.digest,
        unproven=channels.stable.version if channels.stable and channels.stable.event in expected.unproven else None,
    )


def _require_trusted(view: View, place: Placed, expected: _Expected, policy: RegistryPolicy, model: str) -> None:
    try:
        require_trusted(view, model, place.version, policy)
    except UntrustedError:
        if place.event not in expected.unproven:
            raise


def _document(kind: type[D], data: bytes, where: str) -> D:
    try:
        return parse(kind, parse_mapping(data, where), where)
    except InputError as error:
        raise IntegrityError(error.what, where=error.where, fix=error.fix) from error


def _event(view: View, model: str, number: int, previous: Head, before: Event | None) -> tuple[Event, str]:
    where = event_path(model, number)
    data = view.read(where)
    if data is None:
        raise IntegrityError("is missing", where=where)
    event = _document(Event, data, where)
    if event.number != number or event.model != model:
        raise IntegrityError(f"is event {event.number} of {event.model}", where=where)
    if event.previous != previous.digest:
        raise IntegrityError("does not follow the event before it: the chain is broken", where=where)
    if before is not None and event.at < before.at:
        raise IntegrityError("is earlier than the event before it", where=where)
    return event, sha256_bytes(data)


def _fold(channels: Channels, event: Event) -> Channels:
    where = event_path(event.model, event.number)
    try:
        folded = rollout.apply(channels, event)
    except StateError as error:
        raise IntegrityError(f"could not have happened: {error.what}", where=where) from error
    if event.state != folded.digest() or event.after != rollout.after(folded):
        raise IntegrityError("does not lead to the channels that it records", where=where)
    return folded


def _records(view: View, event: Event, expected: _Expected, *, deep: bool) -> None:
    if event.kind is EventKind.ROLLED_BACK and UNPROVEN in event.evidence:
        expected.unproven.add(event.number)
    for version, named in migrated_evidence(event).items():
        expected.paths |= check_kept(view, event.model, version, named)
    for entry in event.records:
        record = _record(view, event, entry, thorough=deep or entry.signature is not None)
        where = version_path(event.model, entry.version)
        expected.paths.add(where)
        named = named_evidence(view.read(where) or b"", where)
        expected.paths |= check_kept(view, event.model, entry.version, named)
        where = signature_path(event.model, entry.version)
        if entry.signature is None:
            continue
        envelope = view.read(where)
        if envelope is None or sha256_bytes(envelope) != entry.signature:
            raise IntegrityError("is missing or not the signature that the event names", where=where)
        assert record is not None
        require_statement(envelope, record, entry.record, where)
        expected.paths.add(where)
        expected.signatures += 1


def _record(view: View, event: Event, entry: NewRecord, *, thorough: bool) -> VersionRecord | None:
    """Check one record against the event that brought it; it is read as a document only where `thorough`."""
    where = version_path(event.model, entry.version)
    data = view.read(where)
    if data is None:
        raise IntegrityError(f"is missing: event {event.number} recorded it", where=where)
    if sha256_bytes(data) != entry.record:
        raise IntegrityError(f"is not the record that event {event.number} names", where=where)
    expected = (event.model, entry.version, event.number, entry.digest)
    said = _CLAIMS.match(data)
    if not thorough and said and said.groups() == tuple(str(value).encode() for value in expected):
        return None
    record = _document(VersionRecord, data, where)
    if (record.model, record.version, record.event, record.artifacts[0].digest) != expected:
        raise IntegrityError(f"does not say what event {event.number} says of it", where=where)
    return record


def _unaccounted(root: Path, model: str, expected: set[str]) -> None:
    """No file that looks like state may lie beside the history; hidden and loose files are none of ours."""
    for path in _state_files(root, model):
        if path not in expected:
            raise IntegrityError(
                "is named by no event", where=path, fix="it was not written by this program: remove it"
            )


def _state_files(root: Path, model: str) -> Iterator[str]:
    folder = model_folder(model)
    for entry in os.scandir(root / folder):
        if entry.is_symlink():
            raise IntegrityError("is a symbolic link", where=f"{folder}/{entry.name}")
        if entry.is_dir() and entry.name in _FOLDERS:
            yield from _files(root, f"{folder}/{entry.name}")
        elif entry.is_dir() and entry.name == FOLDER:
            yield from kept_on_disk(root, model)
        elif entry.name.casefold() in _FOLDERS or entry.name.casefold() == "channels.yaml":
            yield f"{folder}/{entry.name}"


def _files(root: Path, folder: str) -> Iterator[str]:
    for entry in os.scandir(root / folder):
        if entry.is_symlink() or not entry.is_file():
            raise IntegrityError("is not a plain file", where=f"{folder}/{entry.name}")
        if entry.stat().st_size > FILE_LIMIT:
            raise IntegrityError(f"has more than {FILE_LIMIT} bytes", where=f"{folder}/{entry.name}")
        stem, dot, _ = entry.name.casefold().rpartition(".")
        if EVENT_NAME.fullmatch(entry.name.casefold()) or (dot and VERSION_NAME.fullmatch(stem)):
            yield f"{folder}/{entry.name}"
