"""The HTTP protocol of OCI registries, as far as publishing needs it.

Source: OCI distribution specification 1.1 (pull, push, referrers and the referrers tag schema for registries that
lack that API). Every byte that comes in is compared with the digest and the size of its descriptor.
"""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import DIGEST, parse_json, sha256_bytes
from weighbridge.registry.publish.oci_reference import Reference
from weighbridge.registry.publish.wire import ANSWER_LIMIT, Wire

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True)
class Descriptor:
    """Content by media type, digest and size."""

    media_type: str
    digest: str
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The descriptor as OCI's JSON."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return value

    @classmethod
    def read(cls, value: Any, where: str) -> Descriptor:
        """Read a descriptor; a digest of another algorithm or a size that is none is an `IntegrityError`."""
        if not isinstance(value, dict):
            raise IntegrityError("is not a descriptor", where=where)
        digest, size = value.get("digest"), value.get("size")
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise IntegrityError(f"has the digest {digest!r}; only sha256 is read", where=where)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise IntegrityError(f"has the size {size!r}", where=where)
        notes = value.get("annotations")
        annotations = {str(key): str(text) for key, text in notes.items()} if isinstance(notes, dict) else {}
        artifact_type = value.get("artifactType")
        return cls(str(value.get("mediaType", "")), digest, size, artifact_type and str(artifact_type), annotations)


def describe(data: bytes, media_type: str) -> Descriptor:
    """The descriptor of bytes."""
    return Descriptor(media_type, sha256_bytes(data), len(data))


@dataclass(frozen=True)
class Fetched:
    """A manifest as it came, and the digest of its bytes."""

    data: bytes
    digest: str
    media_type: str

    def document(self, where: str) -> dict[str, Any]:
        """The manifest's JSON; anything but an object is an `IntegrityError`."""
        try:
            value = parse_json(self.data.decode(), where)
        except (UnicodeDecodeError, InputError) as error:
            raise IntegrityError(f"is not a manifest: {error}", where=where) from error
        if not isinstance(value, dict):
            raise IntegrityError("is not a manifest", where=where)
        return value


