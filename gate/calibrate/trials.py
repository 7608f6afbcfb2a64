"""What this machine can resolve: a model against itself, and against a copy whose slow-down is known.

The launch pairs taken here are drawn again into many gate runs, by the code that decides real ones, so that the
false-fail rate and the smallest effect are those of the gate on this machine and not of a formula.
"""

from __future__ import annotations

import io
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from weighbridge.core.documents import METRICS, Device
from weighbridge.core.errors import InputError
from weighbridge.core.facts.targets import DEFAULT_TARGET
from weighbridge.core.files import atomic_write, read_bytes, sha256_bytes, write_json
from weighbridge.core.formatting import percent
from weighbridge.core.progress import Progress, silent
from weighbridge.data import Split, load_data, read_npz
from weighbridge.gate.calibrate.calibration import FOLDER
from weighbridge.gate.calibrate.simulate import Draw, Rates, simulate
from weighbridge.gate.calibrate.trial_models import BLOCKS, chain, examples
from weighbridge.gate.devices.local import least_busy
from weighbridge.gate.measure import fingerprint as device_room
from weighbridge.gate.measure.feeding import Feeding, feeding, launch_inputs
from weighbridge.gate.measure.launches import FEEDS, Launch, LaunchProtocol, Setup, take_launch
from weighbridge.gate.measure.machine_lock import lock_path, machine_lock
from weighbridge.gate.measure.model_files import read_model
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.statistics import LOOKS, hodges_lehmann
from weighbridge.gate.statistics.spread import launch_sd
from weighbridge.gate.verdict.launch_metrics import MEMORY_GRAIN
from weighbridge.gate.weighing.sampling import own_cores

METRIC_NAMES = ("latency.p50", "latency.p95", "latency.p99", "throughput", "cold_start", "memory.peak")
SLOWER_BLOCKS = 44
SLOW_DOWN = SLOWER_BLOCKS / BLOCKS
"""Of the trial's slower copy, a true 10 % but for what every model costs alike."""
EFFECTS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.10, 0.15, 0.20, 0.30, 0.50, 1.0)
POWER = 0.9
RUNS, PROBES = 200, 60
"""Resampled gate runs behind each rate, and behind each effect that is tried."""
RESOLUTION = 0.05
"""Excess beyond a limit, and headroom within it, that the times are given for."""

Taken = Mapping[str, list[float]]
"""Log ratios per launch by metric."""


@dataclass(frozen=True)
class CalibrationRequest:
    """What to calibrate with."""

    root: Path
    model: Path | None = None
    data: str | None = None
    launches: int = 24
    seed: int = 11


@dataclass(frozen=True)
class Floor:
    """What the gate can resolve of one metric here."""

    metric: str
    launch_sd: float
    """Standard deviation of log ratios of a model against itself, over launches."""
    false_fail: float
    """Share of resampled gate runs that fail a model that is exactly at its limit."""
    smallest_effect: float | None
    """Excess beyond a limit that 9 of 10 gate runs find within the last look; None where even a doubling is missed."""
    seconds_to_fail: float
    """Mean time to a verdict for a candidate 5 % beyond its limit."""
    seconds_to_pass: float
    """The same for one 5 % within it."""
    pass_rate: float
    """Share of gate runs that pass a candidate 5 % within its limit."""


@dataclass(frozen=True)
class Done:
    """What `weighbridge calibrate` prints, and where the rest lies."""

    table: str
    path: Path


@dataclass(frozen=True)
class Trial:
    """One pair of models and the log ratios of its launches."""

    name: str
    true_ratio: float
    taken: Taken
    launch_seconds: float
    memory_bytes: float = math.inf
    """Peak of the baseline's process: what the grain of memory is a share of."""


