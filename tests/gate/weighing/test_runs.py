"""Who measured and when is part of a measurement."""

import datetime as dt
import subprocess
from pathlib import Path

import pytest

from tests.gate.evidence import comparison, launches, measurement
from weighbridge.core.documents import Launches, Measurement
from weighbridge.core.documents.measurement import recorded_runs
from weighbridge.gate.weighing.runs import runs, this_run

NOW = dt.datetime(2026, 11, 23, 13, 5, 59, tzinfo=dt.UTC)
THIS = {"run": "b", "by": "Ben", "at": "2026-11-23 13:05 UTC"}


def earlier(said: str | list[str | dict[str, str | int]] | None, **metrics: Launches) -> Measurement:
    """A measurement that says this of its runs."""
    found = measurement(comparison(pairs=2, **metrics))
    details = {} if said is None else {"runs": said}
    return found.model_copy(update={"protocol": found.protocol.model_copy(update={"details": details})})


@pytest.mark.parametrize(
    ("environment", "by"),
    [
        ({"GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "a/b"}, "a/b run 7"),
        ({"CI_JOB_ID": "9"}, "job 9"),
        ({}, "Ada"),
    ],
)
def test_a_run_is_a_job_or_git_s_user(tmp_path: Path, environment: dict[str, str], by: str) -> None:
    """With the minute in UTC; its id is the one that `ci gate` gives."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "config", "user.name", "Ada"], cwd=tmp_path, check=True)
    found = this_run(tmp_path, {**environment, "WEIGHBRIDGE_RUN": "r"}, NOW)
    assert found == {"run": "r", "by": by, "at": "2026-11-23 13:05 UTC"}
    assert this_run(tmp_path, environment, NOW)["run"] != this_run(tmp_path, environment, NOW)["run"]


def test_launches_that_are_continued_keep_the_name_of_whoever_took_them() -> None:
    """Once each; what is measured anew in every run names this run alone."""
    ada = {"run": "a", "by": "Ada", "at": "2026-11-20 08:00 UTC"}
    timed = earlier([ada, THIS], latency_p50=launches(0.9, pairs=2))
    assert runs(timed, THIS, launches=True) == [ada, THIS]
    assert runs(timed, THIS, launches=False) == [THIS]
    assert runs(None, THIS, launches=True) == [THIS]
    assert runs(timed.model_copy(update={"comparisons": []}), THIS, launches=True) == [THIS]


@pytest.mark.parametrize("said", [None, [], "Ada", [{"by": 7}], ["Ada"]])
def test_a_measurement_that_names_no_run_is_of_an_unknown_one(said: str | list[str | dict[str, int]] | None) -> None:
    """One that was written by hand, or by an older version, passes for nobody's."""
    found = runs(earlier(said, latency_p50=launches(0.9, pairs=2)), THIS, launches=True)
    assert [run["run"] for run in found] == ["", "b"]
    assert found[0]["at"] == "an unknown time"
    assert recorded_runs(earlier(said)) in ([], found[:1])
