"""A worker is hung when it had its time and did not answer, not when it was held up."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.gate.models import HONEST, adapter, artifact, linear
from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure import patience
from weighbridge.gate.measure.patience import Patience, stopped, waited
from weighbridge.gate.measure.process import Child, open_artifact

HERE = os.getpid()


class Calls:
    """What waits: notes the seconds it was given, is ready at its `last` call, and may take longer by the clock."""

    def __init__(self, last: int, took: float | None = None) -> None:
        self.now, self.last, self.took = 0.0, last, took
        self.given: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.given.append(seconds)
        self.now += seconds if self.took is None else self.took
        return len(self.given) == self.last


@contextmanager
def holding(monkeypatch: pytest.MonkeyPatch, calls: Calls, delays: Iterator[float] | None = None) -> Iterator[None]:
    """The clock of `calls`, and what the kernel says that the process waited for a processor."""
    with monkeypatch.context() as context:
        context.setattr("weighbridge.gate.measure.patience.time.monotonic", lambda: calls.now)
        context.setattr(patience, "waited", lambda _: 0.0 if delays is None else next(delays))
        yield


def test_a_process_that_runs_has_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts; the last one is what is left."""
    calls = Calls(last=99)
    with holding(monkeypatch, calls):
        assert not Patience(2.5, HERE).until(calls)
    assert calls.given == [1.0, 1.0, 0.5]


def test_time_that_the_gate_was_stopped_itself_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for a second that came back after ten: the whole machine slept, or a debugger held it."""
    calls = Calls(last=3, took=10.0)
    with holding(monkeypatch, calls):
        assert Patience(3.0, HERE).until(calls)


def test_time_without_a_processor_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes had it for nine tenths of every second."""
    calls = Calls(last=10)
    with holding(monkeypatch, calls, (0.9 * count for count in range(99))):
        assert Patience(2.5, HERE).until(calls)


def test_one_that_is_held_up_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After twenty times its time."""
    calls = Calls(last=999)
    with holding(monkeypatch, calls, (float(count) for count in range(999))):
        assert not Patience(2.0, HERE).until(calls)
    assert len(calls.given) == 40


def test_driblets_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes byte by byte has the time-out of a whole one."""
    calls = Calls(last=1, took=0.9)
    with holding(monkeypatch, calls):
        waiting = Patience(2.0, HERE)
        answers = []
        for _ in range(4):
            calls.given.clear()
            answers.append(waiting.until(calls))
    assert answers == [True, True, True, False]


def test_a_worker_that_was_stopped_answers_after_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For several times its time-out; one that runs and says nothing is killed after it."""
    monkeypatch.setattr(patience, "PART", 0.05)
    model = artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, HONEST))
    opened, _ = open_artifact(model, timeout=20.0)
    with opened:
        os.kill(opened.process.pid, signal.SIGSTOP)
        looks = 0

        def look(process: int) -> bool:
            nonlocal looks
            looks += 1
            if looks == 60:
                os.kill(process, signal.SIGCONT)
                return True
            return stopped(process)

        monkeypatch.setattr(patience, "stopped", look)
        assert opened.ask("status", timeout=2.0)[0]
        assert looks >= 60
    silent = Child("silent", [sys.executable, "-c", "import time; time.sleep(600)"], {}, timeout=0.3)
    with silent, pytest.raises(MeasurementError, match="hung: no progress on an answer"):
        silent.receive()


def test_what_the_kernel_says_of_a_process() -> None:
    """Stopped or not, and nothing of one that is gone."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert not stopped(process.pid)
        assert waited(process.pid) is not None
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert stopped(process.pid)
    finally:
        process.kill()
        process.wait()
    assert not stopped(process.pid)
    assert waited(process.pid) is None
