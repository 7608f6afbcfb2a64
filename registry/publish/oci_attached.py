"""What is attached to an artifact in an OCI registry: its record, and statements by those who signed it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

from weighbridge.core.errors import IntegrityError
from weighbridge.registry.publish.distribution import Descriptor, Repository
from weighbridge.registry.publish.package import read_record
from weighbridge.registry.state.records import StoredArtifact, VersionRecord

RECORD = "application/vnd.weighbridge.record.v1+yaml"
STATEMENT = "application/vnd.dsse.envelope.v1+json"
CHANNEL = "application/vnd.weighbridge.channel.v1+json"
CREATED = "org.opencontainers.image.created"
_SMALL = 2**20
"""Bytes: no record and no statement is larger."""
_NEWEST = 16
"""Channel statements that are read: each renewal adds one, and only the newest matters."""


@dataclass(frozen=True)
class Provenance:
    """What a registry's history says of the version that is to be pulled."""

    record: VersionRecord
    record_bytes: bytes
    statement: bytes | None
    """The signed statement's file; None where the version is not signed."""


def newest_channels(repository: Repository, listed: list[Descriptor], subject: str) -> tuple[bytes, ...]:
    """The newest channel statements that refer to an artifact, by the time that the list gives them."""
    stated = [entry for entry in listed if entry.artifact_type == CHANNEL]
    stated.sort(key=lambda entry: entry.annotations.get(CREATED, ""), reverse=True)
    return tuple(_read_attached(repository, stated[:_NEWEST], CHANNEL, subject))


def referring(
    repository: Repository, listed: list[Descriptor], subject: str, layer: Descriptor, where: str
) -> Provenance:
    """Record and statement that refer to an artifact. Two that differ are none at all."""
    records = {data: read_record(data, where) for data in _read_attached(repository, listed, RECORD, subject)}
    fitting = [data for data, record in records.items() if any(same_bytes(item, layer) for item in record.artifacts)]
    statements = _read_attached(repository, listed, STATEMENT, subject)
    if not fitting:
        raise IntegrityError("no record refers to it that names the digest of its model file", where=where)
    if len(fitting) > 1:
        raise IntegrityError(f"{len(fitting)} different records refer to it", where=where)
    if len(statements) > 1:
        raise IntegrityError(f"{len(statements)} different statements refer to it", where=where)
    return Provenance(records[fitting[0]], fitting[0], statements[0] if statements else None)


def same_bytes(artifact: StoredArtifact, layer: Descriptor) -> bool:
    """Whether a record's artifact is the layer's bytes."""
    return artifact.digest == layer.digest and artifact.bytes == layer.size


def _read_attached(repository: Repository, listed: list[Descriptor], kind: str, subject: str) -> list[bytes]:
    """Contents of the referrers of a type, each checked to refer to `subject`; repeated contents once."""
    contents: list[bytes] = []
    for entry in listed:
        if entry.artifact_type != kind:
            continue
        where = f"{repository.where}@{entry.digest}"
        found = repository.manifest(entry.digest)
        document = found.document(where) if found else {}
        layers = document.get("layers")
        if Descriptor.read(document.get("subject"), where).digest != subject or document.get("artifactType") != kind:
            raise IntegrityError(f"is listed as a referrer of {subject[:19]}…, but is not", where=where)
        if not isinstance(layers, list) or len(layers) != 1:
            raise IntegrityError("does not contain exactly one file", where=where)
        layer = Descriptor.read(layers[0], where)
        if layer.size > _SMALL:
            raise IntegrityError(f"has {layer.size} bytes; at most {_SMALL} are read", where=where)
        data = _small_blob(repository, layer)
        if data not in contents:
            contents.append(data)
    return contents


def _small_blob(repository: Repository, layer: Descriptor) -> bytes:
    with tempfile.SpooledTemporaryFile(max_size=_SMALL) as target:
        repository.get_blob(layer, target)
        target.seek(0)
        return target.read()
