"""What stays beside a version's record: the gate's verdict and the measurements that it rests on, byte for byte.

A record names their digests, so that an old verdict can be read, and judged again, when no store has them any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from weighbridge.core.documents import GateVerdict, Measurement
from weighbridge.core.documents.base import parse
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.files import parse_json, read_bytes, sha256_bytes
from weighbridge.registry.lifecycle.evidence import Evidence
from weighbridge.registry.lifecycle.selection import VERDICT
from weighbridge.registry.state.events import Event
from weighbridge.registry.state.layout import (
    FILE_LIMIT,
    View,
    event_path,
    evidence_path,
    parse_mapping,
    require_channels,
)
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.trust.kept_evidence import migrated_evidence

KEPT_VERDICT = "verdict.json"


def kept_files(root: Path, evidence: Evidence) -> dict[str, bytes]:
    """Name → bytes of what is kept of one promotion; raises `IntegrityError` where a file has changed meanwhile."""
    found = {KEPT_VERDICT: read_bytes(root / VERDICT)}
    if sha256_bytes(found[KEPT_VERDICT]) != evidence.gate_digest:
        raise IntegrityError("has changed since it was read", where=VERDICT)
    for item in evidence.judged:
        name = item.candidate.measurement
        found[name] = read_bytes(root / name)
        if _measurement(found[name], name).content_digest() != item.measurement.content_digest():
            raise IntegrityError("has changed since it was read", where=name)
    for name, data in found.items():
        if len(data) > FILE_LIMIT:
            raise StateError(f"has {len(data)} bytes; at most {FILE_LIMIT} can be kept in the registry", where=name)
    return found


def read_kept(view: View, record: VersionRecord) -> tuple[GateVerdict, dict[str, Measurement]]:
    """The verdict that let a version in, and its measurements by name.

    Raises `StateError` for a version that keeps none, `IntegrityError` where a file is missing or not what the record
    names.
    """
    named = record.evidence or _migrated(view, record)
    if not named:
        raise StateError(
            f"{record.model}@{record.version} keeps no evidence: it is a baseline, or older than that",
            fix=f"`weighbridge registry migrate {record.model}`",
        )
    files = {name: _kept_file(view, record, name, digest) for name, digest in named.items()}
    verdict = parse(GateVerdict, _json(files.pop(KEPT_VERDICT), KEPT_VERDICT), KEPT_VERDICT)
    return verdict, {name: _measurement(data, name) for name, data in files.items()}


def _migrated(view: View, record: VersionRecord) -> Mapping[str, str]:
    """What a migration kept beside the record, by name, each with its digest."""
    for number in range(require_channels(view, record.model)["head"]["event"], record.event, -1):
        where = event_path(record.model, number)
        data = view.read(where) or b""
        if b"\nkind: migrated\n" in data:
            event = parse(Event, parse_mapping(data, where), where)
            return migrated_evidence(event).get(record.version, {})
    return {}


def _kept_file(view: View, record: VersionRecord, name: str, digest: str) -> bytes:
    """The bytes of one kept file, checked."""
    where = evidence_path(record.model, record.version, name)
    data = view.read(where)
    if data is None or sha256_bytes(data) != digest:
        raise IntegrityError("is missing, or not what the record names", where=where)
    return data


def _measurement(data: bytes, where: str) -> Measurement:
    return parse(Measurement, _json(data, where), where)


def _json(data: bytes, where: str) -> object:
    return parse_json(data.decode("utf-8", errors="replace"), where)
