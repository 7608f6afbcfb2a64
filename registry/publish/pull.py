"""Pull a version: its bytes from wherever they are, checked before they are moved into place.

What the bytes must be is said by the registry's history, its policy and, where there is no clone, by a signature.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.facts.isa import Host
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.lookup.location import from_remote, locate
from weighbridge.registry.lookup.resolve import CHANNEL_NAMES, resolve
from weighbridge.registry.lookup.resolved import Resolved, require_host
from weighbridge.registry.publish import oci
from weighbridge.registry.publish.distribution import Repository
from weighbridge.registry.publish.oci_attached import Provenance
from weighbridge.registry.publish.oci_reference import Reference
from weighbridge.registry.publish.package import Package, choose, unpack
from weighbridge.registry.state.layout import POLICY, VERSION_NAME, WorkTree, read_record, signature_path, version_path
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.trust.freshness import Stated, remember, require_fresh
from weighbridge.registry.trust.registry_policy import RegistryPolicy, load_policy
from weighbridge.registry.trust.signing import require_trusted, verify


@dataclass(frozen=True)
class Pulled:
    """A version that is in place now."""

    model: str
    version: str
    digest: str
    file: str
    """Path of the model file."""
    source: str
    """Where the bytes came from."""
    trust: str
    """What confirms them."""
    deprecated: str | None = None
    """Why this version should not be taken any more."""

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class OciSource:
    """An OCI repository to take bytes from."""

    reference: Reference
    repository: Repository


@dataclass(frozen=True)
class DvcRemote:
    """A DVC remote of the project, by its name."""

    name: str


@dataclass(frozen=True)
class Carried:
    """A file under zstd (`model.onnx.zst`) that brings the bytes by another way."""

    path: Path


Place = OciSource | DvcRemote | Carried
"""Where bytes can be taken from."""


@dataclass(frozen=True)
class Wanted:
    """One version of a project's registry, resolved and found fit to be taken."""

    resolved: Resolved
    record: VersionRecord
    record_bytes: bytes
    statement: bytes | None
    trust: str


def want(
    root: Path, spec: str, *, target: str | None = None, quarantined: bool = False, host: Host | None = None
) -> Wanted:
    """Resolve `spec` and see that it may be taken: not quarantined (unless `quarantined`), signed as the policy asks.

    With `host`, nor does the artifact require anything of a processor that the host lacks.
    A version that was built for several targets needs one of them as `target`. A version that may not be taken is a
    `StateError`; a signature that does not hold an `IntegrityError`.
    """
    view = WorkTree(root)
    found = resolve(root, spec, target=target, view=view)
    if found.quarantined and not quarantined:
        raise StateError(
            f"{found.model}@{found.version} is quarantined",
            fix=f"see `weighbridge registry history {found.model}`; --quarantined takes it all the same",
        )
    found.require_host(host)
    signed = require_trusted(view, found.model, found.version)
    where = version_path(found.model, found.version)
    record = parse(VersionRecord, read_record(view, found.model, found.version), where)
    trust = f"this registry's history, and a signature by {signed.key}" if signed else "this registry's history"
    statement = view.read(signature_path(found.model, found.version))
    return Wanted(found, record, view.read(where) or b"", statement, trust)


@contextmanager
def packaged(root: Path, wanted: Wanted, source: Place | None = None) -> Iterator[Package]:
    """The wanted version with its bytes: from the project, DVC's cache or default remote, or from `source` alone."""
    if not isinstance(source, OciSource):
        artifact = choose(wanted.record, wanted.resolved.target)
        with _file(root, wanted, source) as file:
            weights = _weights(root, wanted.resolved, source)
            yield Package(wanted.record, wanted.record_bytes, artifact, file, wanted.statement, weights=weights)
        return
    wanted.resolved.require_one_file("an OCI registry")
    provenance = Provenance(wanted.record, wanted.record_bytes, wanted.statement)
    with oci.pulled(source.reference, source.repository, provenance) as package:
        if package.artifact.digest != wanted.resolved.digest:
            raise StateError(
                f"contains the artifact for {package.artifact.target}, not for {wanted.resolved.target}",
                where=str(source.reference),
            )
        yield package


def _file(root: Path, wanted: Wanted, source: DvcRemote | Carried | None) -> AbstractContextManager[Path]:
    match source:
        case None:
            return nullcontext(locate(root, wanted.resolved))
        case DvcRemote(name=name):
            return nullcontext(from_remote(root, wanted.resolved, name))
        case _:
            wanted.resolved.require_one_file("a carried file")
            return _carried(source, wanted)


def _weights(root: Path, resolved: Resolved, source: DvcRemote | Carried | None) -> Path | None:
    """The file of an artifact's weights, where they are one of their own."""
    if resolved.beside is None:
        return None
    return (
        from_remote(root, resolved.beside, source.name)
        if isinstance(source, DvcRemote)
        else locate(root, resolved.beside)
    )


@contextmanager
def _carried(source: Carried, wanted: Wanted) -> Iterator[Path]:
    """The bytes of a carried file, unpacked beside nothing else and verified by the digest in the record."""
    from weighbridge.core import transport  # noqa: PLC0415  # its library is needed here alone

    artifact = choose(wanted.record, wanted.resolved.target)
    data = transport.read_zst(source.path, wanted.resolved.digest, limit=artifact.bytes)
    with tempfile.TemporaryDirectory(prefix="weighbridge.") as folder:
        file = Path(folder) / "artifact"
        file.write_bytes(data)
        yield file


