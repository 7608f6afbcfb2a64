"""Three in the morning: the store is away, the keys were changed, the clone is shallow. There is a way back."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from typer.testing import CliRunner

from tests.registry import project as made
from tests.registry.project import MODEL, git
from tests.registry.trust.test_signing import public, set_policy
from weighbridge.cli.registry import app
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.asking import CannotAskError
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.registry_policy import RegistryPolicy
from weighbridge.registry.trust.verify import verify_models

OLD, NEW = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def away(promoted: Path, tmp_path: Path) -> Path:
    """A project after two promotions whose bytes lie in a store that is not mounted now."""
    (promoted / ".dvc/config").write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = {tmp_path / 'store'}\n")
    git(promoted, "add", "-f", ".dvc/config")
    git(promoted, "commit", "-q", "-m", "A store")
    shutil.move(promoted / ".dvc/cache", tmp_path / "store-away")
    shutil.rmtree(promoted / "artifacts")
    return promoted


def test_a_store_that_cannot_be_asked_is_not_one_that_does_not_have_it(
    away: Path, tmp_path: Path, settings: Settings
) -> None:
    """Two nights, two messages."""
    operator = Operator(away, MODEL, settings)
    with pytest.raises(CannotAskError, match="could not be asked"):
        operator.roll_back(reason="bad", to="baseline")
    (tmp_path / "store").mkdir()
    with pytest.raises(StateError, match="does not have them") as error:
        operator.roll_back(reason="bad", to="baseline")
    assert not isinstance(error.value, CannotAskError)
    assert resolve(away, f"{MODEL}@stable").version == "v2"


def test_with_the_store_away_one_goes_back_unproven_and_verify_says_so(
    away: Path, tmp_path: Path, settings: Settings
) -> None:
    """The digest is in the history; the event says that nobody saw the bytes; a later proven move ends that."""
    done = Operator(away, MODEL, settings).roll_back(reason="bad", to="baseline", unproven=True)
    assert resolve(away, f"{MODEL}@stable").version == "b1"
    assert done.event.evidence["unproven"] == resolve(away, f"{MODEL}@b1").digest
    assert "could not be asked" in done.event.evidence["because"]
    assert "bytes_verified" not in done.event.evidence
    assert [item.unproven for item in verify_models(away, deep=True)] == ["b1"]
    (tmp_path / "store").mkdir()
    shutil.move(tmp_path / "store-away/files", tmp_path / "store/files")
    Operator(away, MODEL, settings).roll_back(reason="v1 was good", to="v1", unproven=True)
    assert [item.unproven for item in verify_models(away)] == [None]


def test_bytes_that_hash_wrong_are_refused_even_unproven(away: Path, tmp_path: Path, settings: Settings) -> None:
    """Not to see the bytes is one thing; to see others is damage."""
    shutil.move(tmp_path / "store-away", tmp_path / "store")
    md5 = resolve(away, f"{MODEL}@b1").md5
    path = tmp_path / "store/files/md5" / md5[:2] / md5[2:]
    path.write_bytes(b"other")
    with pytest.raises(IntegrityError, match="hashes wrong"):
        Operator(away, MODEL, settings).roll_back(reason="bad", to="baseline", unproven=True)


@pytest.fixture
def rotated(project: Path, settings: Settings) -> Path:
    """v1 and v2 signed by a key that the policy lists no more."""
    set_policy(project, require_signature=True, keys={"old": public(OLD)})
    promote(project, PromotionRequest("int8"), settings=settings, key=OLD)
    set_policy(project, require_signature=True, keys={"old": public(OLD), "new": public(NEW)})
    made.write_run(project, 2)
    made.commit_all(project)
    promote(project, PromotionRequest("int8"), settings=settings, key=NEW)
    set_policy(project, require_signature=True, keys={"new": public(NEW)})
    return project


def test_a_retired_key_counts_for_going_back_and_for_nothing_new(rotated: Path, settings: Settings) -> None:
    """Listed as retired: proven as ever. It signs no promotion."""
    with pytest.raises(IntegrityError, match="retired_keys"):
        Operator(rotated, MODEL, settings).roll_back(reason="bad", to="v1")
    set_policy(rotated, require_signature=True, keys={"new": public(NEW)}, retired_keys={"old": public(OLD)})
    done = Operator(rotated, MODEL, settings).roll_back(reason="bad", to="v1")
    assert "bytes_verified" in done.event.evidence
    assert [item.unproven for item in verify_models(rotated)] == [None]
    made.write_run(rotated, 3)
    made.commit_all(rotated)
    with pytest.raises(IntegrityError, match="not signed by a key"):
        promote(rotated, PromotionRequest("int8"), settings=settings, key=OLD)


def test_without_yesterdays_key_one_goes_back_unproven(rotated: Path, settings: Settings) -> None:
    """The event says why, and the tree verifies; without that event it would not."""
    done = Operator(rotated, MODEL, settings).roll_back(reason="bad", to="v1", unproven=True)
    assert "not signed by a key that the policy lists" in done.event.evidence["because"]
    assert [item.unproven for item in verify_models(rotated)] == ["v1"]


def test_a_name_is_a_key_of_today_or_a_retired_one() -> None:
    """Not both."""
    with pytest.raises(ValueError, match="among the retired keys"):
        RegistryPolicy(keys={"a": public(NEW)}, retired_keys={"a": public(OLD)})


@pytest.mark.parametrize("folder", [".", "artifacts/recipes", "registry/models"])
def test_a_shallow_clone_goes_back_from_any_of_its_folders(
    remote: Any, tmp_path: Path, folder: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One commit deep, started below the top."""
    work = remote("author")
    promote(work, PromotionRequest("int8"), settings=settings)
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{remote.path}", str(tmp_path / "night"))
    night = tmp_path / "night"
    made.identify(night)
    shutil.copytree(work / "artifacts", night / "artifacts")
    monkeypatch.chdir(night / folder)
    result = CliRunner().invoke(app, ["rollback", MODEL, "--to", "baseline", "--reason", "x"])
    assert "rolled back from v1 to b1" in result.stdout, result.exception
    assert "b1" in git(night, "show", f"origin/main:registry/models/{MODEL}/channels.yaml")


