"""A commit is the atom: whatever is killed, the state is before or after, and the next command fixes the rest."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.registry.project import MODEL, git
from weighbridge.core.errors import StateError
from weighbridge.core.git import Git
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import resolve, stable_or_none
from weighbridge.registry.state import commit as commits
from weighbridge.registry.state.store import Store
from weighbridge.registry.trust.verify import verify_models

PROJECT = Path(__file__).resolve().parents[3]

STEPS = ["_stage", "_next_index", "atomic_write", "_check_out", "_install_index"]


class KilledError(BaseException):
    """Stands for kill -9: nothing but this module's end catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: str, after: bool) -> None:
    """Die before or after a step of the change."""
    original = getattr(commits, step)

    def deadly(*arguments: Any, **more: Any) -> NoReturn:
        if after:
            original(*arguments, **more)
        raise KilledError

    monkeypatch.setattr(commits, step, deadly)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_step_the_state_is_before_or_after(
    project: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """Readers see the old state or the new one; the next command finishes what had begun, or begins anew."""
    with monkeypatch.context() as patch:
        kill_at(patch, step, after)
        with pytest.raises(KilledError):
            promote(project, PromotionRequest("int8"))
    committed = git(project, "log", "--oneline", "-1").endswith("promote v1 (int8)")
    pending = (project / ".git/weighbridge/journal.json").exists()
    assert not committed or pending or after
    assert Store(project).repair() == pending
    if committed:
        assert resolve(project, MODEL).version == "v1"
    else:
        assert not (project / "registry").exists()
        promote(project, PromotionRequest("int8"))
    assert git(project, "status", "--porcelain") == ""
    assert verify_models(project)[0].events == 1
    assert not list((project / ".git/weighbridge").glob("*-*"))


def test_killed_in_the_middle_of_the_files_the_channels_come_last(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With only some files moved, a reader still sees the state before: channels are moved last."""
    replace, moved = Path.replace, []

    def one_only(self: Path, target: str | os.PathLike[str]) -> Path:
        if "registry" in str(target) and moved:
            raise KilledError
        if "registry" in str(target):
            moved.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", one_only)
        with pytest.raises(KilledError):
            promote(project, PromotionRequest("int8"))
    assert moved[0].name != "channels.yaml"
    with pytest.raises(StateError, match="no model"):
        resolve(project, MODEL)
    assert stable_or_none(project, MODEL).version == "v1"
    assert git(project, "status", "--porcelain") == ""


def test_a_lock_on_the_index_that_a_killed_command_left_is_removed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between taking git's lock and using it: the next command removes that lock, being its own."""
    replace = Path.replace

    def dying(self: Path, target: str | os.PathLike[str]) -> Path:
        if self.name == "index.lock":
            raise KilledError
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KilledError):
            promote(project, PromotionRequest("int8"))
    assert (project / ".git/index.lock").exists()
    assert Store(project).repair()
    assert not (project / ".git/index.lock").exists()
    assert git(project, "status", "--porcelain") == ""


def test_somebody_elses_lock_on_the_index_is_respected(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program's lock stays; the change is made all the same, and git status tells what the index lacks."""
    monkeypatch.setattr(commits.time, "sleep", lambda _: None)  # type: ignore[attr-defined]
    (project / ".git/index.lock").write_text("")
    promote(project, PromotionRequest("int8"))
    assert (project / ".git/index.lock").exists()
    assert resolve(project, MODEL).version == "v1"


def test_a_full_disk_before_the_commit_changes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space for the new files: refused before the commit becomes real."""

    def full(*_: object) -> NoReturn:
        raise StateError("cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(commits, "atomic_write", full)
        with pytest.raises(StateError, match="No space left"):
            promote(project, PromotionRequest("int8"))
    assert git(project, "status", "--porcelain") == ""
    assert not (project / "registry").exists()
    promote(project, PromotionRequest("int8"))


def test_files_that_the_user_changed_meanwhile_are_not_overwritten(
    promoted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was edited after the crash is the user's: it is left, and shows as an edit."""
    path = promoted / f"registry/models/{MODEL}/channels.yaml"
    from weighbridge.registry.lifecycle.operate import Operator

    with monkeypatch.context() as patch:
        kill_at(patch, "_check_out", after=False)
        with pytest.raises(KilledError):
            Operator(promoted, MODEL).roll_back(reason="x")
    path.write_text("mine")
    Store(promoted).repair()
    assert path.read_text() == "mine"
    with pytest.raises(StateError, match="was edited by hand"):
        Operator(promoted, MODEL).roll_back(reason="x")


def test_staged_work_of_the_user_survives(promoted: Path) -> None:
    """Only the registry's files move in the index: what the user has staged stays staged."""
    from weighbridge.registry.lifecycle.operate import Operator

    (promoted / "work.py").write_text("x = 1")
    git(promoted, "add", "work.py")
    Operator(promoted, MODEL).roll_back(reason="x")
    assert git(promoted, "status", "--porcelain") == "A  work.py"


def test_nothing_is_overwritten_in_a_commit(promoted: Path) -> None:
    """A path that exists is never replaced, but for the channels."""
    folder = f"registry/models/{MODEL}"
    with pytest.raises(StateError, match="never overwrites"):
        commits.build(Git(promoted), "HEAD", {f"{folder}/versions/v1.yaml": b"x"}, "m")


def test_a_second_command_in_one_clone_waits(project: Path) -> None:
    """The clone's lock is held by one; another waits and says so in the end."""
    git_ = Git(project)
    with (
        commits.locked(git_, 1.0),
        pytest.raises(StateError, match="timed out after"),
        commits.locked(git_, 0.2),
    ):
        pass


def test_killed_while_git_moves_the_branch_the_next_command_waits_for_git(promoted: Path) -> None:
    """Git outlives the command that started it: what it still does is not done behind the next command's back."""
    hook = promoted / ".git/hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        '#!/bin/sh\nif [ "$1" = prepared ] && [ -e "$PIDFILE" ]; then kill -9 $(cat "$PIDFILE"); sleep 1; fi\n'
    )
    hook.chmod(0o755)
    code = (
        "import os; from pathlib import Path\n"
        "from weighbridge.registry.lifecycle.operate import Operator\n"
        "Path(os.environ['PIDFILE']).write_text(str(os.getpid()))\n"
        f"Operator(Path({str(promoted)!r}), {MODEL!r}).deprecate('b1', reason='x')\n"
    )
    before = verify_models(promoted)[0].events
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PIDFILE": str(promoted.parent / "pid")}
    killed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert Store(promoted).repair()
    assert verify_models(promoted)[0].events == before + 1
    assert git(promoted, "status", "--porcelain") == ""


def test_kill_minus_nine_at_random_points(promoted: Path) -> None:
    """A real process, really killed, at points spread over its life: always before or after, never between."""
    code = (
        "import os, sys, threading, time; from pathlib import Path\n"
        "from weighbridge.registry.lifecycle.operate import Operator\n"
        "die = lambda: (time.sleep(float(sys.argv[1])), os.kill(os.getpid(), 9))\n"
        "threading.Thread(target=die, daemon=True).start()\n"
        f"Operator(Path({str(promoted)!r}), {MODEL!r}).deprecate('b1', reason=sys.argv[1])\n"
    )
    before = verify_models(promoted)[0].events
    for trial in range(8):
        delay = 0.1 + 0.06 * trial
        done = subprocess.run(
            [sys.executable, "-c", code, str(delay)],
            cwd=PROJECT,
            check=False,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        Store(promoted).repair()
        after = verify_models(promoted)[0].events
        assert after in (before, before + 1)
        assert done.returncode != 0 or after == before + 1
        assert git(promoted, "status", "--porcelain") == ""
        before = after
