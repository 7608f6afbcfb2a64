"""Every byte of the registry's state is covered: what is changed, dropped, moved or doubled is found."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.registry.project import MODEL, commit_all, git, write_run
from weighbridge.core.errors import IntegrityError, StateError, WeighbridgeError
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.trust.audit import audit
from weighbridge.registry.trust.verify import verify_models

FOLDER = f"registry/models/{MODEL}"
KEPT = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session")
def _eventful_template(_promoted_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    promoted = shutil.copytree(_promoted_template, tmp_path_factory.mktemp("template") / "eventful")
    operator = Operator(promoted, MODEL)
    operator.roll_back(reason="wrong")
    operator.quarantine("v2", reason="mended", lift=True)
    operator.start_canary("v2")
    operator.advance_canary(reason="looks well")
    operator.hold_canary(reason="waiting")
    operator.abort_canary(reason="slow")
    write_run(promoted, 3)
    commit_all(promoted)
    promote(promoted, PromotionRequest("int8"))
    operator.deprecate("v1", reason="old")
    return promoted


@pytest.fixture
def eventful(_eventful_template: Path, tmp_path: Path) -> Path:
    """A history with most kinds of events."""
    return shutil.copytree(_eventful_template, tmp_path / "eventful")


def state_files(root: Path) -> list[Any]:
    """All files of the model's state."""
    return sorted(path for path in (root / FOLDER).rglob("*") if path.is_file())


def test_an_untouched_history_verifies(eventful: Path) -> None:
    """All events, versions and channels of an eventful history hold together."""
    (checked,) = verify_models(eventful)
    assert (checked.events, checked.versions, checked.baselines, checked.stable) == (10, 3, 1, "v3")


@KEPT
@given(data=st.data())
def test_every_changed_byte_is_caught(eventful: Path, data: st.DataObject) -> None:
    """Any one byte of any file, changed to any other, is found."""
    path = data.draw(st.sampled_from(state_files(eventful)), label="file")
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1), label="position")
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]), label="byte")
    path.write_bytes(content[:position] + bytes([other]) + content[position + 1 :])
    try:
        with pytest.raises(WeighbridgeError):
            verify_models(eventful)
    finally:
        path.write_bytes(content)


@KEPT
@given(data=st.data())
def test_every_added_or_cut_byte_is_caught(eventful: Path, data: st.DataObject) -> None:
    """A byte more or less anywhere is found, a final newline too."""
    path = data.draw(st.sampled_from(state_files(eventful)), label="file")
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1), label="position")
    cut = data.draw(st.booleans(), label="cut")
    path.write_bytes(content[:position] + (b"" if cut else b" ") + content[position + cut :])
    try:
        with pytest.raises(WeighbridgeError):
            verify_models(eventful)
    finally:
        path.write_bytes(content)


def test_every_dropped_file_is_caught(eventful: Path) -> None:
    """No file of the state can be missing; with it gone the model is not what it was."""
    for path in state_files(eventful):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(WeighbridgeError):
            verify_models(eventful)
        path.write_bytes(content)


def test_every_reordered_pair_of_events_is_caught(eventful: Path) -> None:
    """Two events that change places are found, whichever they are."""
    events = sorted((eventful / FOLDER / "events").iterdir())
    for first in events:
        for second in events:
            if first < second:
                one, two = first.read_bytes(), second.read_bytes()
                first.write_bytes(two)
                second.write_bytes(one)
                with pytest.raises(WeighbridgeError):
                    verify_models(eventful)
                first.write_bytes(one)
                second.write_bytes(two)


def test_every_duplicated_event_is_caught(eventful: Path) -> None:
    """An event that is there twice, appended or in another's place, is found."""
    events = sorted((eventful / FOLDER / "events").iterdir())
    extra = events[-1].with_name(f"{len(events) + 1:06d}.yaml")
    for event in events:
        shutil.copyfile(event, extra)
        with pytest.raises(IntegrityError, match="is named by no event"):
            verify_models(eventful)
        extra.unlink()


