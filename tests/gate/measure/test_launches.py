import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.gate.models import HONEST, adapter, artifact, examples, linear
from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.energy import Counters
from weighbridge.gate.measure.launches import Cores, Journey, LaunchProtocol, Setup, take_launch

QUICK = LaunchProtocol(
    warm_seconds=0.0, rounds=20, fewest_rounds=5, launch_seconds=0.3, throughput_batch_size=8, timeout=20
)


def setup(tmp_path: Path, candidate: str = "return [x]", *, baseline: str = "", **rest: Journey | Counters) -> Setup:
    """A baseline of about 0.4 ms, where nothing else is given, and a candidate with the given body, in numpy alone."""
    path = linear(tmp_path / "m.onnx")
    slow = "end = time.perf_counter() + {}\nwhile time.perf_counter() < end: pass\nreturn [x[:, :3] + 1]"
    roles = {
        "baseline": artifact(path, "baseline", adapter(tmp_path, baseline or slow.format(0.0004), name="a.py")),
        "candidate": artifact(path, "candidate", adapter(tmp_path, candidate.format(slow=slow), name="b.py")),
    }
    allowed = os.sched_getaffinity(0)
    last = max(allowed)
    cores = Cores((last,), tuple(allowed - {last}) or (last,))
    return Setup(roles, examples(16).inputs, (), QUICK, cores, **rest)


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """A launch moves its own process to the harness's cores; give them back."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


SLOWER = "end = time.perf_counter() + 0.0008\nwhile time.perf_counter() < end: pass\nreturn [x[:, :3] + 1]"


def test_a_launch_sees_a_candidate_of_twice_the_time(tmp_path: Path) -> None:
    """Every metric of one launch, with its ratio, from two fresh processes and a second baseline."""
    metrics = frozenset({"latency.p50", "throughput"})
    launch = take_launch(setup(tmp_path, SLOWER), metrics, np.random.default_rng(0), control=True)
    pair = ("candidate", "baseline")
    assert launch.log_ratios["latency.p50"][pair] == pytest.approx(math.log(2), abs=0.5)
    assert launch.log_ratios["throughput"][pair] == pytest.approx(-math.log(2), abs=0.5)
    assert launch.log_ratios["latency.p50"]["control", "baseline"] == pytest.approx(0, abs=0.5)
    assert launch.values["latency.p50"]["baseline"] >= 4e-4
    assert launch.values["latency.p99"]["candidate"] >= launch.values["latency.p50"]["candidate"]
    assert launch.values["memory.peak"]["candidate"] > 1e6
    assert launch.values["memory.peak"]["candidate"] >= launch.empty_memory * 0.9
    assert launch.values["cold_start"]["candidate"] > 0
    assert launch.samples["latency.p99"] >= 5 * 3
    assert 0 <= launch.dropped <= 1


def test_memory_needs_no_timing(tmp_path: Path) -> None:
    """Peak memory rests on a fresh process per launch and on nothing else."""
    launch = take_launch(setup(tmp_path), frozenset({"memory.peak"}), np.random.default_rng(0))
    assert "memory.peak" in launch.values
    assert "latency.p50" not in launch.values
    assert launch.dropped == 0


def test_memory_of_a_hungry_model_is_seen(tmp_path: Path) -> None:
    """Sixty-four megabytes more than the baseline."""
    hungry = "if self.calls == 1: self.kept = np.ones(1 << 23)\nreturn [x[:, :3] + 1]"
    launch = take_launch(setup(tmp_path, hungry), frozenset({"memory.peak"}), np.random.default_rng(0))
    values = launch.values["memory.peak"]
    assert values["candidate"] - values["baseline"] == pytest.approx(64 * 2**20, rel=0.3)


FACTORY = """\
import time
import numpy as np
from weighbridge.data import Data, Split

def load():
    split = Split({"x": np.ones((4, 4), np.float32)}, np.zeros(4, np.int64))
    return Data(train=split, test=split, preprocess=preprocess, postprocess=lambda outputs: 1, raw=list(range(40)))

def preprocess(raw):
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end: pass
    return {"x": np.full((1, 4), raw, np.float32)}
"""


def test_end_to_end_times_the_users_code_too(tmp_path: Path) -> None:
    """Two milliseconds of preprocessing count; only then is a user's module imported."""
    (tmp_path / "mydata.py").write_text(FACTORY)
    ready = setup(tmp_path, HONEST, journey=Journey("mydata:load", tmp_path))
    launch = take_launch(ready, frozenset({"latency.end_to_end"}), np.random.default_rng(0), control=True)
    assert launch.values["latency.end_to_end"]["candidate"] >= 0.002
    assert launch.values["latency.end_to_end"]["baseline"] >= 0.0024
    assert "latency.p50" not in launch.values
    assert ("control", "baseline") in launch.log_ratios["latency.end_to_end"]


def test_a_factory_that_fails_in_the_worker_is_a_fault(tmp_path: Path) -> None:
    """No timing without the code that was to be timed."""
    (tmp_path / "mydata.py").write_text(FACTORY.replace("preprocess=preprocess", "preprocess=None"))
    ready = setup(tmp_path, HONEST, journey=Journey("mydata:load", tmp_path))
    with pytest.raises(MeasurementError, match="no preprocess"):
        take_launch(ready, frozenset({"latency.end_to_end"}), np.random.default_rng(0))


def test_energy_is_the_counters_difference_by_inference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that a candidate's inference moves by two millijoules and a baseline's by one, whatever they last."""
    domain = tmp_path / "intel-rapl:0"
    domain.mkdir()
    (domain / "max_energy_range_uj").write_text("1000000000")
    spent = tmp_path / "millijoules"
    spent.touch()
    spend = f"with open({str(spent)!r}, 'ab') as spent: spent.write(b'.' * {{}})\nreturn [x[:, :3] + 1]"
    monkeypatch.setattr("weighbridge.gate.measure.bench.WINDOW_SECONDS", 0.05)
    monkeypatch.setattr(Counters, "read", lambda self: (1000 * spent.stat().st_size,))
    ready = setup(tmp_path, spend.format(2), baseline=spend.format(1), energy=Counters((domain,)))
    launch = take_launch(ready, frozenset({"energy"}), np.random.default_rng(0))
    assert launch.values["energy"] == pytest.approx({"baseline": 1e-3, "candidate": 2e-3})
    assert launch.log_ratios["energy"]["candidate", "baseline"] == pytest.approx(math.log(2))


def test_a_fault_of_any_role_ends_the_launch(tmp_path: Path) -> None:
    """A candidate that dies between bursts leaves no value behind."""
    with pytest.raises(MeasurementError, match="signal 11"):
        take_launch(
            setup(tmp_path, "if self.calls > 60: os.kill(os.getpid(), signal.SIGSEGV)\nreturn [x[:, :3] + 1]"),
            frozenset({"latency.p50"}),
            np.random.default_rng(0),
        )


def test_durations_that_cannot_be_are_faults(tmp_path: Path) -> None:
    """A worker whose clock runs a million times too fast, or stands still."""
    for trick in ("lambda: int(tick() * 1e6)", "lambda: 5"):
        run = f"tick = time.perf_counter_ns\nif self.calls == 25: time.perf_counter_ns = {trick}\nreturn [x[:, :3] + 1]"
        with pytest.raises(MeasurementError, match=r"jumped|backwards|invalid message"):
            take_launch(setup(tmp_path, run), frozenset({"latency.p50"}), np.random.default_rng(0))
