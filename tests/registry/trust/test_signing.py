"""Statements are signed over everything that a record says, and a policy decides whose signatures count."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.registry.project import MODEL, commit_all, git
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.state.layout import POLICY, WorkTree, read_record, signature_path, version_path
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust import signing
from weighbridge.registry.trust.audit import audit
from weighbridge.registry.trust.registry_policy import CanaryChange, RegistryPolicy, load_policy, read_policy
from weighbridge.registry.trust.verify import verify_models

ED25519 = ed25519.Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())
STRANGER = ed25519.Ed25519PrivateKey.generate()


def public(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """A key's public half in PEM form."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def private(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, path: Path) -> Path:
    """Write a key to a file."""
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def set_policy(root: Path, **policy: bool | dict[str, Any]) -> None:
    """Commit a policy."""
    (root / POLICY).write_text(yaml.safe_dump(policy))
    commit_all(root, "Set the policy")


def record_of(root: Path, version: str = "v1") -> tuple[VersionRecord, str, bytes | None]:
    """A version's record, its digest and its envelope."""
    view = WorkTree(root)
    record = VersionRecord.model_validate(read_record(view, MODEL, version))
    return record, sha256_bytes(view.read(version_path(MODEL, version))), view.read(signature_path(MODEL, version))


@pytest.mark.parametrize("key", [ED25519, P256], ids=["ed25519", "p256"])
def test_a_signed_promotion_verifies(
    project: Path, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    """Signed by a key of the policy: promoted, verified, and the statement carries what the gate said."""
    set_policy(project, require_signature=True, keys={"release": public(key)})
    promote(project, PromotionRequest("int8"), key=key)
    record, digest, envelope = record_of(project)
    signed = signing.verify(envelope, record, digest, read_policy(WorkTree(project)), "x")
    assert signed.key == "release"
    assert signed.statement["_type"] == "https://in-toto.io/Statement/v1"
    assert signed.statement["subject"][0]["digest"]["sha256"] == record.artifacts[0].digest[7:]
    predicate = signed.statement["predicate"]
    assert (predicate["verdict"], predicate["record"]) == ("pass", digest)
    assert predicate["baseline"] == record.baseline.digest
    assert predicate["device"]["device_class"] == "test"
    assert verify_models(project)[0].signatures == 2


@pytest.mark.parametrize("key", [ED25519, P256], ids=["ed25519", "p256"])
def test_other_programs_can_check_the_envelope(
    project: Path, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    """securesystemslib, which in-toto and TUF build on, accepts the envelope as DSSE."""
    from securesystemslib import dsse
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    promote(project, PromotionRequest("int8"), key=key)
    _, _, envelope = record_of(project)
    content = json.loads(envelope)
    for signature in content["signatures"]:
        signature["sig"] = base64.b64decode(signature["sig"]).hex()
    their = SSlibKey.from_crypto(key.public_key(), keyid=content["signatures"][0]["keyid"])
    payload = base64.b64decode(content["payload"])
    found = dsse.Envelope(payload, content["payloadType"], {})
    assert found.pae() == signing.pre_authentication_encoding(content["payloadType"], payload)
    from securesystemslib.signer import Signature  # type: ignore[attr-defined]

    their.verify_signature(Signature(their.keyid, content["signatures"][0]["sig"]), found.pae())


def test_unsigned_is_refused_where_the_policy_says_so(project: Path) -> None:
    """No key, no promotion."""
    set_policy(project, require_signature=True, keys={"release": public(ED25519)})
    with pytest.raises(StateError, match="would be unsigned"):
        promote(project, PromotionRequest("int8"))


def test_a_strangers_key_is_refused(project: Path) -> None:
    """A signature by a key that the policy does not name is none."""
    set_policy(project, keys={"release": public(ED25519)})
    with pytest.raises(IntegrityError, match="not signed by a key that the policy lists"):
        promote(project, PromotionRequest("int8"), key=STRANGER)
    assert not (project / "registry").exists()


def test_the_policy_of_the_tip_counts_not_of_the_working_tree(remote: Any) -> None:
    """Who edits the policy locally changes nothing: it is read from the commit that a change is built on."""
    one, two = remote("one"), remote("two")
    set_policy(one, require_signature=True, keys={"release": public(ED25519)})
    git(one, "push", "-q", "origin", "main")
    with pytest.raises(StateError, match="would be unsigned"):
        promote(two, PromotionRequest("int8"))


@pytest.mark.parametrize("section", ["promoters", "operators"])
def test_only_those_named_may_act(project: Path, section: str) -> None:
    """Patterns over the address of the git identity."""
    set_policy(project, **{section: ["*@other.org"]})
    if section == "operators":
        promote(project, PromotionRequest("int8"))
        with pytest.raises(StateError, match=r"Test <test@example.org> may not move channels"):
            Operator(project, MODEL).roll_back(reason="x")
    else:
        with pytest.raises(StateError, match=r"Test <test@example.org> may not promote"):
            promote(project, PromotionRequest("int8"))
    set_policy(project, **{section: ["*@other.org", "test@example.org"]})
    if section == "operators":
        Operator(project, MODEL).roll_back(reason="x")
    else:
        promote(project, PromotionRequest("int8"))


def test_an_unsigned_version_does_not_serve_once_signatures_are_required(promoted: Path) -> None:
    """What was promoted unsigned cannot be rolled back to, and verification names what serves unsigned."""
    set_policy(promoted, require_signature=True, keys={"release": public(ED25519)})
    with pytest.raises(StateError, match="v1 is not signed"):
        Operator(promoted, MODEL).roll_back(reason="x")
    with pytest.raises(StateError, match="v2 is not signed"):
        verify_models(promoted)


def test_a_retired_key_does_not_spoil_history(project: Path) -> None:
    """Old signatures stay in the chain; only what serves must be trusted by the keys of today."""
    set_policy(project, keys={"old": public(ED25519)})
    promote(project, PromotionRequest("int8"), key=ED25519)
    set_policy(project, keys={"new": public(P256)})
    with pytest.raises(IntegrityError, match="not signed by a key"):
        verify_models(project)
    promote(project, PromotionRequest("fp16"), key=P256)
    assert verify_models(project)[0].signatures == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(payload=base64.b64encode(b"{}").decode()),
        lambda e: e["signatures"][0].update(sig=base64.b64encode(bytes(64)).decode()),
        lambda e: e.update(signatures=[]),
        lambda e: e.update(payloadType="text/plain"),
        lambda e: e.pop("payload"),
        lambda e: e.update(payload="%%%"),
    ],
)
def test_a_changed_envelope_is_refused(project: Path, change: Any) -> None:
    """Another payload, signature, type or shape: none of them verifies."""
    promote(project, PromotionRequest("int8"), key=ED25519)
    record, digest, envelope = record_of(project)
    content = json.loads(envelope)
    change(content)
    policy = RegistryPolicy(keys={"release": public(ED25519)})
    with pytest.raises(IntegrityError):
        signing.verify(json.dumps(content).encode(), record, digest, policy, "x")


