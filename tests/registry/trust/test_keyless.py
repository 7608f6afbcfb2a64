"""Signatures without keys: made against a sigstore instance of the test's own, checked without any network."""

import base64
import datetime as dt
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.registry.project import MODEL, commit_all
from tests.registry.sigstore_instance import GITHUB, REPOSITORY, WORKFLOW, Instance, served
from tests.registry.trust.test_signing import ED25519, public
from weighbridge.cli.ci_command import app as ci_app
from weighbridge.cli.registry import app
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.publish.pull import want
from weighbridge.registry.state.layout import POLICY, WorkTree, read_record, signature_path, version_path
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.trust import signing
from weighbridge.registry.trust.keyless import KeylessSigner, Trusted, ambient_signer, public_trust_root, verify_bundle
from weighbridge.registry.trust.registry_policy import Identity, RegistryPolicy, load_policy, read_policy
from weighbridge.registry.trust.verify import verify_models

FIXTURES = Path(__file__).parents[2] / "fixtures/sigstore"
BEACON = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon"
BEACON_WORKFLOW = f"{BEACON}/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"


@pytest.fixture
def instance() -> Iterator[Instance]:
    """A sigstore instance on loopback."""
    with served(Instance()) as made:
        yield made


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, every connection fails the test."""

    def cut() -> None:
        def refuse(*_: object) -> None:
            pytest.fail("a signature was checked over the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)

    return cut


def signer(instance: Instance) -> KeylessSigner:
    """Sign as a job of the instance's claims."""
    return KeylessSigner(instance.token(), json.dumps(instance.trust_config))


def set_policy(root: Path, instance: Instance, **policy: bool | dict[str, str | dict[str, str]]) -> None:
    """Commit a policy with the identity `ci` (or others) and the instance's trust root beside it."""
    (root / "sigstore").mkdir(exist_ok=True)
    (root / "sigstore/root.json").write_text(json.dumps(instance.trust_root))
    content = {"identities": {"ci": {"workflow": WORKFLOW}}, "trust_root": "sigstore/root.json", **policy}
    (root / POLICY).write_text(yaml.safe_dump(content))
    commit_all(root, "Set the policy")


def signed(root: Path, instance: Instance) -> tuple[VersionRecord, str, bytes | None]:
    """Promote, and what was signed: record, its digest, the bundle."""
    promote(root, PromotionRequest("int8"), key=signer(instance))
    view = WorkTree(root)
    record = VersionRecord.model_validate(read_record(view, MODEL, "v1"))
    return record, sha256_bytes(view.read(version_path(MODEL, "v1"))), view.read(signature_path(MODEL, "v1"))


