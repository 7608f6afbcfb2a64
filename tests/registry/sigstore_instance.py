"""A sigstore instance of the test's own: CA, certificate log, transparency log and token issuer, all throw-away.

It speaks the HTTP of Fulcio (v2), Rekor (v1) and GitHub's token endpoint on loopback, so that the package sigstore
signs against it and verifies what came out, without the network. Each step can be asked to go wrong.
"""

import base64
import contextlib
import datetime as dt
import hashlib
import http.server
import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

GITHUB = "https://token.actions.githubusercontent.com"
REPOSITORY = "https://github.com/example/models"
WORKFLOW = f"{REPOSITORY}/.github/workflows/promote.yml@refs/heads/main"
SECRET = "known to the token issuer and the certificate authority of this instance only"


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key's public half, DER."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    """What logs are known by."""
    return hashlib.sha256(spki(key)).digest()


def b64(data: bytes) -> str:
    """Base64 as text."""
    return base64.b64encode(data).decode()


def ecdsa(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """A signature with SHA-256."""
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def utf8_string(text: str) -> bytes:
    """A DER UTF8String."""
    data = text.encode()
    length = bytes([len(data)]) if len(data) < 128 else bytes([0x81, len(data)])
    return b"\x0c" + length + data


@dataclass(frozen=True)
class Claims:
    """Who asks for a certificate, and when it is given."""

    workflow: str = WORKFLOW
    issuer: str = GITHUB
    repository: str = REPOSITORY
    delay: dt.timedelta = dt.timedelta()
    """How long after the certificate was given the log took the entry; it is valid for ten minutes."""
    logged: bool = True
    """Whether the certificate log knows it."""
    other_workflow: str | None = None
    """A second name in the certificate."""


@dataclass
class Instance:
    """The keys of one instance, and its transparency log."""

    ca_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ct_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    log_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    leaves: list[bytes] = field(default_factory=lambda: [b"an entry of somebody else"])
    claims: Claims = Claims()
    url: str = "http://127.0.0.1:0"

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        public = self.ca_key.public_key()
        self.ca = (
            x509.CertificateBuilder(name, name, public, x509.random_serial_number(), start, start.replace(year=2045))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.ca_key, hashes.SHA256())
        )

    def certificate(self, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        """A certificate for `claims`, with the certificate log's promise in it."""
        claims = self.claims
        start = dt.datetime.now(dt.UTC).replace(microsecond=0)
        names = [x509.UniformResourceIdentifier(name) for name in (claims.workflow, claims.other_workflow) if name]
        builder = (
            x509.CertificateBuilder(
                self.ca.subject, x509.Name([]), public_key, x509.random_serial_number(), start,
                start + dt.timedelta(minutes=10),
            )
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca_key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
        )  # fmt: skip
        for number, text in ((8, claims.issuer), (9, claims.workflow), (12, claims.repository)):
            oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, utf8_string(text)), critical=False)
        before = builder.sign(self.ca_key, hashes.SHA256())
        signer = self.ct_key if claims.logged else ec.generate_private_key(ec.SECP256R1())
        promise = self._promise(before.tbs_certificate_bytes, start, signer)
        return builder.add_extension(promise, critical=False).sign(self.ca_key, hashes.SHA256())

    def _promise(self, tbs: bytes, when: dt.datetime, signer: ec.EllipticCurvePrivateKey) -> x509.UnrecognizedExtension:
        """The signed certificate timestamp of RFC 6962 over a precertificate."""
        milliseconds = int(when.timestamp() * 1000)
        signed = struct.pack("!BBQH", 0, 0, milliseconds, 1) + key_id(self.ca_key)
        signed += len(tbs).to_bytes(3, "big") + tbs + b"\0\0"
        signature = ecdsa(signer, signed)
        promise = b"\0" + key_id(self.ct_key) + struct.pack("!QHBBH", milliseconds, 0, 4, 3, len(signature)) + signature
        listed = struct.pack("!HH", len(promise) + 2, len(promise)) + promise
        octets = b"\x04" + (bytes([len(listed)]) if len(listed) < 128 else bytes([0x81, len(listed)])) + listed
        return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), octets)

    def log(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Rekor's answer to a proposed entry of kind `dsse`."""
        content = proposed["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        (verifier,) = content["verifiers"]
        payload = base64.b64decode(envelope["payload"])
        spec = {
            "envelopeHash": _hash(content["envelope"].encode()),
            "payloadHash": _hash(payload),
            "signatures": [{"signature": item["sig"], "verifier": verifier} for item in envelope["signatures"]],
        }
        body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}, separators=(",", ":")).encode()
        self.leaves.append(body)
        index, size = len(self.leaves) - 1, len(self.leaves)
        root = _root(self.leaves)
        entry = {"body": b64(body), "integratedTime": int((dt.datetime.now(dt.UTC) + self.claims.delay).timestamp()),
                 "logID": key_id(self.log_key).hex(), "logIndex": index}  # fmt: skip
        note = f"test - 1\n{size}\n{b64(root)}\n"
        signed_note = b64(key_id(self.log_key)[:4] + ecdsa(self.log_key, note.encode()))
        proof = {
            "checkpoint": f"{note}\n— test {signed_note}\n",
            "hashes": [item.hex() for item in _path(index, self.leaves)],
            "logIndex": index,
            "rootHash": root.hex(),
            "treeSize": size,
        }
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        entry["verification"] = {
            "inclusionProof": proof,
            "signedEntryTimestamp": b64(ecdsa(self.log_key, canonical)),
        }
        return {hashlib.sha256(body).hexdigest(): entry}

    def token(self) -> str:
        """A token as GitHub gives one to a job."""
        now = int(dt.datetime.now(dt.UTC).timestamp())
        claims = {"iss": self.claims.issuer, "aud": "sigstore", "iat": now - 1, "nbf": now - 1, "exp": now + 300,
                  "sub": "repo:example/models:ref:refs/heads/main", "email": "job@example.org",
                  "job_workflow_ref": self.claims.workflow}  # fmt: skip
        return jwt.encode(claims, SECRET, algorithm="HS256")

    @property
    def trust_root(self) -> dict[str, Any]:
        """What verifies this instance's bundles."""
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_log(self.log_key, self.url)],
            "ctlogs": [_log(self.ct_key, self.url)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "test", "commonName": "Test CA"},
                    "uri": self.url,
                    "certChain": {
                        "certificates": [{"rawBytes": b64(self.ca.public_bytes(serialization.Encoding.DER))}]
                    },
                    "validFor": {"start": "2020-01-01T00:00:00Z"},
                }
            ],
            "timestampAuthorities": [],
        }

    @property
    def trust_config(self) -> dict[str, Any]:
        """What signs with this instance."""
        service = {
            "url": self.url, "majorApiVersion": 1, "validFor": {"start": "2020-01-01T00:00:00Z"}, "operator": "test",
        }  # fmt: skip
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trust_root,
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [service],
                "oidcUrls": [],
                "rekorTlogUrls": [service],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaUrls": [],
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def ask(self, **claims: object) -> None:
        """From now on certificates say something else."""
        self.claims = changed(self.claims, **claims)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=sign_certificates, crl_sign=sign_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _log(key: ec.EllipticCurvePrivateKey, url: str) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": b64(spki(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        },
        "logId": {"keyId": b64(key_id(key))},
    }


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _root(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash of RFC 6962."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    middle = _split(len(leaves))
    return hashlib.sha256(b"\1" + _root(leaves[:middle]) + _root(leaves[middle:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[Any]:
    """The inclusion proof of RFC 6962."""
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if index < middle:
        return [*_path(index, leaves[:middle]), _root(leaves[middle:])]
    return [*_path(index - middle, leaves[middle:]), _root(leaves[:middle])]


@contextlib.contextmanager
def served(instance: Instance) -> Iterator[Instance]:
    """The instance behind HTTP on loopback; yields it with its `url`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith("/token?audience=sigstore") or "ask" not in self.headers["Authorization"]:
                return self.answer(403, {"message": "no token for you"})
            return self.answer(200, {"value": instance.token()})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/api/v1/log/entries":
                return self.answer(201, instance.log(body))
            try:
                token = self.headers["Authorization"].removeprefix("Bearer ")
                jwt.decode(token, SECRET, algorithms=["HS256"], audience="sigstore")
            except jwt.InvalidTokenError:
                return self.answer(401, {"message": "not my issuer's token"})
            request = x509.load_pem_x509_csr(base64.b64decode(body["certificateSigningRequest"]))
            chain = [pem(instance.certificate(request.public_key())), pem(instance.ca)]
            return self.answer(200, {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}})

        def answer(
            self, status: int, content: dict[str, Any] | dict[str, dict[str, dict[str, list[str]]]] | dict[str, str]
        ) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        instance.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield instance
        finally:
            server.shutdown()
            thread.join()
