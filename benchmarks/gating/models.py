"""Models of known cost in time and in memory, and the pairs of artifacts that trials compare."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weighbridge.core.files import sha256_file
from weighbridge.gate.calibrate.trial_models import BLOCKS, chain, examples
from weighbridge.gate.devices.local import least_busy
from weighbridge.gate.measure.launches import Launch, LaunchProtocol, Setup, take_launch
from weighbridge.gate.measure.machine_lock import lock_path, machine_lock
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.weighing.sampling import own_cores

ITSELF = "+0 %"
SLOWER = {ITSELF: 40, "+5 %": 42, "+10 %": 44, "+30 %": 52}
"""Blocks: more of the same operators, no pause and no spin."""
GREEDIER = {"+5 %": 1.05, "+10 %": 1.10, "+30 %": 1.30}
"""Peak memory of the whole process, times that of the model itself."""
_PROBES = (4_000_000, 12_000_000)


@dataclass(frozen=True)
class Models:
    """Files by name."""

    folder: Path
    slower: Mapping[str, Path]

    @property
    def itself(self) -> Path:
        """The model that all others are compared with."""
        return self.slower[ITSELF]

    @property
    def twin(self) -> Path:
        """The same graph under another digest: identical bytes would pass untimed."""
        path = self.folder / "twin.onnx"
        if not path.exists():
            path.write_bytes(chain(BLOCKS) + b"\x32\x01.")  # an empty doc_string field of the model
        return path

    def greedier(self, ballast: int) -> Path:
        """The model with a table of so many bytes."""
        path = self.folder / f"ballast{ballast}.onnx"
        if not path.exists():
            path.write_bytes(chain(BLOCKS, ballast=ballast))
        return path


def write_models(folder: Path) -> Models:
    """The model, and its slower copies."""
    paths = {}
    for name, blocks in SLOWER.items():
        paths[name] = folder / f"m{blocks}.onnx"
        paths[name].write_bytes(chain(blocks))
    return Models(folder, paths)


@contextmanager
def exclusively() -> Iterator[None]:
    """Wait until no other gate measures here."""
    with machine_lock(lock_path(os.environ), lambda _: None), own_cores():
        yield


def launch(baseline: Path, candidate: Path, metrics: frozenset[str], seed: list[int]) -> Launch:
    """One launch pair as the gate takes it."""
    adapter = ADAPTERS["onnxruntime"]
    roles = {
        role: StagedArtifact(role, ((str(path), sha256_file(path)),), adapter)
        for role, path in (("baseline", baseline), ("candidate", candidate))
    }
    with exclusively():
        setup = Setup(roles, {"input": examples(32)}, (), LaunchProtocol(), least_busy(1))
        return take_launch(setup, metrics, np.random.default_rng(seed))


def ballasts(models: Models) -> dict[str, int]:
    """Bytes of table for each share of memory, on the line through what two tables cost a process (medians of four)."""
    metric = "memory.peak"
    base, costs = 0.0, []
    for probe in _PROBES:
        path = models.greedier(probe)
        found = [launch(models.itself, path, frozenset({metric}), [5, number]).values[metric] for number in range(4)]
        base = float(np.median([values["baseline"] for values in found]))
        costs.append(float(np.median([values["candidate"] for values in found])) - base)
    slope = (costs[1] - costs[0]) / (_PROBES[1] - _PROBES[0])
    return {name: round(_PROBES[0] + ((ratio - 1) * base - costs[0]) / slope) for name, ratio in GREEDIER.items()}