class Repository:
    """One repository of one OCI registry, over HTTP."""

    def __init__(self, reference: Reference, wire: Wire) -> None:
        self.name = reference.repository
        self.where = wire.where
        self._wire = wire

    def manifest(self, tag_or_digest: str) -> Fetched | None:
        """The manifest of a tag or digest, its digest checked; None where there is none."""
        accept = {"Accept": f"{MANIFEST}, {INDEX}"}
        with self._wire.send("GET", self._path("manifests", tag_or_digest), headers=accept, absent=True) as answer:
            if answer is None:
                return None
            data = self._wire.read(answer, ANSWER_LIMIT + 1)
            claimed = answer.headers.get("Docker-Content-Digest")
            media_type = answer.headers.get_content_type()
        where = f"{self.where}: manifest {tag_or_digest}"
        if len(data) > ANSWER_LIMIT:
            raise IntegrityError(f"is larger than {ANSWER_LIMIT} bytes", where=where)
        digest = sha256_bytes(data)
        wanted = tag_or_digest if DIGEST.fullmatch(tag_or_digest) else claimed
        if wanted and wanted.startswith("sha256:") and wanted != digest:
            raise IntegrityError(f"is not what its digest says: it hashes to {digest}", where=where)
        return Fetched(data, digest, media_type)

    def put_manifest(self, data: bytes, media_type: str, tag_or_digest: str) -> bool:
        """Store a manifest; whether the registry noted its subject itself (the referrers API)."""
        headers = {"Content-Type": media_type}
        with self._wire.send("PUT", self._path("manifests", tag_or_digest), headers=headers, body=data) as answer:
            assert answer is not None
            return "OCI-Subject" in answer.headers

    def has_blob(self, digest: str) -> bool:
        """Whether the repository holds a blob."""
        with self._wire.send("HEAD", self._path("blobs", digest), absent=True) as answer:
            return answer is not None

    def put_blob(self, source: Path | bytes, descriptor: Descriptor) -> None:
        """Store a blob in one go, unless it is there. The registry refuses bytes that miss the digest."""
        if self.has_blob(descriptor.digest):
            return
        with self._wire.send("POST", self._path("blobs", "uploads/"), body=b"") as answer:
            assert answer is not None
            place = answer.headers.get("Location")
        if not place:
            raise StateError("the registry gave no place to upload to", where=self.where)
        url = urllib.parse.urljoin(f"{self._wire.base}/", place)
        url += f"{'&' if '?' in url else '?'}{urllib.parse.urlencode({'digest': descriptor.digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)}
        with self._wire.send("PUT", url, headers=headers, body=source):
            pass

    def get_blob(self, descriptor: Descriptor, target: IO[bytes]) -> None:
        """Write a blob's bytes to `target`, and raise `IntegrityError` unless size and sha256 are the descriptor's.

        What was written before the error must be thrown away by the caller.
        """
        where = f"{self.where}: blob {descriptor.digest}"
        hasher, size = hashlib.sha256(), 0
        with self._wire.send("GET", self._path("blobs", descriptor.digest)) as answer:
            assert answer is not None
            while chunk := self._wire.read(answer):
                size += len(chunk)
                if size > descriptor.size:
                    raise IntegrityError(f"is larger than the {descriptor.size} bytes that were promised", where=where)
                hasher.update(chunk)
                target.write(chunk)
        if size < descriptor.size:
            raise IntegrityError(f"has {size} of {descriptor.size} bytes", where=where, fix="try again")
        found = f"sha256:{hasher.hexdigest()}"
        if found != descriptor.digest:
            raise IntegrityError(f"is not what its digest says: it hashes to {found}", where=where)

    def referrers(self, digest: str) -> list[Descriptor]:
        """What refers to a manifest: by the referrers API, or by the tag that stands in for it."""
        accept = {"Accept": INDEX}
        with self._wire.send("GET", self._path("referrers", digest), headers=accept, absent=True) as answer:
            api = answer is not None and answer.headers.get_content_type() == INDEX
            data = self._wire.read(answer, ANSWER_LIMIT + 1) if answer is not None and api else b""
        where = f"{self.where}: referrers of {digest}"
        if len(data) > ANSWER_LIMIT:
            raise IntegrityError(f"are listed in more than {ANSWER_LIMIT} bytes", where=where)
        listed = Fetched(data, "", INDEX) if api else self.manifest(referrers_tag(digest))
        if listed is None:
            return []
        entries = listed.document(where).get("manifests")
        return [Descriptor.read(entry, where) for entry in entries] if isinstance(entries, list) else []

    def attach(
        self, manifest: bytes, subject: str, artifact_type: str, annotations: Mapping[str, str] = {}
    ) -> Descriptor:
        """Store a manifest that refers to `subject`, and see to it that it is found from there."""
        stored = Descriptor(MANIFEST, sha256_bytes(manifest), len(manifest), artifact_type, annotations)
        if not self.put_manifest(manifest, MANIFEST, stored.digest):
            self._list_by_tag(stored, subject)
        return stored

    def _list_by_tag(self, stored: Descriptor, subject: str) -> None:
        """Add a referrer to the index under the subject's tag; read back, since two writers can cross."""
        tag = referrers_tag(subject)
        for _ in range(5):
            found = self.manifest(tag)
            where = f"{self.where}: {tag}"
            entries = found.document(where).get("manifests", []) if found else []
            if any(entry.get("digest") == stored.digest for entry in entries if isinstance(entry, dict)):
                return
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, stored.to_json()]}
            self.put_manifest(json.dumps(index, indent=2).encode(), INDEX, tag)
        raise StateError("others keep changing the list of referrers", where=f"{self.where}: {tag}")

    def _path(self, kind: str, name: str) -> str:
        return f"{self._wire.base}/v2/{self.name}/{kind}/{name}"


def referrers_tag(digest: str) -> str:
    """The tag under which referrers are listed where the registry has no API for them."""
    return digest.replace(":", "-", 1)