def test_a_history_cut_short_is_caught_by_what_was_verified_before(eventful: Path) -> None:
    """Dropping the last events and their effect leaves a sound history, but not the one that was verified."""
    audit(eventful)
    head = git(eventful, "rev-parse", "HEAD")
    git(eventful, "checkout", "-q", "HEAD~1", "--", FOLDER)
    (eventful / FOLDER / "events/000010.yaml").unlink()
    verify_models(eventful)
    with pytest.raises(IntegrityError, match=r"000010.yaml: is gone since"):
        audit(eventful)
    git(eventful, "checkout", "-q", head, "--", FOLDER)
    audit(eventful)
    git(eventful, "reset", "-q", "--hard", "HEAD~1")
    with pytest.raises(IntegrityError, match="history was rewritten"):
        audit(eventful)
    with pytest.raises(IntegrityError, match="history was rewritten"):
        audit(eventful, since=head)


def test_a_record_changed_with_everything_that_names_it_is_caught(eventful: Path) -> None:
    """Who rewrites a record, its event and the channels consistently still changes a file that only grows."""
    audit(eventful)
    path = eventful / FOLDER / "versions/v1.yaml"
    path.write_text(path.read_text().replace("tiny", "tiny"[::-1]))
    git(eventful, "commit", "-q", "-a", "-m", "Edit")
    with pytest.raises(IntegrityError):
        audit(eventful)


def test_links_are_refused(eventful: Path) -> None:
    """A link anywhere in the state is refused, even one that leads to the right bytes."""
    path = eventful / FOLDER / "versions/v1.yaml"
    moved = eventful / "elsewhere.yaml"
    path.rename(moved)
    path.symlink_to(moved)
    with pytest.raises(IntegrityError, match="symbolic link"):
        verify_models(eventful)
    path.unlink()
    moved.rename(path)
    folder = eventful / FOLDER / "versions"
    folder.rename(eventful / "elsewhere")
    folder.symlink_to(eventful / "elsewhere")
    with pytest.raises(IntegrityError, match="symbolic link"):
        verify_models(eventful)


def test_oversized_irregular_and_unaccounted_files_are_refused(eventful: Path) -> None:
    """What no command writes has no place in the state: a huge file, a pipe, a version of nobody."""
    folder = eventful / FOLDER / "versions"
    (folder / "v1.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(IntegrityError, match="1000001 bytes"):
        verify_models(eventful)
    git(eventful, "checkout", "-q", "--", FOLDER)
    os.mkfifo(folder / "v7.yaml")
    with pytest.raises(IntegrityError, match="not a plain file"):
        verify_models(eventful)
    (folder / "v7.yaml").unlink()
    (folder / "V1.yaml").write_text("{}")
    with pytest.raises(IntegrityError, match="is named by no event"):
        verify_models(eventful)


def test_stray_files_of_other_programs_break_nothing(eventful: Path) -> None:
    """Hidden files of editors and file managers are none of the registry's business."""
    (eventful / FOLDER / ".DS_Store").write_bytes(b"x")
    (eventful / FOLDER / "versions/.v1.yaml.swp").write_bytes(b"x")
    (eventful / FOLDER / "README.md").write_text("hello")
    assert verify_models(eventful)


def test_names_that_differ_only_in_case_are_refused(eventful: Path) -> None:
    """Two models that one file system would take for one are refused."""
    (eventful / "registry/models" / MODEL.upper()).mkdir()
    with pytest.raises(IntegrityError, match="differ only in case"):
        verify_models(eventful)


def test_a_model_that_is_not_there_is_an_error(eventful: Path) -> None:
    """Verifying nothing is not success."""
    with pytest.raises(StateError, match="no model 'other'"):
        verify_models(eventful, models=["other"])


def test_the_mark_of_what_was_verified_is_not_moved_by_half_a_check(eventful: Path) -> None:
    """Verifying one model, or a dirty state, leaves the trusted commit where it was."""
    mark = eventful / ".git/weighbridge/verified.json"
    audit(eventful, models=[MODEL])
    assert not mark.exists()
    audit(eventful)
    assert mark.exists()


def test_an_event_of_the_future_is_found(eventful: Path) -> None:
    """A clock that was wrong by more than the caller allows shows; history would be stuck behind it."""
    now = datetime.now(UTC)
    assert verify_models(eventful, now=now + timedelta(days=1))
    with pytest.raises(IntegrityError, match="is dated in the future"):
        verify_models(eventful, now=now - timedelta(days=1))


def test_a_thorough_check_reads_every_record(eventful: Path) -> None:
    """Old records are read as documents too when asked; both ways agree on a sound history."""
    assert verify_models(eventful, deep=True) == verify_models(eventful)
