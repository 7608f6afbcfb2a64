"""From the schema of an earlier program to today's: history only grows, and what can be kept is kept."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry import project as made
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.git import Git
from weighbridge.registry.lifecycle.kept import read_kept
from weighbridge.registry.lifecycle.migrate import migrate
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state import records
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.audit import only_grew
from weighbridge.registry.trust.verify import verify_models

SCHEMA_1 = Path(__file__).parents[2] / "fixtures/registry/schema-1"


@pytest.fixture
def old(project: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose v1 was promoted by a program that kept no evidence."""
    from weighbridge.registry.lifecycle import promote as module

    with monkeypatch.context() as patch:
        patch.setattr(module, "kept_files", lambda *_: {})
        promote(project, PromotionRequest("int8"), settings=settings)
    return project


def channels(root: Path, model: str = made.MODEL) -> Any:
    return yaml.safe_load((root / f"registry/models/{model}/channels.yaml").read_text())


def test_evidence_of_an_older_version_is_fetched_checked_and_kept(old: Path, settings: Settings) -> None:
    """The record is as it was; the event says what was kept; the tree verifies, and again after a roll-back."""
    before = made.git(old, "rev-parse", "HEAD")
    done = migrate(old, made.MODEL, settings)
    assert (done.kept, done.missing) == (("v1",), {})
    assert channels(old)["schema_version"] == records.LATEST_SCHEMA
    verify_models(old, deep=True)
    only_grew(Git(old), before)
    record = VersionRecord.model_validate(
        yaml.safe_load((old / f"registry/models/{made.MODEL}/versions/v1.yaml").read_text())
    )
    verdict, measurements = read_kept(WorkTree(old), record)
    assert verdict.recipes["int8"].content_digest() == record.verdict.digest
    assert [item.content_digest() for item in measurements.values()] == [record.verdict.measurement]
    Operator(old, made.MODEL, settings).roll_back(reason="drill", to="baseline")
    assert channels(old)["schema_version"] == records.LATEST_SCHEMA
    verify_models(old, deep=True)
    assert migrate(old, made.MODEL, settings) is None


def test_a_kept_file_that_is_changed_or_taken_away_is_found(old: Path, settings: Settings) -> None:
    """What a migration kept is under the event's digest."""
    migrate(old, made.MODEL, settings)
    kept = old / f"registry/models/{made.MODEL}/evidence/v1/verdict.json"
    kept.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match="not what the record of v1 names"):
        verify_models(old)


def test_evidence_that_nobody_has_any_more_is_said_to_be_lost(old: Path, settings: Settings) -> None:
    """The migration goes through; it claims nothing."""
    shutil.rmtree(old / ".dvc/cache")
    done = migrate(old, made.MODEL, settings)
    assert done.kept == ()
    assert "neither in DVC's cache nor in its remote" in done.missing["v1"]
    verify_models(old)


def test_todays_files_are_migrated(tmp_path: Path, settings: Settings) -> None:
    """The fixture of schema 1, thirteen events of every kind: verified before and after, stable stays what it was."""
    root = made.make_repository(tmp_path / "old")
    shutil.copytree(SCHEMA_1, root, dirs_exist_ok=True)
    made.commit_all(root, "as an earlier program left it")
    verify_models(root, deep=True)
    before = channels(root)
    done = migrate(root, made.MODEL, settings)
    assert set(done.missing) == {f"v{number}" for number in range(1, before["versions"] + 1)}
    verify_models(root, deep=True)
    after = channels(root)
    assert {key: value for key, value in after.items() if key not in ("head", "schema_version")} == {
        key: value for key, value in before.items() if key not in ("head", "schema_version")
    }
    assert resolve(root, f"{made.MODEL}@v1").version == "v1"


def test_an_unknown_model_is_no_migration(old: Path, settings: Settings) -> None:
    """One line, and nothing written."""
    with pytest.raises(StateError, match="no model"):
        migrate(old, "other", settings)
