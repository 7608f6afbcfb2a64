"""Signatures without keys: a sigstore bundle, made with the identity of a workflow, checked without the network.

A bundle holds the statement in its DSSE envelope, the certificate that sigstore's CA (Fulcio) gave to a workflow for
ten minutes, and the proof that the signature was logged (Rekor) while the certificate was valid. Checking it needs the
bundle, the identities that the policy names, and a trust root: a file with the CA's and the logs' keys, committed
beside the policy. Making one needs the network and an OpenID Connect token, which GitHub gives to a job with
`id-token: write`. Sources: the sigstore client specification; Fulcio's `docs/oid-info.md` for the certificate's
extensions. The package `sigstore` (extra `keyless`) does the work; it is imported only where a bundle is.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.trust.registry_policy import Identity

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.models import ClientTrustConfig, TrustedRoot

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_INSTALL = "pip install 'weighbridge[keyless]'"


@dataclass(frozen=True)
class Trusted:
    """What a verified bundle or envelope contains."""

    payload: bytes
    """The statement."""
    identity: str
    """The name in the policy of the identity or key that signed it."""


def verify_bundle(bundle: bytes, identities: Mapping[str, Identity], trust_root: bytes, where: str) -> Trusted:
    """Check a bundle against a trust root (JSON, `application/vnd.dev.sigstore.trustedroot+json`), offline.

    The certificate chains to the root's CA and was valid when the log took the signature; its issuance was logged;
    the log's entry, proof and checkpoint hold and are of this envelope; the signature is over the payload; and issuer
    and workflow are those of one of `identities`. Anything else is an `IntegrityError` at `where`; a trust root that
    cannot be read is an `InputError`, and sigstore not being installed a `StateError`.
    """
    _require_sigstore()
    from cryptography.x509 import ExtensionNotFound  # noqa: PLC0415
    from sigstore.errors import Error  # noqa: PLC0415
    from sigstore.models import Bundle  # noqa: PLC0415
    from sigstore.verify import Verifier  # noqa: PLC0415

    root = _read_root(trust_root)
    accepted = _AnyIdentity(identities)
    try:
        parsed = Bundle.from_json(bundle)
        kind, payload = Verifier(trusted_root=root).verify_dsse(parsed, accepted)
    except (Error, ExtensionNotFound, ValueError, TypeError, AttributeError) as error:
        said = accepted.refused or " ".join(str(error).split())[:300] or type(error).__name__
        raise IntegrityError(f"is not a trusted bundle: {said}", where=where) from error
    if kind != PAYLOAD_TYPE or accepted.name is None:
        raise IntegrityError(f"contains {kind!r}, not an in-toto statement", where=where)
    return Trusted(payload, accepted.name)


@dataclass(frozen=True)
class KeylessSigner:
    """Signs statements with the identity of the job that runs.

    `token`: an OpenID Connect token for the audience `sigstore`. `trust`: sigstore's trust configuration as JSON
    (`application/vnd.dev.sigstore.clienttrustconfig.v0.1+json`): the services to use and their keys; None: the public
    instance's, fetched through TUF.
    """

    token: str = field(repr=False)
    trust: str | None = None

    def sign(self, payload: bytes) -> bytes:
        """A bundle over an in-toto statement, as JSON. What the services refuse is a `StateError`."""
        _require_sigstore()
        import requests  # noqa: PLC0415
        from sigstore._internal.fulcio.client import ExpiredCertificate, FulcioClientError  # noqa: PLC0415
        from sigstore._internal.rekor import RekorClientError  # noqa: PLC0415
        from sigstore.dsse import Statement  # noqa: PLC0415
        from sigstore.errors import Error  # noqa: PLC0415
        from sigstore.oidc import ExpiredIdentity, IdentityError, IdentityToken  # noqa: PLC0415
        from sigstore.sign import SigningContext  # noqa: PLC0415

        try:
            context = SigningContext.from_trust_config(_trust_config(self.trust))
            with context.signer(IdentityToken(self.token)) as signer:
                return f"{signer.sign_dsse(Statement(payload)).to_json()}\n".encode()
        except (IdentityError, ExpiredIdentity) as error:
            raise StateError(f"the identity token is not accepted: {error}", fix="start the job again") from error
        except (
            Error, ExpiredCertificate, FulcioClientError, RekorClientError, requests.RequestException, ValueError
        ) as error:  # fmt: skip
            said = _said(error.__cause__ if error.__cause__ and not str(error) else error)
            raise StateError(f"sigstore did not sign: {said}", fix="try again, or sign by key (--key)") from error


def ambient_signer(trust: Path | None = None, environment: Mapping[str, str] = os.environ) -> KeylessSigner:
    """A signer with the identity that the environment gives: `SIGSTORE_ID_TOKEN`, or what the CI system offers
    (GitHub: a job with `id-token: write`). None to be had is a `StateError`.
    """
    _require_sigstore()
    from sigstore.oidc import IdentityError, detect_credential  # noqa: PLC0415

    try:
        text = trust.read_text(encoding="utf-8") if trust is not None else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read", where=str(trust)) from error
    if text is not None:
        _trust_config(text)
    try:
        token = environment.get("SIGSTORE_ID_TOKEN") or detect_credential()
    except IdentityError as error:
        raise StateError(f"no identity available: {_said(error)}", fix="give the job `id-token: write`") from error
    if not token:
        raise StateError(
            "no identity to sign with",
            fix="run in a job with `id-token: write`, set SIGSTORE_ID_TOKEN, or sign by key (--key)",
        )
    return KeylessSigner(token, text)


def public_trust_root(*, offline: bool = False) -> bytes:
    """The trust root of sigstore's public instance as JSON, for a policy's `trust_root`; through TUF, which checks it.

    `offline`: the one that came with the package `sigstore`, or that was fetched last.
    """
    _require_sigstore()
    from sigstore.errors import Error  # noqa: PLC0415
    from sigstore.models import ClientTrustConfig  # noqa: PLC0415

    try:
        root = ClientTrustConfig.production(offline=offline).trusted_root
    except Error as error:
        raise StateError(f"sigstore's trust root is not available: {_said(error)}", fix="check the network") from error
    return f"{root._inner.to_json()}\n".encode()  # noqa: SLF001  # the package reads roots and writes none


class _AnyIdentity:
    """sigstore's question about a certificate, answered by the policy's identities; remembers which one fitted."""

    def __init__(self, identities: Mapping[str, Identity]) -> None:
        self.identities = identities
        self.name: str | None = None
        self.refused: str | None = None

    def verify(self, cert: Certificate) -> None:
        """Raise sigstore's `VerificationError` unless one identity fits."""
        from sigstore.errors import VerificationError  # noqa: PLC0415

        found = _claims(cert)
        self.name = next((name for name, identity in self.identities.items() if _fits(identity, found)), None)
        if self.name is None:
            who, issuer = found.workflow or "an unknown workflow", found.issuer or "no issuer"
            self.refused = f"it was signed by {who} ({issuer}), which no identity of the policy is"
            raise VerificationError(self.refused)


