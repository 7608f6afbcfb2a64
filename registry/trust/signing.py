"""Signed statements: an in-toto statement over the artifact's digest, in a DSSE envelope, by key or without one.

By key, everything happens offline. Without one, a workflow's identity signs: the envelope then lies in a sigstore
bundle (`trust.keyless`), which is checked offline too. The predicate carries the verdict, the digests of policy,
baseline and record, and the device. Signing the record's digest makes everything that the record says part of what
was signed. Sources: in-toto attestation framework v1, DSSE v1 (pre-authentication encoding). Keys are Ed25519 or
ECDSA P-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import canonical_json, parse_json, pretty_json, read_bytes, sha256_bytes
from weighbridge.registry.state.layout import POLICY, View, read_record, signature_path, version_path
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.trust.keyless import KeylessSigner, Trusted, verify_bundle
from weighbridge.registry.trust.registry_policy import RegistryPolicy, read_policy

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:weighbridge:predicate:verdict:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
Signer = PrivateKey | KeylessSigner
"""What a promotion can be signed with."""


@dataclass(frozen=True)
class Signed:
    """A statement whose signature was verified."""

    statement: dict[str, Any]
    key: str
    """The name of the key, or of the identity, in the policy."""


def statement(record: VersionRecord, record_digest: str) -> dict[str, Any]:
    """What is signed of a version, whose record was read from its file. Shape: in-toto Statement v1."""
    judged, several = record.verdict, len(record.artifacts) > 1
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {
                "name": f"{record.model}@{record.version}" + (f"/{artifact.target}" if several else ""),
                "digest": {"sha256": artifact.digest.removeprefix("sha256:")},
            }
            for artifact in record.artifacts
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "verdict": judged.verdict.value if judged else None,
            "verdictDigest": judged.digest if judged else None,
            "policy": judged.policy if judged else None,
            "measurement": judged.measurement if judged else None,
            "baseline": record.baseline.digest if record.baseline else None,
            # As the record's file says it: a field that a later version of this program adds must not change it.
            "device": record.device.model_dump(mode="json", exclude_unset=True) if record.device else None,
            "record": record_digest,
            "commit": record.commit,
            "kind": record.kind,
        },
    }


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a DSSE signature is over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def load_private_key(path: Path) -> PrivateKey:
    """An unencrypted PEM key; what is none is an `InputError`, and its bytes are never shown."""
    try:
        key = serialization.load_pem_private_key(read_bytes(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError("is not an unencrypted private key in PEM form", where=str(path)) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise InputError("is neither an Ed25519 nor an ECDSA P-256 key", where=str(path))


def load_public_key(pem: str, where: str) -> PublicKey:
    """A public key in PEM form; see `load_private_key`."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("is not a public key in PEM form", where=where) from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise InputError("is neither an Ed25519 nor an ECDSA P-256 key", where=where)


