"""The journal: a killed search loses nothing and repeats nothing, and the same seed proposes the same."""

import re
from pathlib import Path
from typing import Any

import pytest
from optuna import Trial
from optuna.samplers import GPSampler, TPESampler
from optuna.trial import TrialState

from weighbridge.core.documents import SearchSection, TrainSection
from weighbridge.core.errors import InputError, StateError
from weighbridge.search.problem.space import Space
from weighbridge.search.trials.study import FORMAT, Journal, opened

SPACE = Space("onnxruntime", SearchSection(), TrainSection(), module=True)
IDENTITY = {"model": "net sha256:1", "seed": 7}


def ran(path: Path, count: int, *, seed: int = 7, killed: int | None = None) -> list[tuple[int, dict[str, Any]]] | None:
    """Trials of a search whose values follow from its proposals; `killed` leaves the trial of that number open."""
    with opened(path, SPACE, 2, {**IDENTITY, "seed": seed}, seed=seed) as journal:
        journal.start_with([{"form": "share-2"}, {"form": "fp16"}])
        left = list(journal.unfinished())
        while len(journal.trials(TrialState.COMPLETE)) < count:
            trial = left.pop(0) if left else journal.ask()
            if trial.number == killed:
                return None
            width, form = trial.params["width"], SPACE.knobs["form"].index(trial.params["form"])
            journal.tell(trial, [1 - width + form / 20, form / 10], width - 0.5, {"values": trial.params})
        return [(item.number, item.params) for item in journal.trials(TrialState.COMPLETE)]


def test_the_same_seed_proposes_the_same_trials(tmp_path: Path) -> None:
    """And another seed proposes others."""
    first = ran(tmp_path / "a" / "journal.log", 18)
    assert first == ran(tmp_path / "b" / "journal.log", 18)
    assert first != ran(tmp_path / "c" / "journal.log", 18, seed=8)


@pytest.mark.parametrize(("killed", "count"), [(0, 18), (5, 18), (15, 18), (20, 21)])
def test_a_search_that_was_cut_short_ends_as_one_that_was_not(tmp_path: Path, killed: int, count: int) -> None:
    """The open trial is run again under its own number."""
    whole = ran(tmp_path / "whole.log", count)
    assert ran(tmp_path / "cut.log", count, killed=killed) is None
    assert ran(tmp_path / "cut.log", count) == whole


def test_from_twenty_trials_on_a_gaussian_process_proposes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second one, with the budgets as its constraints; before, and between, TPE does."""
    kinds, suggested = [], Journal.ask

    def ask(self: Journal) -> Trial:
        trial = suggested(self)
        kinds.append((trial.number, type(self.study.sampler)))
        return trial

    monkeypatch.setattr(Journal, "ask", ask)
    ran(tmp_path / "journal.log", 22)
    assert kinds[19:] == [(19, TPESampler), (20, GPSampler), (21, TPESampler)]
    assert {kind for _, kind in kinds[:20]} == {TPESampler}


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    """The rest of the journal stands."""
    path = tmp_path / "journal.log"
    ran(path, 3)
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "work')
    assert [number for number, _ in ran(path, 5)] == [0, 1, 2, 3, 4]


def test_a_damaged_journal_is_an_input_error(tmp_path: Path) -> None:
    """With the line."""
    path = tmp_path / "journal.log"
    ran(path, 3)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], "garbage", *lines[3:]]) + "\n")
    with pytest.raises(InputError, match="not valid JSON") as caught:
        ran(path, 4)
    assert str(caught.value.where).endswith("line 3")


def test_a_journal_of_another_model_is_refused(tmp_path: Path) -> None:
    """What differs is named, and its trials stay as they are."""
    path = tmp_path / "journal.log"
    ran(path, 2)
    before = path.read_bytes()
    with (
        pytest.raises(InputError, match="another model \\(net sha256:1; now net sha256:2\\)"),
        opened(path, SPACE, 2, {**IDENTITY, "model": "net sha256:2"}, seed=7),
    ):
        pass
    assert path.read_bytes().startswith(before)
    assert len(ran(path, 3)) == 3


@pytest.mark.parametrize("earlier", ['"format":1,', ""])
def test_a_journal_of_another_version_is_refused(tmp_path: Path, earlier: str) -> None:
    """Its trials would be misread; it stays as it is."""
    path = tmp_path / "journal.log"
    ran(path, 2)
    text = path.read_text()
    current = f'"format":{FORMAT},'
    assert text.replace(" ", "").count(current) == 1
    path.write_text(re.sub(rf'"format": ?{FORMAT}, ?', earlier, text))
    before = path.read_bytes()
    with pytest.raises(InputError, match="was written by a version of weighbridge that keeps other facts"):
        ran(path, 3)
    assert path.read_bytes().startswith(before)


def test_two_searches_do_not_share_a_journal(tmp_path: Path) -> None:
    """The second is told; the first goes on."""
    path = tmp_path / "journal.log"
    with (
        opened(path, SPACE, 2, IDENTITY, seed=7),
        pytest.raises(StateError, match="another search is running"),
        opened(path, SPACE, 2, IDENTITY, seed=7),
    ):
        pass


def test_a_failed_trial_ends_alone(tmp_path: Path) -> None:
    """It keeps its reason, and the next one is asked for as usual."""
    with opened(tmp_path / "journal.log", SPACE, 2, IDENTITY, seed=7) as journal:
        journal.fail(journal.ask(), "contains NaN")
        journal.tell(journal.ask(), [0.0, 0.0], 0.0, {})
        assert [item.state for item in journal.trials()] == [TrialState.FAIL, TrialState.COMPLETE]
        assert journal.trials(TrialState.FAIL)[0].user_attrs["reason"] == "contains NaN"