def test_a_signature_does_not_serve_another_version(project: Path) -> None:
    """A genuine statement about one version says nothing of another."""
    promote(project, PromotionRequest("int8"), key=ED25519)
    promote(project, PromotionRequest("fp16"), key=ED25519)
    _, _, of_first = record_of(project, "v1")
    record, digest, _ = record_of(project, "v2")
    with pytest.raises(IntegrityError, match="does not match the record of"):
        signing.verify(of_first, record, digest, RegistryPolicy(keys={"release": public(ED25519)}), "x")


def test_keys_are_checked(tmp_path: Path) -> None:
    """What is no key, or one of another kind, is an input error that shows nothing of it."""
    with pytest.raises(InputError, match="cannot be read"):
        signing.load_private_key(tmp_path / "none")
    (tmp_path / "text").write_text("secret text")
    with pytest.raises(InputError, match="not an unencrypted private key") as caught:
        signing.load_private_key(tmp_path / "text")
    assert "secret" not in str(caught.value)
    weak = private(rsa.generate_private_key(65537, 2048), tmp_path / "rsa")
    with pytest.raises(InputError, match="neither an Ed25519 nor"):
        signing.load_private_key(weak)
    assert signing.load_private_key(private(P256, tmp_path / "p256"))
    assert signing.load_private_key(private(ED25519, tmp_path / "ed"))
    pem = public(rsa.generate_private_key(65537, 2048))
    with pytest.raises(InputError, match="neither an Ed25519 nor"):
        signing.load_public_key(pem, "x")
    with pytest.raises(InputError, match="not a public key"):
        signing.load_public_key("-----BEGIN PUBLIC KEY-----", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("promoter: [a]", "did you mean 'promoters'"),
        ("keys: {a: hello}", "expected a public key in PEM form"),
        ("canary: {steps: [50, 5]}", "expected steps that grow"),
        ("canary: {min_time: 5 parsecs}", "does not measure seconds"),
        ("canary: {budgets: [{metric: speed, max: 1}]}", "metric"),
        ("- a", "not a mapping"),
        ("require_signature: [", "not valid YAML"),
    ],
)
def test_a_policy_that_cannot_be_read_is_never_the_default(project: Path, text: str, message: str) -> None:
    """A broken policy stops everything; it does not allow everything."""
    (project / POLICY).write_text(text)
    commit_all(project)
    with pytest.raises(InputError, match=message):
        promote(project, PromotionRequest("int8"))


