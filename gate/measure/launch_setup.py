"""What is the same for every launch of a weighing.

Runs on the machine that is measured: numpy and the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.energy import Counters
from weighbridge.gate.measure.process import Answering, send_arrays
from weighbridge.gate.measure.recording import Bursts
from weighbridge.gate.measure.staged_artifact import StagedArtifact

Array = NDArray[Any]
FEEDS = 32
"""Different inputs that a timing loop goes through."""


@dataclass(frozen=True)
class LaunchProtocol:
    """How a launch is taken. The defaults are those of docs/adr/0030-interleaving.md."""

    threads: int = 1
    batch_size: int = 1
    throughput_batch_size: int = 32
    warm_inferences: int = 20
    warm_seconds: float = 0.05
    """At least, and on until inferences no longer get faster, `settling_seconds` at most; see `worker`'s `warm`."""
    settling_seconds: float = 0.3
    warm_most_seconds: float = 1.0
    """A model so slow that the inferences above take longer warms up for this long."""
    burst_seconds: float = 1e-3
    rounds: int = 50
    """More say little more about a launch: launches differ by more than their rounds leave open. Twice as many where
    percentiles are asked for, which rest on single inferences.
    """
    fewest_rounds: int = 15
    launch_seconds: float = 1.0
    """Slow models get fewer rounds (never below `fewest_rounds`), so that a launch takes about this long."""
    slow_seconds: float = 3.0
    """Where even `fewest_rounds` take longer than this, so many rounds as fit, and never below `slow_rounds`: launches
    are what is independent, and a slow model's time goes to more of them.
    """
    slow_rounds: int = 5
    timeout: float = 60.0
    """Seconds for one request; a worker that needs longer is killed."""

    def rounds_of(self, seconds: float, *, tails: bool = False) -> int:
        """How many rounds of `seconds` each a launch takes at most; `tails`: percentiles are asked for."""
        return int(np.clip(self.launch_seconds / seconds, self.fewest_rounds, (1 + tails) * self.rounds))

    def enough(self, taken: Sequence[Bursts]) -> bool:
        """Whether fewer rounds than `fewest_rounds` make a launch, because they took long."""
        if not self.slow_rounds <= len(taken) < self.fewest_rounds:
            return False
        spent = sum(burst.elapsed_ns for bursts in taken for burst in bursts.by_role.values()) / 1e9
        return spent >= self.slow_seconds


@dataclass(frozen=True)
class Cores:
    """Where workers are pinned, and where the asking process runs meanwhile."""

    workers: tuple[int, ...]
    harness: tuple[int, ...]

    @classmethod
    def choose(cls, threads: int, busy: Mapping[int, float]) -> Cores:
        """The `threads` least busy of the allowed cores for the workers, the others for this process."""
        allowed = sorted(busy, key=lambda core: (busy[core], -core))
        workers = tuple(sorted(allowed[:threads]))
        return cls(workers, tuple(sorted(allowed[threads:])) or workers)

    @classmethod
    def of(cls, wanted: Sequence[int] | None, threads: int, load: Mapping[int, float]) -> Cores:
        """The cores that a device names, or the least busy ones; `MeasurementError` for one that is missing."""
        if not wanted:
            return cls.choose(threads, load)
        if missing := sorted(set(wanted) - load.keys()):
            raise MeasurementError(f"has no core {missing[0]} (it may use {', '.join(map(str, sorted(load)))})")
        return cls(tuple(wanted), tuple(sorted(set(load) - set(wanted))) or tuple(wanted))


@dataclass(frozen=True)
class Journey:
    """The user's code around the model, for end-to-end latency."""

    factory: str
    folder: Path
    examples: int = FEEDS
    preprocess: str | None = None
    """Name of the function within the factory's module, where the factory itself is not to be called."""
    postprocess: str | None = None
    raw: Array | None = None
    """Raw examples (n, …), where `preprocess` is named."""

    def load_into(self, worker: Answering) -> None:
        """Import the code in a worker; `MeasurementError` where it does not run there."""
        rest: dict[str, Any] = {"factory": self.factory, "folder": str(self.folder), "examples": self.examples}
        if self.raw is None:
            worker.ask("code", **rest)
        else:
            named = {"preprocess": self.preprocess, "postprocess": self.postprocess}
            send_arrays(worker, "code", {"raw": self.raw}, **rest, **named)


@dataclass(frozen=True)
class Setup:
    """What is the same for every launch of one weighing."""

    roles: Mapping[str, StagedArtifact]
    """`baseline`, `candidate`, and `stable` where a budget asks for it."""
    inputs: Mapping[str, Array]
    """Real examples (n, …) by input name."""
    single: tuple[str, ...]
    """Inputs without an axis for examples."""
    protocol: LaunchProtocol
    cores: Cores
    journey: Journey | None = None
    energy: Counters | None = None
    how: Mapping[str, Any] = field(default_factory=dict)
    """What the worker must know of feeding besides; see `Feeding.how`."""
