import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weighbridge.core.errors import InputError
from weighbridge.gate.calibrate import trials
from weighbridge.gate.calibrate.calibration import sentences
from weighbridge.gate.calibrate.trials import METRIC_NAMES, CalibrationRequest, Trial, floor
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.measure.launch_setup import Setup
from weighbridge.gate.measure.launches import Launch


@pytest.fixture(autouse=True)
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates to within a few per cent, in little time."""
    monkeypatch.setattr(trials, "RUNS", 40)
    monkeypatch.setattr(trials, "PROBES", 20)


def trial(sd: float, count: int = 24) -> Trial:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal(count)
    drawn = sd * (drawn - np.median(drawn))
    return Trial("a model against itself", 1.0, {name: drawn.tolist() for name in METRIC_NAMES}, 1.0)


def test_a_quiet_machine_resolves_more_than_a_disturbed_one() -> None:
    """Spread, smallest effect and time to a verdict all grow with the noise."""
    quiet, disturbed = floor("latency.p50", trial(0.005), 1), floor("latency.p50", trial(0.06), 1)
    assert quiet.launch_sd < disturbed.launch_sd
    assert quiet.smallest_effect < disturbed.smallest_effect
    assert quiet.seconds_to_fail == 10.0
    assert quiet.pass_rate == 1.0
    assert disturbed.seconds_to_fail > quiet.seconds_to_fail


def test_a_model_exactly_at_its_limit_is_not_failed() -> None:
    """The false-fail rate of the code that decides, on these launches."""
    assert floor("latency.p50", trial(0.02), 1).false_fail <= 0.05


def test_throughput_is_turned_so_that_worse_is_more() -> None:
    """A slower candidate has a lower throughput: its effect is found all the same."""
    assert floor("throughput", trial(0.005), 1).smallest_effect <= 0.01


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Launches of one per cent noise instead of processes."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))

    def launch(setup: Setup, metrics: frozenset[str], rng: np.random.Generator, **_: object) -> Launch:
        slower = setup.roles["candidate"].files[0][1] != setup.roles["baseline"].files[0][1]
        drawn = (math.log(1.1) if slower else 0.0) + 0.01 * rng.standard_normal()
        memory = {"memory.peak": {"baseline": 6e7, "candidate": 6e7}}
        return Launch(memory, {name: {("candidate", "baseline"): drawn} for name in metrics}, {})

    monkeypatch.setattr(trials, "take_launch", launch)
    return tmp_path


def test_the_result_is_stored_by_fingerprint_and_shown_in_reports(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON with everything measured, a picture, and the sentences that reports read."""
    monkeypatch.setattr(trials, "METRIC_NAMES", ("latency.p50", "throughput"))
    done = trials.run(CalibrationRequest(machine, launches=12))
    device = describe({}).for_target("onnxruntime")
    assert done.path.name == f"{device.fingerprint.removeprefix('sha256:')}.json"
    content = json.loads(done.path.read_text())
    assert len(content["trials"][0]["taken"]["latency.p50"]) == 12
    assert {item["metric"] for item in content["floors"]} == {"latency.p50", "throughput"}
    assert done.path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    said = sentences(machine, device.fingerprint)
    assert "9 of 10 runs" in said[0]
    assert "true slow-down of 10%" in said[1]
    assert "| latency.p50 " in done.table


def test_a_model_of_ones_own_needs_examples(machine: Path) -> None:
    """One clear line."""
    with pytest.raises(InputError, match="needs examples"):
        trials.run(CalibrationRequest(machine, model=machine / "m.onnx"))


def test_the_floor_of_memory_is_not_below_what_the_kernel_tells_apart() -> None:
    """Launches that scatter by 0.05 % would find half a per cent; 256 KiB of 26 MB are one per cent."""
    drawn = 0.0005 * np.random.default_rng(1).standard_normal(24)
    quiet = Trial("a model against itself", 1.0, {"memory.peak": drawn.tolist()}, 1.0)
    assert floor("memory.peak", quiet, 1).smallest_effect == 0.005
    small = replace(quiet, memory_bytes=26.2e6)
    assert floor("memory.peak", small, 1).smallest_effect == 0.015
