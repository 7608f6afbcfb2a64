"""Two processes answer for every model of a weighing: each model in both, none while anything is timed."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.gate.models import adapter, artifact, examples, linear, weights
from weighbridge.core.errors import MeasurementError
from weighbridge.gate.devices.local import Local
from weighbridge.gate.measure.evaluation import Manner, answer
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.two_processes import TwoProcesses

OPEN = Manner(Feeding((), None))


def test_each_model_is_answered_by_both_processes_and_by_no_third(tmp_path: Path) -> None:
    """The second model is loaded into the processes of the first, and gives its own answers."""
    split = examples(20)
    first, second = (artifact(linear(tmp_path / f"{scale}.onnx", weights() * scale)) for scale in (1, 3))
    seen = []
    with TwoProcesses() as pair:
        for scale, model in ((1, first), (3, second)):
            (scores,), _ = answer(model, split, [0], OPEN, pair.take)
            assert np.allclose(scores, split.inputs["x"] @ weights() * scale, atol=1e-4)
            with pair.take(model, 10.0) as one, pair.take(model, 10.0) as other:
                seen.append({one.process.pid, other.process.pid})  # type: ignore[attr-defined]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in seen[0])


def test_a_process_that_answers_otherwise_is_seen(tmp_path: Path) -> None:
    """An adapter whose answers depend on its process: what one process says, the other contradicts."""
    body = "import os; return [np.cumsum(x, axis=1)[:, :3] + os.getpid()]"
    model = artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, body))
    with TwoProcesses() as pair, pytest.raises(MeasurementError, match="answers differ between runs"):
        answer(model, examples(20), [0], OPEN, pair.take)


def test_a_process_that_is_killed_between_two_models_is_a_fault_of_the_second(tmp_path: Path) -> None:
    """No answer is ever taken from what is left."""
    model = artifact(linear(tmp_path / "m.onnx"))
    with TwoProcesses() as pair:
        answer(model, examples(20), [0], OPEN, pair.take)
        with pair.take(model, 10.0) as one:
            os.kill(one.process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        with pair.take(model, 10.0), pytest.raises(MeasurementError), pair.take(model, 10.0):
            pass


def test_nothing_of_it_is_left_when_timing_begins(tmp_path: Path) -> None:
    """The place's processes end with the evaluation."""
    model = artifact(linear(tmp_path / "m.onnx"))
    with Local() as place:
        with place.evaluation() as ask:
            ask(model, examples(20), [0], OPEN)
            assert _children()
        assert not _children()


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
