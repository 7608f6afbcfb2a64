"""One door to the state: compare and swap, retries, failed pushes, edited files."""

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.registry.project import MODEL, commit_all, git, make_repository, write_run
from weighbridge.core.errors import StateError
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state import commit as commits
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.verify import verify_models

PROJECT = Path(__file__).resolve().parents[3]


def tips(root: Path, bare: Path) -> tuple[str, str, str]:
    """HEAD and dirt of a clone, and the tip of the remote."""
    return git(root, "rev-parse", "HEAD"), git(root, "status", "--porcelain"), git(bare, "rev-parse", "main")


def test_a_promotion_is_pushed(remote: Any, settings: Settings) -> None:
    """The remote has the commit, and the clone stands on it with a clean tree."""
    root = remote("one")
    committed = promote(root, PromotionRequest("int8"), settings=settings)
    assert committed.pushed
    assert tips(root, remote.path) == (committed.commit, "", committed.commit)


def test_no_push_changes_the_local_branch_only(remote: Any) -> None:
    """For a pull request: the commit stands on the local branch, the remote knows nothing."""
    root = remote("one")
    before = git(remote.path, "rev-parse", "main")
    committed = promote(root, PromotionRequest("int8"), settings=Settings(push=False))
    assert not committed.pushed
    assert tips(root, remote.path) == (committed.commit, "", before)


def test_a_decision_is_taken_again_on_the_new_tip(remote: Any, settings: Settings) -> None:
    """A clone that is behind decides on the remote's state, not on its own; nothing is rebased."""
    first, second = remote("one"), remote("two")
    promote(first, PromotionRequest("int8"), settings=settings)
    committed = promote(second, PromotionRequest("fp16"), settings=settings)
    assert committed.event.number == 2
    assert committed.channels.stable.version == "v2"
    assert git(second, "status", "--porcelain") == ""
    assert verify_models(second)[0].versions == 2