def run(request: CalibrationRequest, progress: Progress = silent) -> Done:
    """Measure, write `.weighbridge/calibration/<fingerprint>.json` and `.png`, and describe the result."""
    found = device_room.describe(os.environ).for_target(DEFAULT_TARGET)
    lock = lock_path(os.environ)
    with (
        machine_lock(
            lock, lambda waited: progress("waiting", 0, 1, f"for another weighbridge process ({waited:.0f} s)")
        ),
        own_cores(),
    ):
        trials = _trials(request, progress)
    floors = [floor(name, trials[0], request.seed) for name in METRIC_NAMES]
    path = request.root / FOLDER / f"{found.fingerprint.removeprefix('sha256:')}.json"
    write_json(path, _content(found, trials, floors, request))
    picture = path.with_suffix(".png")
    atomic_write(picture, plot(trials))
    return Done(_table(trials, floors, path), path)


def floor(metric: str, trial: Trial, seed: int) -> Floor:
    """What the gate makes of one metric's launches of a model against itself, by resampling."""
    values = np.asarray(trial.taken[metric])
    # A throughput falls where a latency rises: every metric is turned so that worse is more.
    values = -values if METRICS[metric].better == "higher" else values
    # A few dozen launches of a model against itself never centre on exactly nothing; resampling them as they are
    # would take that chance offset for a true effect.
    values = values - hodges_lehmann(values.tolist())
    rng = np.random.default_rng(seed)

    grain = math.log1p(MEMORY_GRAIN / trial.memory_bytes) if metric == "memory.peak" else 0.0

    def rates(shift: float, runs: int) -> Rates:
        return simulate(runs, _drawn(values, shift), [1.0], rng, grains=[grain])

    beyond, within = (rates(sign * math.log1p(RESOLUTION), RUNS) for sign in (1, -1))
    found = (effect for effect in EFFECTS if rates(math.log1p(effect), PROBES).failed >= POWER * PROBES)
    return Floor(
        metric,
        launch_sd(values.tolist()),
        rates(0.0, RUNS).failed / RUNS,
        next(found, None),
        beyond.mean_pairs * trial.launch_seconds,
        within.mean_pairs * trial.launch_seconds,
        within.passed / RUNS,
    )


def _drawn(values: np.ndarray[Any, np.dtype[np.float64]], shift: float) -> Draw:
    return lambda rng, count: rng.choice(values, count) + shift


def _trials(request: CalibrationRequest, progress: Progress) -> list[Trial]:
    """A model against itself, and a generated one against its slower copy."""
    own = _own_model(request) if request.model is not None else None
    itself = own or (chain(BLOCKS), Split({"input": examples(64)}, np.zeros(64, np.int64)), Feeding((), None))
    generated = Split({"input": examples(64)}, np.zeros(64, np.int64))
    name = request.model.name if request.model is not None else "a generated model"
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as folder:
        bench = _Bench(Path(folder), request, progress)
        return [
            bench.trial(f"{name} against itself", 1.0, (itself[0], itself[0]), itself[1], itself[2]),
            bench.trial(
                f"a generated model against its {SLOW_DOWN - 1:.0%} slower copy",
                SLOW_DOWN,
                (chain(BLOCKS), chain(SLOWER_BLOCKS)),
                generated,
                Feeding((), None),
            ),
        ]


def _own_model(request: CalibrationRequest) -> tuple[bytes, Split, Feeding]:
    if request.data is None:
        raise InputError("your own model needs examples", where="--model", fix="give --data")
    assert request.model is not None
    if request.data.endswith(".npz") or ":" not in request.data:
        split = read_npz(Path(request.data))
    else:
        split = load_data(request.data, "--data").test
    model = read_model(request.model, "model")
    if len(model.files) > 1:
        raise InputError("stores weights in other files", where=str(request.model), fix="save it as one file")
    return read_bytes(request.model), split, feeding(model.signature, split, request.data)


