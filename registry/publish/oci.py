"""A version as an OCI artifact, with its record, signed statement and bill of materials as referrers.

The artifact follows the CNCF ModelPack specification (artifact type, configuration and raw weight layer), so that
tools which know nothing of this registry can read it; the file name stands in OCI's title annotation too, by which
ORAS finds it. The model file is one uncompressed layer: the layer's digest is the digest in the record.

What confirms the artifact is pushed before the tag that makes it visible.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import canonical_json
from weighbridge.registry.publish.distribution import EMPTY, MANIFEST, Descriptor, Fetched, Repository, describe
from weighbridge.registry.publish.oci_attached import (
    CHANNEL,
    CREATED,
    RECORD,
    STATEMENT,
    Provenance,
    newest_channels,
    referring,
    same_bytes,
)
from weighbridge.registry.publish.oci_reference import Reference
from weighbridge.registry.publish.package import Package, plain_name
from weighbridge.registry.state.records import StoredArtifact, VersionRecord

MODEL = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
BOM = "application/vnd.cyclonedx+json"
FILE_PATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"
_EMPTY = b"{}"


@dataclass(frozen=True)
class Pushed:
    """Where a version is now."""

    reference: Reference
    """With the digest of its manifest: what deployments should name."""
    referrers: dict[str, str]
    """Artifact type of each referrer, and its digest."""
    created: bool
    """False where the tag named this very artifact already."""


@dataclass(frozen=True)
class Beside:
    """What is pushed beside a version, its record and its statement."""

    bom: bytes | None = None
    channel: bytes | None = None
    """A signed channel statement, see `trust.freshness`."""
    at: str = ""
    """When the channel statement was signed, UTC, ISO 8601: only a hint for finding the newest one."""


def push(
    package: Package, reference: Reference, repository: Repository, *, beside: Beside = Beside(), move: bool = False
) -> Pushed:
    """Push a version under `reference`'s tag, its record, statement and what is `beside` as referrers.

    A tag that names other content is a `StateError` unless `move` says that it is meant to move (a channel's tag,
    not a version's). The tag is written last and read back.
    """
    if reference.tag is None or reference.digest is not None:
        raise InputError("a push needs a tag and no digest", where=str(reference), fix="oci://host/repository:tag")
    manifest = model_manifest(package)
    stored = describe(manifest, MANIFEST)
    before = repository.manifest(reference.tag)
    if before is not None and before.digest != stored.digest and not move:
        raise StateError(
            f"names other content already ({before.digest[:19]}…)",
            where=str(reference),
            fix="push under another tag, or move this one with --move",
        )
    layer = _layer(package)
    repository.put_blob(package.file, layer)
    config = config_json(package)
    repository.put_blob(config, describe(config, CONFIG))
    repository.put_manifest(manifest, MANIFEST, stored.digest)
    attached = {}
    for content, kind, title in (
        (package.record_bytes, RECORD, "record.yaml"),
        (package.statement, STATEMENT, "statement.json"),
        (beside.bom, BOM, "bom.cdx.json"),
        (beside.channel, CHANNEL, "channel.json"),
    ):
        if content is not None:
            created = beside.at if kind == CHANNEL else ""
            attached[kind] = _attach(repository, content, kind, title, stored, created=created).digest
    repository.put_manifest(manifest, MANIFEST, reference.tag)
    _read_back(repository, reference, stored)
    where = Reference(reference.host, reference.repository, reference.tag, stored.digest)
    return Pushed(where, attached, before is None or before.digest != stored.digest)


@contextmanager
def pulled(
    reference: Reference, repository: Repository, provenance: Provenance | None = None, *, channels: bool = False
) -> Iterator[Package]:
    """A version from an OCI registry, every byte checked against its digest; its files live as long as the context.

    With `provenance`, record and statement are the history's, and the OCI registry gives the model file only: what else
    refers to the artifact cannot do harm. Without, they are those that refer to the artifact, one of each at most,
    the record names the layer's digest, and whether it may be trusted is the caller's question, by the statement's
    signature. `channels`: the newest channel statements too, as they are.
    """
    where = str(reference)
    name = reference.digest or reference.tag
    if name is None:
        raise InputError("names neither a tag nor a digest", where=where, fix="add :tag or @sha256:…")
    found = repository.manifest(name)
    if found is None:
        raise StateError("not found", where=where)
    layer, title = _read_model(found, where)
    listed = repository.referrers(found.digest) if channels or provenance is None else []
    known = provenance or referring(repository, listed, found.digest, layer, where)
    stated = newest_channels(repository, listed, found.digest) if channels else ()
    artifact = next((item for item in known.record.artifacts if same_bytes(item, layer)), None)
    if artifact is None:
        version = f"{known.record.model}@{known.record.version}"
        raise IntegrityError(f"contains {layer.digest[:19]}…, which is not an artifact of {version}", where=where)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / title
        with file.open("wb") as target:
            repository.get_blob(layer, target)
        yield Package(known.record, known.record_bytes, artifact, file, known.statement, stated)


def model_manifest(package: Package) -> bytes:
    """The manifest of a version: a function of its record, so that pushing twice gives one digest."""
    record = package.record
    annotations = {
        CREATED: record.at,
        "org.opencontainers.image.revision": record.commit,
        TITLE: record.model,
        "org.opencontainers.image.version": record.version,
    }
    if record.licence:
        annotations["org.opencontainers.image.licenses"] = record.licence
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": MODEL,
            "config": describe(config_json(package), CONFIG).to_json(),
            "layers": [_layer(package).to_json()],
            "annotations": annotations,
        }
    )


def manifest_digest(record: VersionRecord, artifact: StoredArtifact) -> str:
    """The digest that a version's manifest has, wherever it is pushed: that of a reference which confirms the bytes."""
    return describe(model_manifest(Package(record, b"", artifact, Path(artifact.path), None)), MANIFEST).digest


def config_json(package: Package) -> bytes:
    """The configuration that ModelPack asks for (model-spec, `docs/config.md`)."""
    record = package.record
    descriptor: dict[str, Any] = {
        "createdAt": record.at,
        "name": record.model,
        "version": record.version,
        "revision": record.commit,
    }
    if record.licence:
        descriptor["licenses"] = [record.licence]
    config = {"format": package.name.rpartition(".")[2].lower() or "onnx"}
    if package.artifact.params:
        config["paramSize"] = short_count(package.artifact.params)
    layers = {"type": "layers", "diffIds": [package.artifact.digest]}
    return canonical_json({"descriptor": descriptor, "config": config, "modelfs": layers})


def short_count(count: int) -> str:
    """A count with one decimal at most and a scale letter: 117530 → `117.5k`. ModelPack has no form below 1k."""
    scales = {"t": 10**12, "b": 10**9, "m": 10**6}
    letter = next((letter for letter, scale in scales.items() if count >= scale), "k")
    return f"{count / scales.get(letter, 1000):.1f}".removesuffix(".0") + letter


def _layer(package: Package) -> Descriptor:
    name = plain_name(package.name, package.record.model)
    if package.artifact.weights is not None:
        what = f"{package.record.model}@{package.record.version}"
        raise StateError("is two files; an image takes one", where=what, fix="pull it in a clone")
    return Descriptor(
        WEIGHT, package.artifact.digest, package.artifact.bytes, annotations={FILE_PATH: name, TITLE: name}
    )


def _attach(  # noqa: PLR0913  # one field of the manifest each
    repository: Repository, content: bytes, kind: str, title: str, subject: Descriptor, *, created: str = ""
) -> Descriptor:
    """Store content and the manifest by which it refers to `subject`."""
    annotations = {CREATED: created} if created else {}
    blob = describe(content, kind)
    repository.put_blob(content, blob)
    empty = describe(_EMPTY, EMPTY)
    repository.put_blob(_EMPTY, empty)
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": empty.to_json(),
            "layers": [Descriptor(kind, blob.digest, blob.size, annotations={TITLE: title}).to_json()],
            "subject": subject.to_json(),
            **({"annotations": annotations} if annotations else {}),
        }
    )
    return repository.attach(manifest, subject.digest, kind, annotations)


def _read_back(repository: Repository, reference: Reference, stored: Descriptor) -> None:
    """Two pushes of one tag both succeed; the one that lost must hear of it."""
    assert reference.tag is not None
    now = repository.manifest(reference.tag)
    if now is None or now.digest != stored.digest:
        raise StateError(
            "refers to other content after the push: another push moved this tag",
            where=str(reference),
            fix="push again",
        )


def _read_model(found: Fetched, where: str) -> tuple[Descriptor, str]:
    """The one model file of a manifest, and its name."""
    document = found.document(where)
    if document.get("mediaType") != MANIFEST or document.get("artifactType") != MODEL:
        kind = document.get("artifactType") or document.get("mediaType") or "something else"
        raise IntegrityError(f"is {kind}, not a model", where=where, fix=f"expected the artifact type {MODEL}")
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) != 1:
        raise IntegrityError("does not contain exactly one file", where=where)
    layer = Descriptor.read(layers[0], where)
    if layer.media_type != WEIGHT:
        raise IntegrityError(f"contains {layer.media_type}, not a raw model file", where=where)
    return layer, plain_name(layer.annotations.get(FILE_PATH) or layer.annotations.get(TITLE, ""), where)