def test_times_without_a_unit_are_read_where_they_are_merged_and_refused_where_they_are_written(project: Path) -> None:
    """A registry with an older policy promotes and rolls back; a file that is handed over has to say what it means."""
    text = "canary: {min_time: 600, budgets: [{metric: latency, threshold: 0.05, max: 0.1}]}\n"
    (project / POLICY).write_text(text)
    commit_all(project)
    promote(project, PromotionRequest("int8"))
    plan = CanaryChange(steps="100").of(read_policy(WorkTree(project)))
    assert (plan.min_seconds, plan.budgets[0]["threshold"]) == (600, 0.05)
    with pytest.raises(InputError, match=r"canary\.min_time: min_time needs a unit: write `min_time: 600s`"):
        load_policy(project / POLICY)
    (project / POLICY).write_text(text.replace("600", "10min"))
    with pytest.raises(InputError, match=r"budgets\[0\]\.threshold: threshold needs a unit: write `threshold: 0\.05s`"):
        load_policy(project / POLICY)
    (project / POLICY).write_text(text.replace("600", "10min").replace("0.05", "50ms"))
    assert load_policy(project / POLICY).canary.budgets[0]["threshold"] == 0.05


def test_a_canary_plan_is_the_policys_unless_a_command_says_otherwise(project: Path) -> None:
    """Values of the command replace the policy's one by one; budgets are always the policy's."""
    set_policy(
        project,
        canary={
            "steps": [10, 100],
            "min_samples": 50,
            "min_time": "2min",
            "budgets": [{"metric": "error_rate", "max": 0.1}],
        },
    )
    policy = read_policy(WorkTree(project))
    assert CanaryChange().of(policy) == policy.canary
    plan = CanaryChange(steps="1,100", min_time="30s").of(policy)
    assert (plan.steps, plan.min_samples, plan.min_seconds) == ([1, 100], 50, 30)
    assert plan.budgets == [{"metric": "error_rate", "max": 0.1}]
    with pytest.raises(InputError, match="canary start: steps"):
        CanaryChange(steps="a,b").of(policy)


def test_signatures_are_part_of_what_audit_covers(project: Path) -> None:
    """A signature that is gone or changed is found, policy or not."""
    promote(project, PromotionRequest("int8"), key=ED25519, settings=Settings())
    audit(project)
    path = project / signature_path(MODEL, "v1")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"keyid", b"keyId"))
    with pytest.raises(IntegrityError, match="not the signature that the event names"):
        verify_models(project)
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        verify_models(project)