def test_the_loser_of_a_race_starts_over(remote: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody pushes between the fetch and the push: refused, decided again, accepted, exactly once each."""
    first, second = remote("one"), remote("two")
    from weighbridge.registry.state.store import Store

    publish, raced = Store._publish, []

    def slow(self: Store, *arguments: Any) -> bool:
        if self.root == first and not raced:
            raced.append(promote(second, PromotionRequest("fp16"), settings=settings))
        return publish(self, *arguments)

    monkeypatch.setattr(Store, "_publish", slow)
    committed = promote(first, PromotionRequest("int8"), settings=settings)
    assert (raced[0].attempts, committed.attempts) == (1, 2)
    assert (raced[0].event.number, committed.event.number) == (1, 2)
    assert git(remote.path, "rev-list", "--count", "main") == "3"
    assert verify_models(first)[0].events == 2


def test_the_loser_of_a_race_is_told_where_its_condition_fell(
    remote: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--expect`, the second decision no longer holds: it is refused and leaves no trace."""
    first, second = remote("one"), remote("two")
    from weighbridge.registry.state.store import Store

    publish = Store._publish
    raced = []

    def slow(self: Store, *arguments: Any) -> bool:
        if self.root == first and not raced:
            raced.append(promote(second, PromotionRequest("fp16", expect="none"), settings=settings))
        return publish(self, *arguments)

    monkeypatch.setattr(Store, "_publish", slow)
    head = git(first, "rev-parse", "HEAD")
    with pytest.raises(StateError, match="stable is v1, expected none"):
        promote(first, PromotionRequest("int8", expect="none"), settings=settings)
    assert git(first, "rev-parse", "HEAD") == head
    assert git(first, "status", "--porcelain") == ""


def test_concurrent_promoters_lose_nothing(remote: Any, settings: Settings) -> None:
    """Three processes in three clones promote at once: every event is there exactly once, in one chain."""
    roots = [remote(f"clone{number}") for number in range(3)]
    promote(roots[0], PromotionRequest("int8"), settings=settings)
    codes = []

    def run(root: Path, recipe: str) -> None:
        code = (
            "import sys; from pathlib import Path; from weighbridge.registry.lifecycle.operate import Operator;"
            f"Operator(Path({str(root)!r}), {MODEL!r}).deprecate('b1', reason={recipe!r})"
        )
        codes.append(subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode)

    threads = [threading.Thread(target=run, args=(root, f"by {root.name}")) for root in roots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 3
    fresh = remote("fresh")
    assert verify_models(fresh)[0].events == 4
    texts = "".join(path.read_text() for path in (fresh / f"registry/models/{MODEL}/events").iterdir())
    assert all(texts.count(f"reason: by {root.name}") == 1 for root in roots)


def test_a_refused_push_leaves_no_trace(remote: Any, settings: Settings) -> None:
    """A remote that says no (a hook, rights) is quoted; the clone is as it was."""
    root = remote("one")
    hook = remote.path / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'branch is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = tips(root, remote.path)
    with pytest.raises(StateError, match=r"origin refused the push: .*rejected"):
        promote(root, PromotionRequest("int8"), settings=settings)
    assert tips(root, remote.path) == before
    assert not (root / "registry").exists()


def test_an_unreachable_remote_leaves_no_trace(remote: Any, settings: Settings) -> None:
    """No fetch, no decision."""
    root = remote("one")
    git(root, "remote", "set-url", "origin", str(root / "nowhere.git"))
    head = git(root, "rev-parse", "HEAD")
    with pytest.raises(StateError, match="cannot fetch main from origin"):
        promote(root, PromotionRequest("int8"), settings=settings)
    assert git(root, "rev-parse", "HEAD") == head


def test_a_push_without_an_answer_is_found_to_have_worked(
    remote: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the remote accepted: the event is there once, and the command says so."""
    root = remote("one")
    from weighbridge.core.git import Git

    attempt = Git.attempt

    def broken(self: Git, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        done = attempt(self, *arguments, **more)
        if arguments[0] == "push":
            return subprocess.CompletedProcess(done.args, 128, "", "fatal: the remote end hung up unexpectedly")
        return done

    monkeypatch.setattr(Git, "attempt", broken)
    committed = promote(root, PromotionRequest("int8"), settings=settings)
    assert committed.attempts == 1
    assert git(remote.path, "rev-list", "--count", "main") == "2"


def test_a_commit_that_the_remote_does_not_have_is_refused(remote: Any, settings: Settings) -> None:
    """A version must name a commit that others can fetch."""
    root = remote("one")
    write_run(root, 5)
    commit_all(root)
    with pytest.raises(StateError, match="does not have the commit that you are on"):
        promote(root, PromotionRequest("int8"), settings=settings)


def test_rolling_back_works_from_a_clone_with_work_in_progress(remote: Any, settings: Settings) -> None:
    """At three in the morning a dirty tree and unpushed commits do not stand in the way; they are left alone."""
    root = remote("one")
    promote(root, PromotionRequest("int8"), settings=settings)
    (root / "notes.txt").write_text("half done")
    write_run(root, 6)
    git(root, "commit", "-q", "-a", "-m", "Work")
    committed = Operator(root, MODEL, settings).roll_back(reason="alarm", to="baseline")
    assert git(remote.path, "rev-parse", "main") == committed.commit
    assert "commits of its own" in committed.local
    assert (root / "notes.txt").read_text() == "half done"
    assert resolve(root, MODEL).version == "v1"
    git(root, "pull", "-q", "--rebase", "origin", "main")
    assert resolve(root, MODEL).version == "b1"


def test_hand_edited_state_stops_every_change(promoted: Path) -> None:
    """No event is written on top of files that somebody edited."""
    path = promoted / f"registry/models/{MODEL}/events/000001.yaml"
    path.write_text(path.read_text() + "# hello\n")
    with pytest.raises(StateError, match=r"000001.yaml: was edited by hand"):
        Operator(promoted, MODEL).roll_back(reason="x")


def test_committed_edits_of_the_channels_stop_every_change(promoted: Path) -> None:
    """Nor on top of channels that were edited and committed."""
    path = promoted / f"registry/models/{MODEL}/channels.yaml"
    path.write_text(path.read_text().replace("versions: 2", "versions: 3"))
    commit_all(promoted)
    from weighbridge.core.errors import IntegrityError

    with pytest.raises(IntegrityError, match="does not match the last event"):
        Operator(promoted, MODEL).roll_back(reason="x")


def test_a_project_in_a_folder_of_its_repository(tmp_path: Path, project: Path) -> None:
    """The registry may lie below the repository's top: paths, commits and resolving follow."""
    top = make_repository(tmp_path / "mono")
    root = top / "models/vision"
    root.mkdir(parents=True)
    (root / ".gitignore").write_text("/artifacts/\n/measurements/\n.weighbridge/\n/.dvc/cache/\n")
    write_run(root)
    commit_all(top)
    promote(root, PromotionRequest("int8"))
    assert git(top, "status", "--porcelain") == ""
    assert (root / f"registry/models/{MODEL}/channels.yaml").exists()
    assert Operator(root, MODEL).roll_back(reason="drill").channels.stable.version == "b1"
    assert resolve(root, MODEL).version == "b1"


def test_a_model_whose_name_differs_in_case_is_refused(promoted: Path) -> None:
    """`Tiny-CNN` beside `tiny-cnn` would be one folder on some file systems."""
    params = promoted / "params.yaml"
    from weighbridge.registry.state.store import Store
    from weighbridge.registry.state.tip import Draft

    with pytest.raises(Exception, match="differ only in case"):
        Store(promoted).change("Tiny-CNN", lambda tip, channels: Draft("recorded", "x"))
    assert params.exists()


def test_a_clone_without_identity_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event says who; git must know."""
    git(project, "config", "--unset", "user.name")
    git(project, "config", "--unset", "user.email")
    git(project, "config", "user.useConfigOnly", "true")
    with pytest.raises(StateError, match="does not know who commits"):
        promote(project, PromotionRequest("int8"))


def test_too_many_races_end_in_an_error(remote: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its attempts a command gives up and says that nothing was changed; waits grow and are random."""
    root = remote("one")
    from weighbridge.registry.state.store import Store

    waits = []
    monkeypatch.setattr(Store, "_publish", lambda *_: False)
    with pytest.raises(StateError, match="gave up after 5 concurrent updates; nothing was changed"):
        promote(root, PromotionRequest("int8"), settings=Settings(sleep=waits.append, attempts=5))
    assert len(set(waits)) == 5


def test_the_time_of_an_event_is_the_clocks(project: Path) -> None:
    """The clock comes in from outside and is written in UTC."""
    now = datetime(2026, 5, 4, 3, 2, 1, 999, tzinfo=UTC)
    assert (
        promote(project, PromotionRequest("int8"), settings=Settings(clock=lambda: now)).event.at
        == "2026-05-04T03:02:01Z"
    )


def test_a_clone_that_cannot_follow_says_so_and_the_change_stands(
    remote: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remote accepted; a full disk in this clone afterwards is a note, not a failure of the change."""
    root = remote("one")

    def full(*_: object) -> NoReturn:
        raise StateError("cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(commits, "atomic_write", full)
        committed = promote(root, PromotionRequest("int8"), settings=settings)
    assert "No space left" in committed.local
    assert git(remote.path, "rev-parse", "main") == committed.commit
    git(root, "pull", "-q", "--ff-only")
    assert resolve(root, MODEL).version == "v1"
