"""What is measured survives whatever ends the gate, and is continued, not repeated."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.gate.models import examples, linear, weights
from weighbridge.core.documents import Budget, Measurement, Weighing
from weighbridge.core.errors import StateError
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.measure.launches import LaunchProtocol
from weighbridge.gate.measure.machine_lock import lock_of, lock_path, machine_lock
from weighbridge.gate.statistics import LOOKS
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing.job import Job, JobOptions, Source, read_job
from weighbridge.gate.weighing.locked import times, weigh_locked
from weighbridge.gate.weighing.weigh import weigh

ROOT = Path(__file__).resolve().parents[3]
QUICK = LaunchProtocol(warm_seconds=0.0, rounds=5, fewest_rounds=5, launch_seconds=0.05)
AT_THE_LIMIT = Budget(metric="latency.p50", max_ratio=1.0)
SIZE = Budget(metric="size.bytes", max_ratio=2.0)


def job_in(folder: Path, budgets: Sequence[Budget] = (AT_THE_LIMIT,), **weighing: int) -> Job:
    """Two models of one cost: at a limit of 1.0 nothing is decided for as long as there are launches."""
    source = Source(
        linear(folder / "baseline.onnx", padding=100),
        linear(folder / "candidate.onnx", weights(), padding=101),
        examples(40),
        "eval.npz",
    )
    return read_job(
        source,
        list(budgets),
        describe({}),
        Weighing(**{"time_limit": 300.0, **weighing}),
        options=JobOptions(protocol=QUICK),
    )


CHILD = """
import sys
from pathlib import Path
from weighbridge.gate.weighing.locked import weigh_locked
from tests.gate.weighing.test_persistence import job_in
weigh_locked(job_in(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def launches_in(target: Path) -> list[float]:
    """The log ratios written so far."""
    if not target.exists():
        return []
    found = Measurement.read(target).comparisons[0].metrics.get("latency.p50")
    return found.log_ratio if found else []


def start_and_kill(folder: Path, target: Path, least: int) -> Any:
    """Weigh in a process of its own until more than `least` launches are written, then kill it without warning."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), str(target)], cwd=ROOT)
    deadline = time.monotonic() + 120
    try:
        while len(launches_in(target)) <= least and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    return launches_in(target)


def test_a_killed_weighing_loses_no_launch_and_its_error_budget_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL twice between looks: what was written stays, in order, and the re-run stops at the same last look."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    target = tmp_path / "out" / "measurement.json"
    first = start_and_kill(tmp_path, target, 3)
    assert len(first) > 3
    second = start_and_kill(tmp_path, target, len(first) + 2)
    assert second[: len(first)] == first
    assert len(second) > len(first)
    kept = Measurement.read(target)
    assert not kept.protocol.complete
    verdict = judge(kept, [AT_THE_LIMIT])
    assert verdict.verdict != "pass"
    job = job_in(tmp_path, launches=len(second) + 2)
    done = weigh_locked(job, target)
    found = done.comparisons[0].metrics["latency.p50"]
    assert found.log_ratio[: len(second)] == second
    assert found.numbers == list(range(1, len(found.numbers) + 1))
    assert len(found.log_ratio) <= LOOKS[-1]
    assert Measurement.read(target) == done


class Killed(BaseException):
    """What nothing catches."""


def test_every_launch_is_handed_over_before_the_next(tmp_path: Path) -> None:
    """After n launches the n-th document holds n of them, and whoever ends the run keeps the last."""
    seen = []

    def keep(measurement: Measurement) -> None:
        seen.append(len(measurement.comparisons[0].metrics["latency.p50"].log_ratio))
        if len(seen) == 3:
            raise Killed

    with pytest.raises(Killed):
        weigh(job_in(tmp_path), keep=keep)
    assert seen == [1, 2, 3]


def test_a_disk_that_is_full_keeps_the_measurement_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails in the middle leaves the last whole document and ends the run with an error."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    target = tmp_path / "measurement.json"
    first = weigh_locked(job_in(tmp_path, launches=2), target)

    def full(handle: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left"):
        weigh_locked(job_in(tmp_path, launches=4), target)
    assert Measurement.read(target) == first
    assert [path.name for path in tmp_path.glob("*measurement*")] == ["measurement.json"]


def test_only_what_is_timed_waits_for_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and accuracy are weighed while another gate holds the machine; launches are not."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    untimed, timed = job_in(tmp_path, [SIZE]), job_in(tmp_path, launches=1)
    assert (times(untimed), times(timed)) == (False, True)
    said = []
    with machine_lock(lock_path(os.environ), said.append):
        measurement = weigh_locked(untimed, tmp_path / "untimed.json", lambda *words: said.append(words))
        assert judge(measurement, [SIZE]).verdict == "pass"
        assert not any(words[0] == "waiting" for words in said)
        with pytest.raises(Killed):
            weigh_locked(timed, tmp_path / "timed.json", stop_waiting)
    assert not (tmp_path / "timed.json").exists()


def stop_waiting(stage: str, *_: object) -> None:
    """End the wait."""
    if stage == "waiting":
        raise Killed


def test_two_gates_never_write_one_document_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untimed weighings of one measurement take turns too: launches that the other took are not lost."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    target = tmp_path / "measurement.json"
    with machine_lock(lock_of(target, os.environ), lambda _: None), pytest.raises(Killed):
        weigh_locked(job_in(tmp_path, [SIZE]), target, stop_waiting)
    assert lock_of(target, os.environ) != lock_of(tmp_path / "other.json", os.environ)
    assert not target.exists()
