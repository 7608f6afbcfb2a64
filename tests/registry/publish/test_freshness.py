"""A pull by policy can demand that a channel's tag is fresh: stated, signed, about this version, and not expired."""

import base64
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.registry.publish.project import Project
from weighbridge.cli import main
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.publish import oci as publish
from weighbridge.registry.publish import oci_attached, pull
from weighbridge.registry.publish.distribution import Repository
from weighbridge.registry.publish.oci_reference import Reference
from weighbridge.registry.publish.wire import Wire
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.trust.freshness import Stated, state_channel

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()


def public(key: Ed25519PrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, bytes]:
    """A registry whose v1 was stable (a statement of then is kept), and whose v2 is stable now."""
    project = Project(tmp_path_factory.mktemp("fresh") / "project", key=KEY)
    project.add("int8", b"first weights", baseline=b"fp32")
    before = statement_of(project, "v1")
    project.add("fp16", b"second weights")
    return project, before


def statement_of(
    project: Project,
    version: str,
    *,
    channel: str = "stable",
    key: Ed25519PrivateKey = KEY,
    hours: int = 24,
    at: datetime = NOW,
) -> bytes:
    """A channel statement by the registry as it is."""
    with pull.packaged(project.root, pull.want(project.root, f"fashion-cnn@{version}")) as package:
        stated = Stated(package.record, package.record_bytes, channel, at, "here")
        return state_channel(WorkTree(project.root), stated, timedelta(hours=hours), key)


@pytest.fixture
def place(oci: tuple[str, Path], request: pytest.FixtureRequest) -> tuple[Reference, Repository]:
    """A repository for this test alone, with the channel's tag."""
    name = f"fresh/{abs(hash(request.node.name))}/fashion-cnn"
    reference = Reference(oci[0], name, "stable")
    return reference, Repository(reference, Wire(reference))


def push(
    project: Project,
    place: tuple[Reference, Repository],
    statement: bytes | None,
    version: str = "v2",
    at: datetime = NOW,
) -> None:
    reference, repository = place
    with pull.packaged(project.root, pull.want(project.root, f"fashion-cnn@{version}")) as package:
        beside = publish.Beside(channel=statement, at=at.isoformat())
        publish.push(package, reference, repository, beside=beside, move=True)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "registry.policy.yaml"
    path.write_text(json.dumps({"require_signature": True, "require_fresh": True, "keys": {"ci": public(KEY)}}))
    return path


def take(
    place: tuple[Reference, Repository],
    policy: Path | None,
    out: Path,
    *,
    seen: Path | None = None,
    now: datetime = NOW,
    tag: str = "stable",
) -> pull.Pulled:
    reference, repository = place
    source = pull.OciSource(Reference(reference.host, reference.repository, tag), repository)
    terms = pull.PullTerms(policy, seen=seen)
    return pull.pull_reference(source, out, terms, clock=lambda: now)


