"""Bytes, accuracy and latency of files, as the gate weighs them: in fresh workers, launches in turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.beside.rows import Interval
from weighbridge.core.errors import MeasurementError
from weighbridge.core.files import sha256_file
from weighbridge.data import Split
from weighbridge.gate.devices.local import least_busy
from weighbridge.gate.measure.evaluation import Manner, answer
from weighbridge.gate.measure.feeding import Feeding, timed_share
from weighbridge.gate.measure.launches import FEEDS, LaunchProtocol, Setup, take_launch
from weighbridge.gate.measure.machine_lock import lock_path, machine_lock
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.statistics.centre import SIGNED_RANK
from weighbridge.gate.weighing.sampling import own_cores

METRIC = "latency.p50"
SEED = 11
ALPHA = 0.05
"""Error of each bound of a latency ratio."""

Timed = Interval | str


@dataclass(frozen=True)
class Weigher:
    """What all files are weighed with."""

    baseline: Path
    test: Split

    def top1(self, path: Path) -> float:
        """Share of all test images that onnxruntime classifies right with the file."""
        found = answer(_artifact("candidate", path), self.test, [0], Manner(Feeding((), None)))[0][0]
        return float((found.argmax(1) == self.test.labels).mean())

    def latencies(self, paths: Mapping[str, Path], launches: int, say: Callable[[str], None]) -> dict[str, Timed]:
        """Latency of each file as a ratio to the baseline's, or why it has none.

        One launch pair of each file, again and again: going round all files rather than staying with one spreads
        whatever else the machine does over all of them.
        """
        inputs = timed_share(self.test, FEEDS, SEED)
        taken: dict[str, list[float]] = {name: [] for name in paths}
        broken: dict[str, str] = {}
        for number in range(launches):
            say(f"launches: round {number + 1} of {launches}")
            for index, name in enumerate(paths):
                if name not in broken:
                    try:
                        taken[name].append(
                            self._launch(paths[name], inputs, np.random.default_rng([SEED, number, index]))
                        )
                    except MeasurementError as error:
                        broken[name] = str(error)
        return {name: broken.get(name) or interval(values) for name, values in taken.items()}

    def _launch(self, path: Path, inputs: Mapping[str, np.ndarray], rng: np.random.Generator) -> float:
        roles = {"baseline": _artifact("baseline", self.baseline), "candidate": _artifact("candidate", path)}
        with _exclusively():
            launch = take_launch(Setup(roles, inputs, (), LaunchProtocol(), least_busy(1)), frozenset({METRIC}), rng)
        return launch.log_ratios[METRIC]["candidate", "baseline"]


def interval(log_ratios: list[float]) -> Interval:
    """Hodges-Lehmann estimate of the ratio with exact signed-rank bounds, each wrong with probability `ALPHA`."""
    low, high = SIGNED_RANK.lower(log_ratios, ALPHA), SIGNED_RANK.upper(log_ratios, ALPHA)
    return Interval(
        float(np.exp(SIGNED_RANK.estimate(log_ratios))),
        float(np.exp(low)) if np.isfinite(low) else None,
        float(np.exp(high)) if np.isfinite(high) else None,
    )


@contextmanager
def _exclusively() -> Iterator[None]:
    """Wait until no other gate measures here."""
    with machine_lock(lock_path(os.environ), lambda _: None), own_cores():
        yield


def _artifact(role: str, path: Path) -> StagedArtifact:
    return StagedArtifact(role, ((str(path), sha256_file(path)),), ADAPTERS["onnxruntime"])