def test_a_remote_that_was_rewound_is_refused_before_anything_is_decided(
    remote: Any, settings: Settings, tmp_path: Path
) -> None:
    """In a clone that saw the lost commits, and again when it asks once more; also after a fetch by hand."""
    work = remote("author")
    promote(work, PromotionRequest("int8"), settings=settings)
    before = git(work, "rev-parse", "HEAD")
    git(remote.path, "update-ref", "refs/heads/main", f"{before}^")
    for _ in range(2):
        with pytest.raises(StateError, match="rewound or rewritten"):
            Operator(work, MODEL, settings).roll_back(reason="bad", to="baseline")
    git(work, "fetch", "-q", "--force", "origin", "+refs/heads/main:refs/remotes/origin/main")
    made.write_run(work, 2)
    with pytest.raises(StateError, match="has 0 events"):
        Operator(work, MODEL, settings).roll_back(reason="bad", to="baseline")
    assert git(remote.path, "rev-parse", "main") == git(work, "rev-parse", f"{before}^")


def test_days_are_read(promoted: Path) -> None:
    """`yesterday` and a date mean the end of that day, in UTC."""
    channels = yaml.safe_load((promoted / f"registry/models/{MODEL}/channels.yaml").read_text())
    day = channels["stable"]["since"][:10]
    assert resolve(promoted, f"{MODEL}@{day}").version == "v2"
    assert resolve(promoted, f"{MODEL}@today").version == "v2"
    with pytest.raises(StateError, match="stable at 400-days-ago"):
        resolve(promoted, f"{MODEL}@400-days-ago")
    with pytest.raises(InputError, match="yesterday"):
        resolve(promoted, f"{MODEL}@someday")