def test_a_fresh_statement_lets_a_channel_be_pulled(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """What was stated an hour ago for a day is taken, and the answer says until when it is good."""
    push(signed[0], place, statement_of(signed[0], "v2"))
    taken = take(place, policy, tmp_path / "out", now=NOW + timedelta(hours=1))
    assert taken.version == "v2"
    assert taken.trust == "a signature by ci, and a channel statement that is good until 2026-03-06T12:00:00Z"


def test_an_expired_statement_is_refused_until_it_is_renewed(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """A tag that is frozen runs out; pushing again adds a newer statement, and the newest counts."""
    push(signed[0], place, statement_of(signed[0], "v2"))
    later = NOW + timedelta(hours=24)
    with pytest.raises(StateError, match="expired at 2026-03-06T12:00:00Z; it is 2026-03-06T12:00:00Z here"):
        take(place, policy, tmp_path / "out", now=later)
    assert not (tmp_path / "out").exists()
    push(signed[0], place, statement_of(signed[0], "v2", at=later), at=later)
    take(place, policy, tmp_path / "out", now=later)


def test_a_missing_statement_is_refused(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """A version's own signature, good for ever, says nothing of today."""
    push(signed[0], place, None)
    with pytest.raises(StateError, match="has no signed statement of the channel stable"):
        take(place, policy, tmp_path / "out")


def test_another_models_statement_is_refused(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """The same key states other models too."""
    other = Project(tmp_path / "other", model="other-net", key=KEY)
    other.add("int8", b"other weights", baseline=b"other fp32")
    with pull.packaged(other.root, pull.want(other.root, "other-net@v1")) as package:
        stated = Stated(package.record, package.record_bytes, "stable", NOW, "here")
        foreign = state_channel(WorkTree(other.root), stated, timedelta(hours=1), KEY)
    push(signed[0], place, foreign)
    said = "says that stable of other-net is v1, not that stable of fashion-cnn is v2"
    with pytest.raises(IntegrityError, match=said):
        take(place, policy, tmp_path / "out")


def test_a_statement_about_another_version_or_channel_is_refused(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """A statement that the tag named v1 does not make v2 fresh, nor does one of another channel."""
    project, before = signed
    push(project, place, before)
    with pytest.raises(IntegrityError, match="says that stable of fashion-cnn is v1"):
        take(place, policy, tmp_path / "out")
    with pytest.raises(StateError, match="canary of fashion-cnn does not name v2 now"):
        statement_of(project, "v2", channel="canary")


def test_a_forged_statement_is_refused_and_cannot_push_a_good_one_aside(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """By another key, or with its time changed afterwards; beside one that holds it does no harm."""
    project = signed[0]
    push(project, place, statement_of(project, "v2", key=STRANGER))
    with pytest.raises(IntegrityError, match="channel statement: is not signed by a key that the policy lists"):
        take(place, policy, tmp_path / "out")
    envelope = json.loads(statement_of(project, "v2", hours=1))
    content = base64.b64decode(envelope["payload"]).replace(b"2026-03-05T13:00:00Z", b"2099-03-05T13:00:00Z")
    envelope["payload"] = base64.b64encode(content).decode()
    push(project, place, json.dumps(envelope).encode())
    with pytest.raises(IntegrityError, match="is not signed by a key that the policy lists"):
        take(place, policy, tmp_path / "out")
    push(project, place, statement_of(project, "v2"))
    assert take(place, policy, tmp_path / "out").version == "v2"


def test_a_versions_own_statement_is_no_channel_statement(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """Signed by the right key, but about a verdict."""
    project = signed[0]
    push(project, place, pull.want(project.root, "fashion-cnn@v2").statement)
    with pytest.raises(IntegrityError, match="states nothing of a channel"):
        take(place, policy, tmp_path / "out")


def test_a_tag_that_went_back_is_refused_by_who_remembers(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """Yesterday's version with yesterday's statement, not yet expired: whoever saw a later event refuses it."""
    project, before = signed
    seen = tmp_path / "seen.json"
    push(project, place, statement_of(project, "v2"))
    take(place, policy, tmp_path / "new", seen=seen)
    assert json.loads(seen.read_text()) == {"fashion-cnn@stable": {"event": 2, "version": "v2"}}
    push(project, place, before, version="v1")
    assert take(place, policy, tmp_path / "forgetful").version == "v1"
    with pytest.raises(IntegrityError, match="went back outside the registry: v1 is stated as of event 1, but v2 as"):
        take(place, policy, tmp_path / "old", seen=seen)
    assert not (tmp_path / "old").exists()


@pytest.mark.parametrize("content", ["[]", "{", '{"fashion-cnn@stable": {"event": "two"}}'])
def test_a_file_of_what_was_seen_that_cannot_be_read_is_refused(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path, content: str
) -> None:
    """What cannot be read was not seen, and that is no leave to go back."""
    (tmp_path / "seen.json").write_text(content)
    push(signed[0], place, statement_of(signed[0], "v2"))
    with pytest.raises(InputError, match=r"seen\.json"):
        take(place, policy, tmp_path / "out", seen=tmp_path / "seen.json")


def test_a_statement_from_the_future_is_refused(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """One of the two clocks is wrong, and then no expiry means anything."""
    push(signed[0], place, statement_of(signed[0], "v2"))
    with pytest.raises(StateError, match="check this machine's clock"):
        take(place, policy, tmp_path / "out", now=NOW - timedelta(hours=1))


def test_freshness_is_a_question_about_channels_tags(
    signed: tuple[Project, bytes], place: tuple[Reference, Repository], policy: Path, tmp_path: Path
) -> None:
    """A version is exact and needs no statement; a tag that names neither is not guessed at; --seen needs a policy."""
    reference, repository = place
    push(signed[0], (Reference(reference.host, reference.repository, "v2"), repository), None)
    assert take(place, policy, tmp_path / "out", tag="v2").version == "v2"
    with pytest.raises(InputError, match="the tag 'latest' names no channel"):
        take(place, policy, tmp_path / "out", tag="latest")
    with pytest.raises(InputError, match="only a policy says"):
        take(place, None, tmp_path / "out", seen=tmp_path / "seen.json")


def test_push_states_a_channel_and_pull_demands_it(
    signed: tuple[Project, bytes],
    oci: tuple[str, Path],
    policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The commands: pushed with a key and a lifetime, pulled by the policy; not without a key or a channel."""
    key = tmp_path / "key.pem"
    forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(KEY.private_bytes(*forms))
    place = f"oci://{oci[0]}/cli/fresh/fashion-cnn"

    def run(*arguments: str | Path, code: int = 0) -> Any:
        monkeypatch.chdir(signed[0].root)
        monkeypatch.setattr(sys, "argv", ["weighbridge", "registry", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        assert (ended.value.code or 0) == code, output.err
        return output.out + output.err

    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    stable = ("push", "fashion-cnn@stable", f"{place}:stable")
    assert "needs something to sign with" in run(*stable, "--fresh-for", "1h", code=2)
    assert "with its unit" in run(*stable, "--fresh-for", "1", "--key", key, code=2)
    assert "the channel's own tag" in run("push", "fashion-cnn@v2", f"{place}:v2", "--fresh-for", "1h", code=2)
    run(*stable)
    pulled = ("pull", f"{place}:stable", "--policy", policy, "--seen", tmp_path / "seen", "--out", tmp_path / "out")
    said = run(*pulled, code=2)
    assert "has no signed statement of the channel stable" in said
    assert said.count("\n") == 1
    assert oci_attached.CHANNEL in run(*stable, "--fresh-for", "1h", "--key", key)
    assert "a channel statement that is good until" in run(*pulled)
    assert "leave it out" in run("pull", "fashion-cnn@v2", "--seen", tmp_path / "seen", code=2)
