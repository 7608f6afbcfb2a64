"""Trials trained in processes side by side give what they give one after the other, whatever becomes of a process."""

import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.search.test_search import SMALL, small, steady
from weighbridge.core.errors import InvariantError, MeasurementError, StateError
from weighbridge.search.estimate.timing import Bench
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.run import search
from weighbridge.search.trials import side_by_side
from weighbridge.search.trials.side_by_side import TrainingProcesses
from weighbridge.search.trials.training_process import answer, opened
from weighbridge.search.trials.trial import Rung, TimeUpError, Workshop
from weighbridge.search.trials.trial_batches import TrialLoop

TRAINED = {**SMALL, "schemes": ["weight-int4"], "bits": [1, 2]}
STRICT = [{"metric": "size.bytes", "max_ratio": 0.9}, {"metric": "accuracy.top1", "max_drop": 0.0}]
"""What no recipe surely keeps, so that trials train."""


@pytest.fixture(autouse=True)
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launches."""
    monkeypatch.setattr(Bench, "time", steady)


def trained(root: Path) -> Path:
    """A small project whose trials train."""
    return small(root, search=TRAINED, budgets=STRICT)


def shop(root: Path) -> Workshop:
    """A workshop as a process sets it up."""
    trained(root)
    return opened({"root": str(root), "target": "onnxruntime", "folder": str(root / "folder")})


def test_processes_side_by_side_find_what_one_does_and_ctrl_c_keeps_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is interrupted in the middle of a batch and resumed; no process stays behind."""
    whole = search(SearchRequest(root=trained(tmp_path / "one"), trials=6))
    assert any(len(outcome.rungs) > 1 for _, outcome in whole.tried)
    root = trained(tmp_path / "two")
    tell, told, started = TrialLoop._tell, [], TrainingProcesses._started
    children: list[Any] = []

    def interrupted(self: TrialLoop, *given: Any, **named: Any) -> None:
        told.append(given)
        if len(told) == 2:
            raise KeyboardInterrupt
        tell(self, *given, **named)

    def noted(self: TrainingProcesses) -> Any:
        children.append(started(self))
        return children[-1]

    monkeypatch.setattr(TrialLoop, "_tell", interrupted)
    monkeypatch.setattr(TrainingProcesses, "_started", noted)
    cut = search(SearchRequest(root=root, trials=6, workers=2))
    assert cut.interrupted
    assert len(cut.tried) == 1
    assert len(children) == 2
    assert all(child.process.poll() is not None for child in children)
    monkeypatch.setattr(TrialLoop, "_tell", tell)
    resumed = search(SearchRequest(root=root, trials=6, workers=2))
    assert (resumed.tried, resumed.failed) == (whole.tried, whole.failed)


def test_a_killed_process_loses_one_rung_which_is_made_again(tmp_path: Path) -> None:
    """The same rung, from the process that takes its place."""
    workshop = shop(tmp_path)
    point = workshop.space.point({"form": "share-2"})
    processes = TrainingProcesses(workshop, 1)
    try:
        assert processes.make(point, 0) == workshop.made(point, 0)
        os.kill(processes.children[0].process.pid, signal.SIGKILL)
        assert processes.make(point, 1) == workshop.made(point, 1)
        assert len(processes.children) == 2
    finally:
        processes.end()
        for child in processes.children:
            child.kill()


def test_a_rung_whose_processes_die_ends_its_trial_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trial has its reason; the search comes to its end."""
    monkeypatch.setattr(side_by_side, "MODULE", "tests.search.no_such_module")
    found = search(SearchRequest(root=trained(tmp_path), trials=2, workers=2))
    assert not found.tried
    assert len(found.failed) == 2
    assert all("ended with exit code 1" in reason for reason in found.failed)


def test_what_a_recipe_gets_wrong_is_raised_as_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its kind and place; a full disk stays one."""
    workshop = shop(tmp_path)
    asked = {"values": {"form": "share-2"}, "epochs": 0}

    def refuse(error: Exception) -> Any:
        def made(*_: object) -> None:
            raise error

        return made

    for error in (InvariantError("NaN", where="search.steps[0]"), StateError("gone", fix="try later")):
        monkeypatch.setattr(workshop, "made", refuse(error))
        with pytest.raises(type(error)) as raised:
            side_by_side._read(answer(workshop, asked))
        assert str(raised.value) == str(error)
    monkeypatch.setattr(workshop, "made", refuse(OSError(28, "No space left on device", "file")))
    with pytest.raises(OSError, match="No space left") as full:
        side_by_side._read(answer(workshop, asked))
    assert full.value.errno == 28


def test_ended_processes_are_not_started_anew(tmp_path: Path) -> None:
    """A thread that still waits for an answer gets an error instead."""
    workshop = shop(tmp_path)
    processes = TrainingProcesses(workshop, 1)
    processes.end()
    with pytest.raises(MeasurementError, match="SIGKILL"):
        processes.make(workshop.space.point({"form": "share-2"}), 0)
    assert len(processes.children) == 1
    processes.children[0].kill()


def test_training_that_the_time_does_not_reach_is_broken_off(tmp_path: Path) -> None:
    """Its process is ended, another takes its place; what does not train is made all the same."""
    workshop = shop(tmp_path)
    processes = TrainingProcesses(workshop, 1)
    point = workshop.space.point({"form": "share-2"})
    try:
        workshop.left = lambda: -1.0
        with pytest.raises(TimeUpError):
            processes.make(point, 1)
        assert len(processes.children) == 1
        before, _ = processes.make(point, 0)
        until = time.monotonic() + 0.01
        workshop.left = lambda: until - time.monotonic()
        with pytest.raises(TimeUpError):
            processes.make(point, 1)
        assert len(processes.children) == 2
        workshop.left = lambda: math.inf
        assert processes.make(point, 0)[0] == before
    finally:
        processes.end()
        for child in processes.children:
            child.kill()


def test_a_trial_whose_training_was_broken_off_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not failed: a search that goes on makes it again."""
    root = trained(tmp_path)

    def late(*_: object) -> None:
        raise TimeUpError("the search's time is up")

    with monkeypatch.context() as patched:
        patched.setattr(Workshop, "grow", late)
        patched.setattr(TrialLoop, "_done", lambda self: self._count() > 0 or bool(self.journal.unfinished()))
        first = search(SearchRequest(root=root, trials=2, workers=2))
    assert not first.tried
    assert not first.failed
    again = search(SearchRequest(root=root, trials=2, workers=2))
    assert len(again.tried) == 2


def test_what_lost_too_much_after_some_training_is_trained_no_further(tmp_path: Path) -> None:
    """Surely more than three times the limit at the rung that trains first; just below, it goes on."""
    workshop = shop(tmp_path)
    workshop.space = replace(workshop.space, section=workshop.space.section.model_copy(update={"epochs": 5}))
    workshop.limit, sizes = 0.01, workshop.base_sizes.model_copy(update={"bytes": 10})
    for drop, rungs, ended in ((0.045, [0, 3], "hopeless"), (0.041, [0, 3, 5], "whole")):
        made = [Rung(epochs, "sha256:0", 10, drop, drop - 0.01, drop + 0.01, 0.0) for epochs in (0, 3, 5)]
        workshop.make = lambda _, epochs, made=made: (next(one for one in made if one.epochs == epochs), sizes)
        outcome = workshop.grow(workshop.start(workshop.space.point({"form": "share-2"})))
        assert [rung.epochs for rung in outcome.rungs] == rungs
        assert outcome.ended == ended
