"""Following a registry: away, rewound, forged or quarantined changes nothing for the worse."""

import shutil
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.registry import project as made
from tests.registry.trust.test_signing import public
from tests.serve.world import MODEL, operator
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.facts.isa import Host
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.serve.following import Follower


def _follower(registry: Path, tmp_path: Path, **more: Host) -> Follower:
    return Follower(str(registry), MODEL, tmp_path / "cache", **more)


def test_stable_and_canary_come_with_verified_bytes(registry: Path, tmp_path: Path) -> None:
    operator(registry).start_canary("v3")
    follower = _follower(registry, tmp_path)
    found = follower.start()
    assert (found.stable.version, found.canary.version, found.weight) == ("v2", "v3", 5.0)
    assert len(follower.bytes_of(found.stable)) == found.stable.bytes
    assert follower.age >= 0


def test_bytes_in_a_folder_are_taken_without_asking_a_remote(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking starts DVC, which takes longer than a move may."""
    follower, asked = _follower(registry, tmp_path), list[Path]()
    stable = follower.start().stable

    def ask(root: Path, *_: object) -> Path:
        asked.append(root)
        raise StateError("does not have them")

    monkeypatch.setattr("weighbridge.registry.lookup.location.from_remote", ask)
    assert len(follower.bytes_of(stable)) == stable.bytes
    assert asked == []
    shutil.rmtree(follower.folder / "bytes")
    shutil.rmtree(registry / "artifacts")
    shutil.rmtree(registry / ".dvc", ignore_errors=True)
    with pytest.raises(StateError, match="does not have them"):
        follower.bytes_of(stable)
    assert asked == [follower.clone, registry]


def test_a_move_is_seen_once(registry: Path, tmp_path: Path) -> None:
    follower = _follower(registry, tmp_path)
    follower.start()
    assert follower.poll() is None
    operator(registry).release("v3")
    assert follower.poll().stable.version == "v3"
    assert follower.poll() is None


def test_a_remote_that_is_away_leaves_what_was_accepted(registry: Path, tmp_path: Path) -> None:
    follower = _follower(registry, tmp_path)
    stable = follower.start().stable
    follower.bytes_of(stable)
    follower.close()
    shutil.rmtree(registry)
    again = _follower(registry, tmp_path)
    found = again.start()
    assert found.stable.digest == stable.digest
    assert again.age is None
    assert "git fetch failed" in again.problem
    assert again.bytes_of(found.stable)
    with pytest.raises(StateError):
        again.poll()


def test_a_registry_that_was_rewound_is_refused(registry: Path, tmp_path: Path) -> None:
    follower = _follower(registry, tmp_path)
    accepted = follower.start().commit
    made.git(registry, "reset", "-q", "--hard", "HEAD~2")
    with pytest.raises(IntegrityError, match="rewound or replaced"):
        follower.poll()
    assert follower._read("x").stable.version == "v2"
    assert follower._accepted() == accepted


def test_a_registry_that_was_rewound_while_nothing_ran_is_refused_too(registry: Path, tmp_path: Path) -> None:
    first = _follower(registry, tmp_path)
    accepted = first.start().commit
    first.close()
    made.git(registry, "reset", "-q", "--hard", "HEAD~2")
    again = _follower(registry, tmp_path)
    assert again.start().commit == accepted
    assert "rewound" in again.problem


def test_a_forged_record_is_refused_and_the_state_before_stays(registry: Path, tmp_path: Path) -> None:
    follower = _follower(registry, tmp_path)
    follower.start()
    record = registry / f"registry/models/{MODEL}/versions/v2.yaml"
    record.write_text(record.read_text().replace("int8", "int4"))
    made.commit_all(registry, "Forge")
    with pytest.raises(IntegrityError, match="not the record"):
        follower.poll()
    assert follower._read("x").stable.version == "v2"
    with pytest.raises(IntegrityError):  # it is looked at again, and refused again
        follower.poll()


def test_an_unsigned_version_is_refused_where_the_policy_wants_signatures(registry: Path, tmp_path: Path) -> None:
    (registry / "registry.policy.yaml").write_text("require_signature: true\n")
    made.commit_all(registry, "Require signatures")
    with pytest.raises(StateError, match="not signed"):
        _follower(registry, tmp_path).start()


def test_a_version_signed_by_a_key_of_the_policy_is_taken_and_one_by_another_key_is_not(tmp_path: Path) -> None:
    root = made.make_repository(tmp_path / "signed")
    key, stranger = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    (root / "registry.policy.yaml").write_text(
        yaml.safe_dump({"require_signature": True, "keys": {"release": public(key)}})
    )
    for generation in (1, 2):
        made.write_run(root, generation)
        made.commit_all(root)
        promote(root, PromotionRequest("int8"), key=key)
    follower = _follower(root, tmp_path)
    assert follower.start().stable.version == "v2"
    (root / "registry.policy.yaml").write_text(
        yaml.safe_dump({"require_signature": True, "keys": {"release": public(stranger)}})
    )
    made.commit_all(root, "Trust another key")
    with pytest.raises(IntegrityError):
        follower.poll()
    assert follower._read("x").stable.version == "v2"


def test_quarantined_bytes_are_refused_under_any_name(registry: Path, tmp_path: Path) -> None:
    follower = _follower(registry, tmp_path)
    before = follower.start().stable
    operator(registry).roll_back(to="v1", reason="test")
    follower.poll()
    with pytest.raises(StateError, match="is quarantined"):
        follower.bytes_of(before)


def test_other_bytes_are_never_taken(registry: Path, tmp_path: Path) -> None:
    follower = _follower(registry, tmp_path)
    stable = follower.start().stable
    follower.bytes_of(stable)
    kept = follower.folder / "bytes" / stable.digest.removeprefix("sha256:")
    kept.write_bytes(b"other bytes")
    assert len(follower.bytes_of(stable)) == stable.bytes  # taken again from where they are right
    shutil.rmtree(registry / "artifacts")
    shutil.rmtree(registry / ".dvc")
    kept.write_bytes(b"other bytes")
    with pytest.raises(StateError, match="cannot be had"):
        follower.bytes_of(stable)


def test_a_processor_that_would_answer_otherwise_is_refused(registry: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from weighbridge.core.facts.isa import named_host

    follower = _follower(registry, tmp_path, host=named_host("avx2"))
    with pytest.raises(StateError, match="requires"):
        follower.bytes_of(replace(follower.start().stable, requires=("vnni",)))


def test_two_servers_do_not_share_a_folder(registry: Path, tmp_path: Path) -> None:
    first = _follower(registry, tmp_path)
    first.start()
    with pytest.raises(StateError, match="used by another server"):
        _follower(registry, tmp_path).start()


def test_a_clone_that_was_killed_in_the_middle_starts_again(registry: Path, tmp_path: Path) -> None:
    first = _follower(registry, tmp_path)
    first.start()
    first.close()
    (first.clone / ".git" / "index.lock").touch()
    assert _follower(registry, tmp_path).start().stable.version == "v2"


@pytest.mark.parametrize("source", ["--upload-pack=touch x", "/no/such/folder"])
def test_what_is_no_repository_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, StateError)):
        Follower(source, MODEL, tmp_path / "cache").start()