@dataclass(frozen=True)
class _Claims:
    """What a certificate says of the workflow that it was given to."""

    workflow: str | None
    issuer: str | None
    repository: str | None


_ISSUER = "1.3.6.1.4.1.57264.1.8"
_SOURCE_REPOSITORY = "1.3.6.1.4.1.57264.1.12"


def _claims(cert: Certificate) -> _Claims:
    from cryptography.x509 import SubjectAlternativeName, UniformResourceIdentifier  # noqa: PLC0415

    names = cert.extensions.get_extension_for_class(SubjectAlternativeName).value
    uris = names.get_values_for_type(UniformResourceIdentifier)
    # One name only: with two, one of them could be anybody's.
    workflow = uris[0] if len(uris) == 1 and len(list(names)) == 1 else None
    return _Claims(workflow, _text(cert, _ISSUER), _text(cert, _SOURCE_REPOSITORY))


def _text(cert: Certificate, oid: str) -> str | None:
    """An extension that is a DER UTF8String; None where it is missing or is something else."""
    from cryptography.x509 import ObjectIdentifier, UnrecognizedExtension  # noqa: PLC0415

    for extension in cert.extensions:
        if extension.oid == ObjectIdentifier(oid) and isinstance(extension.value, UnrecognizedExtension):
            return _utf8_string(extension.value.value)
    return None


def _utf8_string(der: bytes) -> str | None:
    if len(der) < 2 or der[0] != 0x0C:
        return None
    length, start = der[1], 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(der[2 : 2 + count], "big"), 2 + count
    return der[start:].decode("utf-8", errors="strict") if len(der) == start + length else None


def _fits(identity: Identity, found: _Claims) -> bool:
    if found.workflow is None or found.issuer != identity.issuer:
        return False
    if identity.repository is not None and found.repository != identity.repository:
        return False
    parts = (re.escape(part) for part in identity.workflow.split("*"))
    return re.fullmatch("[^/]*".join(parts), found.workflow) is not None


def _read_root(content: bytes) -> TrustedRoot:
    """A trust root from its bytes: the package reads files only."""
    from sigstore.errors import Error  # noqa: PLC0415
    from sigstore.models import TrustedRoot  # noqa: PLC0415

    try:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(content)
            file.flush()
            return TrustedRoot.from_file(file.name)
    except (Error, ValueError) as error:
        raise InputError(f"is not a sigstore trust root: {_said(error)}", where="trust_root") from error


def _trust_config(text: str | None) -> ClientTrustConfig:
    from sigstore.errors import Error  # noqa: PLC0415
    from sigstore.models import ClientTrustConfig  # noqa: PLC0415

    if text is None:
        return ClientTrustConfig.production()
    try:
        return ClientTrustConfig.from_json(text)
    except (Error, ValueError) as error:
        raise InputError(f"is not a sigstore trust configuration: {_said(error)}", where="--trust-config") from error


def _require_sigstore() -> None:
    try:
        import sigstore  # noqa: F401, PLC0415
    except ImportError as error:
        raise StateError("signatures without keys need the package sigstore", fix=_INSTALL) from error


def _said(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
