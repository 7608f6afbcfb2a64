"""`registry migrate`: bring a model's files from the schema of an earlier program to that of this one.

Nothing that was written is changed: history only grows. One event says from which schema to which, and keeps beside
each version what programs since then keep at promotion: its verdict and its measurements, fetched by what the lock
file of its commit names, and checked against its record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weighbridge.core.documents import Measurement
from weighbridge.core.documents.base import parse
from weighbridge.core.dvc_files import Lock
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import parse_json, sha256_bytes
from weighbridge.core.project import LOCK
from weighbridge.registry.lifecycle.kept import KEPT_VERDICT
from weighbridge.registry.lifecycle.selection import VERDICT
from weighbridge.registry.lookup.objects import object_bytes
from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.layout import evidence_path, home, read_record, version_path
from weighbridge.registry.state.records import LATEST_SCHEMA, Channels, VersionRecord
from weighbridge.registry.state.store import Store
from weighbridge.registry.state.tip import Committed, Draft, Settings, Tip
from weighbridge.registry.trust.registry_policy import read_policy


@dataclass(frozen=True)
class Migrated:
    """What a migration did."""

    committed: Committed
    kept: tuple[str, ...]
    """Versions whose evidence is kept now."""
    missing: dict[str, str]
    """Versions whose evidence cannot be had any more, each with the reason."""


def migrate(root: Path, model: str, settings: Settings | None = None) -> Migrated | None:
    """Migrate one model; None where its files are of today's schema."""
    top = home(root)
    found: dict[str, dict[str, bytes]] = {}
    missing: dict[str, str] = {}

    def decide(tip: Tip, channels: Channels) -> Draft:
        read_policy(tip).require_operator(tip.git.identity())
        if channels.head is None:
            raise StateError(f"the registry has no model {model!r}", fix="see `weighbridge registry list`")
        if channels.schema_version >= LATEST_SCHEMA:
            raise _CurrentError("is of today's schema")
        found.clear()
        missing.clear()
        for record in _without_evidence(tip, channels):
            try:
                found[record.version] = dict(_evidence(top, tip, record))
            except (StateError, InputError) as error:
                missing[record.version] = str(error)
        named = {name: {path: sha256_bytes(data) for path, data in files.items()} for name, files in found.items()}
        return Draft(
            EventKind.MIGRATED,
            f"migrate from schema {channels.schema_version} to {LATEST_SCHEMA}",
            reason=f"from schema {channels.schema_version} to {LATEST_SCHEMA}",
            evidence={"schema": LATEST_SCHEMA, "kept": named, "lost": dict(missing)},
            files={
                evidence_path(model, name, path): data for name, files in found.items() for path, data in files.items()
            },
        )

    try:
        committed = Store(top, settings).change(model, decide)
    except _CurrentError:
        return None
    return Migrated(committed, tuple(found), dict(missing))


class _CurrentError(StateError):
    """There is nothing to migrate."""


def _without_evidence(tip: Tip, channels: Channels) -> Iterator[VersionRecord]:
    for number in range(1, channels.versions + 1):
        name = f"v{number}"
        record = parse(VersionRecord, read_record(tip, channels.model, name), version_path(channels.model, name))
        if not record.evidence and record.verdict is not None:
            yield record


def _evidence(top: Path, tip: Tip, record: VersionRecord) -> Iterator[tuple[str, bytes]]:
    """Name → bytes of the files that a version's record is about; a `StateError` where they cannot be had."""
    folder = _project(record)
    where = f"{tip.prefix}{folder}/{LOCK}" if folder else f"{tip.prefix}{LOCK}"
    data = tip.git.blob(record.commit, where) if tip.git.commit_of(record.commit) else None
    if data is None:
        raise StateError(f"commit {record.commit[:12]} has no {where}, or is not in this clone")
    made = Lock.parse(data.decode("utf-8", errors="replace"), where).outs()
    if VERDICT not in made:
        raise StateError(f"does not name {VERDICT}", where=where)
    verdict = object_bytes(top, made[VERDICT])
    assert record.verdict is not None
    if sha256_bytes(verdict) != record.verdict.file:
        raise StateError(f"is not the verdict that {record.version} names", where=VERDICT)
    yield KEPT_VERDICT, verdict
    wanted = {judged.measurement for judged in record.verdicts.values()}
    measured = f"measurements/{record.recipe_name}"
    listing = json.loads(object_bytes(top, made.get(measured, "")))
    for entry in listing:
        content = object_bytes(top, str(entry["md5"]))
        name = f"{measured}/{entry['relpath']}"
        document = parse_json(content.decode("utf-8", errors="replace"), name)
        digest = parse(Measurement, document, name).content_digest()
        if digest in wanted:
            wanted.discard(digest)
            yield name, content
    if wanted:
        raise StateError(f"has no measurement {min(wanted)[:19]}…, which {record.version} names", where=measured)


def _project(record: VersionRecord) -> str:
    """The project's folder, relative to the registry's: what an artifact's path has before `artifacts`."""
    path = PurePosixPath(record.artifacts[0].path)
    return "/".join(path.parts[: path.parts.index("artifacts")]) if "artifacts" in path.parts else ""