def test_a_job_promotes_without_a_key_and_anybody_checks_it_offline(
    project: Path, instance: Instance, offline: Callable[[], None]
) -> None:
    """The whole road: the policy names the workflow, the job signs, and from then on nothing needs the network."""
    set_policy(project, instance, require_signature=True)
    record, digest, bundle = signed(project, instance)
    offline()
    assert json.loads(bundle)["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    found = signing.verify(bundle, record, digest, read_policy(WorkTree(project)), "x")
    assert found.key == "ci"
    assert found.statement["predicate"]["record"] == digest
    assert verify_models(project)[0].signatures == 2
    assert want(project, MODEL).trust.endswith("a signature by ci")
    Operator(project, MODEL).roll_back(reason="x", to="baseline")


def test_the_command_takes_githubs_token_from_the_job(
    project: Path, instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--keyless` asks the address that GitHub gives to a job with `id-token: write`."""
    set_policy(project, instance, require_signature=True)
    (tmp_path / "trust.json").write_text(json.dumps(instance.trust_config))
    for name, value in {
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{instance.url}/token?audience=sigstore",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "ask",
    }.items():
        monkeypatch.setenv(name, value)
    call = ["promote", "int8", "--keyless", "--trust-config", str(tmp_path / "trust.json"), "--root", str(project)]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert verify_models(project)[0].signatures == 2
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    with pytest.raises(StateError, match=r"no identity available.*id-token: write"):
        ambient_signer()


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"workflow": WORKFLOW.replace("main", "feature")}, "refs/heads/feature.*no identity of the policy"),
        ({"workflow": WORKFLOW.replace("promote", "other")}, "other.yml.*no identity of the policy"),
        ({"workflow": WORKFLOW + "x"}, "mainx.*no identity of the policy"),
        ({"issuer": "https://evil.example"}, "evil.example.*no identity of the policy"),
        ({"repository": REPOSITORY + "-fork"}, "no identity of the policy"),
        ({"other_workflow": "https://github.com/evil/evil/w@x"}, "signed by an unknown workflow"),
        ({"delay": dt.timedelta(minutes=11)}, "cert is not valid at validation time"),
        ({"delay": dt.timedelta(minutes=-2)}, "cert is not valid at validation time"),
    ],
)
def test_another_signer_or_another_time_is_refused(
    project: Path, instance: Instance, claims: dict[str, str | dt.timedelta], said: str
) -> None:
    """Another branch, workflow, issuer or repository, a second name, an expired or future certificate."""
    set_policy(project, instance, identities={"ci": {"workflow": WORKFLOW, "repository": REPOSITORY}})
    instance.ask(**claims)
    with pytest.raises(IntegrityError, match=said):
        promote(project, PromotionRequest("int8"), key=signer(instance))
    assert not (project / "registry").exists()


def test_a_certificate_that_no_log_knows_is_refused(project: Path, instance: Instance) -> None:
    """A CA that gives certificates secretly is found out by whoever signs with one."""
    set_policy(project, instance)
    instance.ask(logged=False)
    with pytest.raises(StateError, match=r"sigstore did not sign: .*SCT"):
        promote(project, PromotionRequest("int8"), key=signer(instance))
    assert not (project / "registry").exists()


def payload() -> bytes:
    """Some in-toto statement."""
    subject = [{"name": "a", "digest": {"sha256": 64 * "0"}}]
    return json.dumps({"_type": signing.STATEMENT_TYPE, "subject": subject, "predicateType": "urn:x"}).encode()


def check(bundle: bytes, trust_root: dict[str, Any], workflow: str = WORKFLOW) -> Trusted:
    """Verify by one identity."""
    return verify_bundle(bundle, {"ci": Identity(workflow=workflow)}, json.dumps(trust_root).encode(), "x")


def _flip(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(bytes(data)).decode()


def _entry(bundle: dict[str, Any]) -> dict[str, Any]:
    return bundle["verificationMaterial"]["tlogEntries"][0]


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b["dsseEnvelope"].update(payload=_flip(b["dsseEnvelope"]["payload"])),
        lambda b: b["dsseEnvelope"].update(payloadType="text/plain"),
        lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=_flip(b["dsseEnvelope"]["signatures"][0]["sig"])),
        lambda b: b["dsseEnvelope"].update(signatures=[]),
        lambda b: b["dsseEnvelope"].update(signatures=2 * b["dsseEnvelope"]["signatures"]),
        lambda b: b.pop("dsseEnvelope"),
        lambda b: b["verificationMaterial"]["certificate"].update(
            rawBytes=_flip(b["verificationMaterial"]["certificate"]["rawBytes"])
        ),
        lambda b: b["verificationMaterial"].pop("certificate"),
        lambda b: b["verificationMaterial"].update(tlogEntries=[]),
        lambda b: _entry(b).update(canonicalizedBody=_flip(_entry(b)["canonicalizedBody"])),
        lambda b: _entry(b).update(integratedTime=str(int(_entry(b)["integratedTime"]) + 1)),
        lambda b: _entry(b)["inclusionPromise"].update(
            signedEntryTimestamp=_flip(_entry(b)["inclusionPromise"]["signedEntryTimestamp"])
        ),
        lambda b: _entry(b).pop("inclusionPromise"),
        lambda b: _entry(b)["inclusionProof"].update(rootHash=_flip(_entry(b)["inclusionProof"]["rootHash"])),
        lambda b: _entry(b)["inclusionProof"].update(hashes=[]),
        lambda b: _entry(b)["inclusionProof"]["checkpoint"].update(envelope="test - 1\n2\nAAAA\n\n— test AAAAAAAA\n"),
        lambda b: _entry(b)["kindVersion"].update(version="0.0.9"),
        lambda b: b.update(mediaType="application/json"),
    ],
)
def test_a_changed_bundle_is_refused(instance: Instance, change: Any) -> None:
    """Envelope, certificate, log entry, promise, proof, checkpoint: whatever is changed or gone, it is refused."""
    bundle = signer(instance).sign(payload())
    assert check(bundle, instance.trust_root).identity == "ci"
    content = json.loads(bundle)
    change(content)
    with pytest.raises(IntegrityError):
        check(json.dumps(content).encode(), instance.trust_root)


@pytest.mark.parametrize("part", ["certificateAuthorities", "tlogs", "ctlogs"])
def test_another_instances_ca_or_log_is_not_trusted(instance: Instance, part: str) -> None:
    """Each of the three roots counts; so does that they are there at all."""
    bundle = signer(instance).sign(payload())
    with pytest.raises(IntegrityError):
        check(bundle, {**instance.trust_root, part: Instance().trust_root[part]})
    with pytest.raises(IntegrityError):
        check(bundle, {**instance.trust_root, part: []})


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"no json", b'{"mediaType": "x"}'])
def test_what_is_no_trust_root_is_one_clear_line(instance: Instance, content: bytes) -> None:
    """A trust root that cannot be read is not an empty one."""
    with pytest.raises(InputError, match="is not a sigstore trust root"):
        verify_bundle(b"{}", {"ci": Identity(workflow=WORKFLOW)}, content, "x")


def test_a_bundle_does_not_serve_another_version(project: Path, instance: Instance) -> None:
    """A genuine bundle about one version says nothing of another."""
    set_policy(project, instance)
    _, _, bundle = signed(project, instance)
    promote(project, PromotionRequest("fp16"), key=signer(instance))
    view = WorkTree(project)
    record = VersionRecord.model_validate(read_record(view, MODEL, "v2"))
    digest = sha256_bytes(view.read(version_path(MODEL, "v2")))
    with pytest.raises(IntegrityError, match="does not match the record of"):
        signing.verify(bundle, record, digest, read_policy(view), "x")


def test_keys_and_identities_do_not_stand_in_for_each_other(project: Path, instance: Instance) -> None:
    """A policy of keys takes no bundle, a policy of identities no key."""
    record, digest, bundle = signed(project, instance)
    with pytest.raises(IntegrityError, match="lists no identities"):
        signing.verify(bundle, record, digest, RegistryPolicy(keys={"release": public(ED25519)}), "x")
    set_policy(project, instance)
    with pytest.raises(IntegrityError, match="not signed by a key"):
        promote(project, PromotionRequest("fp16"), key=ED25519)
    set_policy(project, instance, keys={"release": public(ED25519)})
    promote(project, PromotionRequest("fp16"), key=ED25519)
    assert verify_models(project)[0].signatures == 3


def test_an_identity_that_is_gone_from_the_policy_does_not_serve(project: Path, instance: Instance) -> None:
    """What serves must be trusted by the policy of today."""
    set_policy(project, instance)
    signed(project, instance)
    set_policy(project, instance, identities={"ci": {"workflow": WORKFLOW.replace("main", "release")}})
    with pytest.raises(IntegrityError, match="no identity of the policy"):
        verify_models(project)


def test_a_trust_root_that_is_not_there_stops_what_needs_it(project: Path, instance: Instance) -> None:
    """Named and missing is an error, in a registry and beside a policy file; never "nothing to check"."""
    set_policy(project, instance)
    record, digest, bundle = signed(project, instance)
    (project / "policy").mkdir()
    (project / "policy" / POLICY).write_text((project / POLICY).read_text())
    policy = load_policy(project / "policy" / POLICY)
    with pytest.raises(InputError, match=r"trust root not found.*trust-root sigstore/root\.json"):
        signing.verify(bundle, record, digest, policy, "x")
    assert signing.verify(bundle, record, digest, load_policy(project / POLICY), "x").key == "ci"
    (project / "sigstore/root.json").unlink()
    with pytest.raises(InputError, match="trust root not found"):
        verify_models(project)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trust_root": None}, "need a 'trust_root'"),
        ({"trust_root": "../root.json"}, "path within the project"),
        ({"keys": {"ci": public(ED25519)}}, "names a key and an identity"),
        ({"identities": {"ci": {"workflow": "https://github.com/*/x/y"}}}, "workflow"),
        ({"identities": {"ci": {"workflow": "https://github.com/*"}}}, "workflow"),
        ({"identities": {"ci": {"workflow": WORKFLOW, "issuer": "https://*"}}}, "issuer"),
        ({"identities": {"ci": {"workflows": WORKFLOW}}}, "did you mean 'workflow'"),
    ],
)
def test_a_policy_that_trusts_too_much_is_refused(
    project: Path, instance: Instance, change: dict[str, Any], said: str
) -> None:
    """Owner, repository and issuer are named in full; identities need a root."""
    set_policy(project, instance, **change)
    with pytest.raises(InputError, match=said):
        read_policy(WorkTree(project))


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        (WORKFLOW, True),
        (f"{REPOSITORY}/.github/workflows/*@refs/heads/main", True),
        (f"{REPOSITORY}/.github/workflows/promote.yml@refs/heads/*", True),
        (f"{REPOSITORY}/*", False),
        (f"{REPOSITORY}/.github/workflows/promote.yml@refs/*", False),
        (f"{REPOSITORY}/.github/workflows/promoteXyml@refs/heads/main", False),
    ],
)
def test_a_star_stays_within_one_part_of_the_path(instance: Instance, pattern: str, fits: bool) -> None:
    """`*` never crosses a slash, and a dot is a dot."""
    bundle = signer(instance).sign(payload())
    if fits:
        assert check(bundle, instance.trust_root, pattern).payload == payload()
    else:
        with pytest.raises(IntegrityError, match="no identity of the policy"):
            check(bundle, instance.trust_root, pattern)


def test_a_real_bundle_of_a_github_job_verifies(offline: Callable[[], None]) -> None:
    """Not only our own instance's: what a workflow signed at sigstore's staging instance, logged by Rekor 2."""
    offline()
    bundle, root = (FIXTURES / "github-job.sigstore.json").read_bytes(), (FIXTURES / "staging-root.json").read_bytes()
    identity = Identity(workflow=BEACON_WORKFLOW, repository=BEACON)
    assert json.loads(verify_bundle(bundle, {"beacon": identity}, root, "x").payload)["_type"] == signing.STATEMENT_TYPE
    assert identity.issuer == GITHUB
    for wrong in (Identity(workflow=WORKFLOW), Identity(workflow=BEACON_WORKFLOW, repository=REPOSITORY)):
        with pytest.raises(IntegrityError, match="no identity of the policy"):
            verify_bundle(bundle, {"beacon": wrong}, root, "x")
    content = json.loads(bundle)
    content["dsseEnvelope"]["payload"] = _flip(content["dsseEnvelope"]["payload"])
    with pytest.raises(IntegrityError):
        verify_bundle(json.dumps(content).encode(), {"beacon": identity}, root, "x")


def test_the_public_trust_root_is_written_for_the_policy(
    offline: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`trust-root --offline` writes the one that came with sigstore; it does not trust the staging instance."""
    monkeypatch.setenv("HOME", str(tmp_path))
    offline()
    out = tmp_path / "root.json"
    result = CliRunner().invoke(app, ["trust-root", str(out), "--offline"], catch_exceptions=False)
    assert result.exit_code == 0
    assert out.read_bytes() == public_trust_root(offline=True)
    bundle = (FIXTURES / "github-job.sigstore.json").read_bytes()
    with pytest.raises(IntegrityError, match="is not a trusted bundle"):
        verify_bundle(bundle, {"beacon": Identity(workflow=BEACON_WORKFLOW)}, out.read_bytes(), "x")


def test_without_sigstore_a_bundle_is_an_error_not_a_pass(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is not installed: said, with the command that installs it."""
    bundle = signer(instance).sign(payload())
    monkeypatch.setitem(sys.modules, "sigstore", None)
    with pytest.raises(StateError, match=r"weighbridge\[keyless\]"):
        check(bundle, instance.trust_root)
    with pytest.raises(StateError, match=r"weighbridge\[keyless\]"):
        ambient_signer()


def test_what_cannot_sign_says_so_and_writes_nothing(
    project: Path, instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token of another issuer, none at all, services that are gone, a configuration that is none."""
    for name in ("GITHUB_ACTIONS", "SIGSTORE_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    config = json.dumps(instance.trust_config)
    with pytest.raises(StateError, match="identity token is not accepted"):
        promote(project, PromotionRequest("int8"), key=KeylessSigner("nonsense", config))
    forged = ".".join([*instance.token().split(".")[:2], "AAAA"])
    with pytest.raises(StateError, match=r"sigstore did not sign: 401"):
        promote(project, PromotionRequest("int8"), key=KeylessSigner(forged, config))
    gone = config.replace(instance.url, "http://127.0.0.1:9")
    with pytest.raises(StateError, match="sigstore did not sign"):
        promote(project, PromotionRequest("int8"), key=KeylessSigner(instance.token(), gone))
    (tmp_path / "trust.json").write_text("{}")
    with pytest.raises(InputError, match="is not a sigstore trust configuration"):
        ambient_signer(tmp_path / "trust.json")
    with pytest.raises(InputError, match="cannot be read"):
        ambient_signer(tmp_path / "none.json")
    with pytest.raises(StateError, match="no identity to sign with"):
        ambient_signer(environment={})
    assert "secret" not in repr(KeylessSigner("secret"))
    assert not (project / "registry").exists()


def test_a_key_and_no_key_exclude_each_other(project: Path, tmp_path: Path) -> None:
    """Which of both would have signed is nobody's guess."""
    with pytest.raises(InputError, match="by a key or without one"):
        CliRunner().invoke(app, ["promote", "int8", "--keyless", "--key", "k"], catch_exceptions=False)
    with pytest.raises(InputError, match="belongs to --keyless"):
        CliRunner().invoke(app, ["promote", "int8", "--trust-config", "t"], catch_exceptions=False)
    pem = signing_pem()
    environment = {"WEIGHBRIDGE_SIGNING_KEY_PEM": pem, "WEIGHBRIDGE_KEYLESS": "true"}
    with pytest.raises(InputError, match="by a key or without one"):
        CliRunner().invoke(ci_app, ["promote"], env=environment, catch_exceptions=False)


def signing_pem() -> str:
    """A private key as a secret holds it."""
    from cryptography.hazmat.primitives import serialization

    return ED25519.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