def key_id(key: PublicKey) -> str:
    """SHA-256 of the key's DER form, in hex: a hint for finding it, never what is trusted."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def sign(record: VersionRecord, record_digest: str, key: Signer) -> bytes:
    """The signed statement's file, JSON: a DSSE envelope, or the sigstore bundle of a signer without a key.

    `record` is the one that is about to be written: it is signed as whoever reads its file will see it.
    """
    return seal(canonical_json(statement(VersionRecord.model_validate(record.to_json()), record_digest)), key)


def seal(payload: bytes, key: Signer) -> bytes:
    """Sign an in-toto statement, canonical JSON; see `sign` for the file."""
    if isinstance(key, KeylessSigner):
        return key.sign(payload)
    message = pre_authentication_encoding(PAYLOAD_TYPE, payload)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(message)
    else:
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id(key.public_key()), "sig": base64.b64encode(signature).decode()}],
    }
    return pretty_json(envelope).encode()


class UntrustedError(IntegrityError):
    """Signed, and by nobody whom the policy of today names: after a rotation of keys that is no sign of damage."""


def verify(envelope: bytes, record: VersionRecord, record_digest: str, policy: RegistryPolicy, where: str) -> Signed:
    """Check a signed statement: a key or an identity of the policy signed it, and it states exactly what the record
    says. Anything else is an `IntegrityError`.
    """
    trusted = open_trusted(envelope, policy, where)
    _require_same(trusted.payload, record, record_digest, where)
    return Signed(json.loads(trusted.payload), trusted.identity)


def open_trusted(envelope: bytes, policy: RegistryPolicy, where: str) -> Trusted:
    """The statement in an envelope that a key or an identity of the policy signed; else an `IntegrityError`."""
    payload, signatures = _open(envelope, where)
    if is_bundle(envelope):
        if not policy.identities:
            raise IntegrityError(
                "is signed without a key, and the policy lists no identities",
                where=where,
                fix=f"see identities in {POLICY}",
            )
        return verify_bundle(envelope, policy.identities, policy.require_trust_root(), where)
    message = pre_authentication_encoding(PAYLOAD_TYPE, payload)
    signed = (name for name, pem in policy.keys.items() if _signed_by(name, pem, message, signatures))
    found = next(signed, None)
    if found is None:
        raise UntrustedError(
            "is not signed by a key that the policy lists",
            where=where,
            fix=f"see keys in {POLICY}; a key of yesterday goes under retired_keys",
        )
    return Trusted(payload, found)


def is_bundle(envelope: bytes) -> bool:
    """Whether a signed statement's file is a sigstore bundle rather than a bare envelope."""
    try:
        content = json.loads(envelope)
    except ValueError:
        return False
    return isinstance(content, dict) and "mediaType" in content


def require_statement(envelope: bytes, record: VersionRecord, record_digest: str, where: str) -> None:
    """Check, whoever signed it, that an envelope states exactly what the record says: else an `IntegrityError`."""
    _require_same(_open(envelope, where)[0], record, record_digest, where)


def _require_same(payload: bytes, record: VersionRecord, record_digest: str, where: str) -> None:
    if payload != canonical_json(statement(record, record_digest)):
        raise IntegrityError(f"does not match the record of {record.model}@{record.version}", where=where)


def require_trusted(view: View, model: str, version: str, policy: RegistryPolicy | None = None) -> Signed | None:
    """The verified statement of a version, where the state's policy requires one or the version has one and keys
    are known; None where it is unsigned and may be. Unsigned where that is refused is a `StateError`.
    """
    rules = policy or read_policy(view)
    where = signature_path(model, version)
    data = view.read(where)
    if data is None:
        if rules.require_signature:
            raise StateError(f"{model}@{version} is not signed, and the policy refuses that", where=POLICY)
        return None
    if not rules.names_signers and not rules.require_signature:
        return None
    record = parse(VersionRecord, read_record(view, model, version), version_path(model, version))
    digest = sha256_bytes(view.read(version_path(model, version)) or b"")
    return verify(data, record, digest, rules.for_what_exists(), where)


def _open(envelope: bytes, where: str) -> tuple[bytes, list[bytes]]:
    try:
        content = parse_json(envelope.decode("utf-8"), where)
        if "mediaType" in content:
            content = content["dsseEnvelope"]
        if content["payloadType"] != PAYLOAD_TYPE:
            raise IntegrityError(f"contains {content['payloadType']!r}, not an in-toto statement", where=where)
        payload = base64.b64decode(content["payload"], validate=True)
        signatures = [base64.b64decode(entry["sig"], validate=True) for entry in content["signatures"]]
    except (InputError, UnicodeDecodeError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise IntegrityError("is neither a DSSE envelope nor a sigstore bundle", where=where) from error
    return payload, signatures


def _signed_by(name: str, pem: str, message: bytes, signatures: list[bytes]) -> bool:
    key = load_public_key(pem, f"{POLICY}: keys.{name}")
    return any(_valid(key, signature, message) for signature in signatures)


def _valid(key: PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