class _Bench:
    """Takes the launches of trials."""

    def __init__(self, folder: Path, request: CalibrationRequest, progress: Progress) -> None:
        self.folder, self.request, self.progress = folder, request, progress

    def trial(self, name: str, ratio: float, models: tuple[bytes, bytes], split: Split, feed: Feeding) -> Trial:
        """All noisy metrics of one pair of models."""
        protocol = LaunchProtocol(batch_size=feed.at_most(1), throughput_batch_size=feed.at_most(32))
        roles = {role: self._artifact(role, data) for role, data in zip(("baseline", "candidate"), models, strict=True)}
        inputs, how = launch_inputs(split, feed, FEEDS * protocol.throughput_batch_size, self.request.seed)
        setup = Setup(roles, inputs, feed.single, protocol, least_busy(1), how=how)
        taken: dict[str, list[float]] = {metric: [] for metric in METRIC_NAMES}
        peaks = []
        begin = time.monotonic()
        for number in range(self.request.launches):
            self.progress(name, number, self.request.launches)
            launch = self._launch(setup, number)
            peaks.append(launch.values["memory.peak"]["baseline"])
            for metric, values in taken.items():
                values.append(launch.log_ratios[metric]["candidate", "baseline"])
        self.progress(name, self.request.launches, self.request.launches)
        seconds = (time.monotonic() - begin) / self.request.launches
        return Trial(name, ratio, taken, seconds, float(np.median(peaks)))

    def _launch(self, setup: Setup, number: int) -> Launch:
        rng = np.random.default_rng([self.request.seed, number])
        return take_launch(setup, frozenset(METRIC_NAMES), rng)

    def _artifact(self, role: str, data: bytes) -> StagedArtifact:
        path = self.folder / f"{role}.onnx"
        path.write_bytes(data)
        return StagedArtifact(role, ((str(path), sha256_bytes(data)),), ADAPTERS["onnxruntime"])


def sentences(trials: Sequence[Trial], floors: Sequence[Floor]) -> list[str]:
    """What reports say of this machine."""
    itself, slower = trials
    median = next(item for item in floors if item.metric == "latency.p50")
    found = math.exp(float(np.median(slower.taken["latency.p50"])))
    effect = (
        "no excess up to 100%" if median.smallest_effect is None else f"an excess of {percent(median.smallest_effect)}"
    )
    return [
        (
            f"Calibrated with {len(itself.taken['latency.p50'])} launch pairs of {itself.name}: launches scatter by "
            f"{percent(median.launch_sd)} (median latency), and the gate finds {effect} beyond a limit in 9 of 10 runs."
        ),
        f"A true slow-down of {percent(slower.true_ratio - 1)} was read as {percent(found - 1)}.",
        f"Of {RUNS} resampled gate runs on a model exactly at its limit, {percent(median.false_fail)} failed.",
    ]


def plot(trials: Sequence[Trial]) -> bytes:
    """PNG: the log ratios of every launch, one row per trial and metric."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    labels = []
    for row, (metric, trial) in enumerate((metric, trial) for metric in METRIC_NAMES for trial in trials):
        values = [100 * math.expm1(value) for value in trial.taken[metric]]
        axes.plot(values, [row] * len(values), "|", markersize=12, alpha=0.7, color=f"C{row % 2}")
        labels.append(f"{metric}, {'itself' if trial.true_ratio == 1 else 'slower copy'}")
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.axvline(100 * (SLOW_DOWN - 1), color="grey", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("candidate against baseline, % (one mark per launch pair; dotted: the true slow-down)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _content(
    device: Device, trials: Sequence[Trial], floors: Sequence[Floor], request: CalibrationRequest
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "device": device.to_json(),
        "seed": request.seed,
        "looks": list(LOOKS),
        "trials": [asdict(trial) for trial in trials],
        "floors": [asdict(item) for item in floors],
        "sentences": sentences(trials, floors),
    }


def _table(trials: Sequence[Trial], floors: Sequence[Floor], path: Path) -> str:
    rows = [
        {
            "metric": item.metric,
            "launch sd": percent(item.launch_sd),
            "false fails at the limit": percent(item.false_fail),
            "smallest excess found": "none" if item.smallest_effect is None else percent(item.smallest_effect),
            "5% beyond: verdict after": f"{item.seconds_to_fail:.0f} s",
            "5% within: verdict after": f"{item.seconds_to_pass:.0f} s",
            "and passes": percent(item.pass_rate),
        }
        for item in floors
    ]
    lines = [tabulate(rows, headers="keys", tablefmt="github"), *sentences(trials, floors)]
    return "\n".join([*lines, f"Stored in {path} and {path.with_suffix('.png').name}; reports show it.", ""])