def pull(root: Path, wanted: Wanted, out: Path, source: Place | None = None) -> Pulled:
    """Put a wanted version into the folder `out`: the model file, its record and its statement, or nothing."""
    with packaged(root, wanted, source) as package:
        file = unpack(package, out)
    return Pulled(
        model=wanted.resolved.model,
        version=wanted.resolved.version,
        digest=wanted.resolved.digest,
        file=str(file),
        source=_name(source),
        trust=wanted.trust,
        deprecated=wanted.resolved.deprecated,
    )


def _name(source: Place | None) -> str:
    match source:
        case DvcRemote(name=name):
            return f"DVC remote {name}"
        case OciSource(reference=reference):
            return str(reference)
        case Carried(path=path):
            return str(path)
        case _:
            return "project, DVC cache or DVC remote"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class PullTerms:
    """What a pull without a clone rests on."""

    policy: Path | None = None
    """A policy file, whose keys and identities decide."""
    model: str | None = None
    """The model that is wanted; None: that of the repository's name."""
    host: Host | None = None
    """The processor that will run it; None: whatever it has."""
    seen: Path | None = None
    """A file that remembers what channels named: with it, a channel's tag must be fresh, and none goes back."""


def pull_reference(
    source: OciSource, out: Path, terms: PullTerms = PullTerms(), *, clock: Callable[[], datetime] = _now
) -> Pulled:
    """Put what an OCI reference names into `out`, without a clone of the registry.

    With a policy file the signature decides, and what it signs must be the model that is wanted, and the version where
    the tag names one: another model's version, signed as well as any, is not taken for it. Without, the digest in the
    reference is what confirms the bytes; a bare tag then confirms nothing but the transport, and is refused. Where the
    policy or a `seen` file asks for freshness, a channel's tag needs a channel statement that has not expired.
    """
    policy, host = terms.policy, terms.host
    rules = load_policy(policy) if policy is not None else None
    channel = _channel_to_prove(source.reference, rules, terms)
    if rules is None and source.reference.digest is None:
        raise StateError(
            "a tag is not a trusted reference",
            where=str(source.reference),
            fix=f"name the digest (@sha256:…), give --policy {POLICY}, or pull MODEL@VERSION --from it in a clone",
        )
    with oci.pulled(source.reference, source.repository, channels=channel is not None) as package:
        trust = _trust(package, rules, policy, source.reference)
        if rules is not None or terms.model is not None:
            _require_named(package.record, source.reference, terms.model)
        require_host(package.artifact.requires, host, str(source.reference))
        stated = None
        if channel is not None and rules is not None:
            place = Stated(package.record, package.record_bytes, channel, clock(), str(source.reference))
            stated = require_fresh(package.channels, place, rules, terms.seen)
            trust += f", and a channel statement that is good until {stated.expires}"
        file = unpack(package, out)
    if stated is not None and terms.seen is not None:
        remember(terms.seen, stated)
    record = package.record
    return Pulled(record.model, record.version, package.artifact.digest, str(file), str(source.reference), trust)


def _channel_to_prove(reference: Reference, rules: RegistryPolicy | None, terms: PullTerms) -> str | None:
    """The channel of which a fresh statement is needed; None where none is: not asked for, or an exact version."""
    if terms.seen is not None and rules is None:
        raise InputError("only a policy says whose statements count", where="--seen", fix=f"give --policy {POLICY}")
    asked = rules is not None and (rules.require_fresh or terms.seen is not None)
    exact = reference.digest is not None or (reference.tag is not None and VERSION_NAME.fullmatch(reference.tag))
    if not asked or exact:
        return None
    if reference.tag not in CHANNEL_NAMES:
        raise InputError(
            f"the tag {reference.tag!r} names no channel, so nothing says whether it is fresh",
            where=str(reference),
            fix=f"pull by one of :{', :'.join(CHANNEL_NAMES)}, by a version or by a digest",
        )
    return reference.tag


def _require_named(record: VersionRecord, reference: Reference, model: str | None) -> None:
    """An `IntegrityError` for another model than the wanted one, or another version than the tag's."""
    wanted = model or reference.repository.rpartition("/")[2]
    if record.model != wanted:
        raise IntegrityError(
            f"contains {record.model}@{record.version}, not a version of {wanted}",
            where=str(reference),
            fix=f"--model {record.model}, if that is the model that you want",
        )
    if reference.tag is not None and VERSION_NAME.fullmatch(reference.tag) and record.version != reference.tag:
        raise IntegrityError(f"contains {record.version}, not {reference.tag}", where=str(reference))


def _trust(package: Package, rules: RegistryPolicy | None, policy: Path | None, reference: Reference) -> str:
    """What confirms a package that came without a registry; raises where nothing does."""
    if rules is None:
        return "the digest in the reference (bytes only; the record is not verified)"
    where = str(reference)
    if package.statement is None:
        if rules.require_signature or reference.digest is None:
            raise StateError("is not signed", where=where, fix=f"sign it by a key or identity of {policy}")
        return "the digest in the reference (bytes only; the record is not verified)"
    digest = sha256_bytes(package.record_bytes)
    signed = verify(package.statement, package.record, digest, rules.for_what_exists(), where)
    return f"a signature by {signed.key}"
