"""Latency and memory of many files beside the baseline, in one interleaved job, by the gate's own launches.

What was measured of two files on a device is a document by its content: it is read where it exists, and a search that
is run again with the same seed proposes the same trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import InputSection, Weighing
from weighbridge.core.facts.targets import target_of_suffix
from weighbridge.core.files import read_json, sha256_bytes, write_json
from weighbridge.core.operator_libraries import OperatorLibrary
from weighbridge.core.progress import Progress
from weighbridge.data import Split
from weighbridge.gate.devices.local import Local
from weighbridge.gate.devices.place import Place
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.feeding import feeding, launch_inputs
from weighbridge.gate.measure.launches import FEEDS, LaunchProtocol, Setup
from weighbridge.gate.measure.model_files import Model, read_model
from weighbridge.gate.measure.streams import with_states
from weighbridge.gate.statistics.centre import SIGNED_RANK
from weighbridge.gate.weighing.sampling import own_cores

METRICS = frozenset({"latency.p50", "memory.peak"})
BASELINE = "baseline"


@dataclass(frozen=True)
class Timing:
    """One file beside the baseline."""

    log_ratios: tuple[float, ...]
    """log(latency / baseline's), one per launch."""
    seconds: tuple[float, ...]
    memory: tuple[float, ...]
    baseline_seconds: tuple[float, ...]
    baseline_memory: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Latency beside the baseline's, the Hodges-Lehmann estimate."""
        return math.exp(SIGNED_RANK.estimate(self.log_ratios))

    def upper(self, alpha: float) -> float:
        """The bound that lies below the true ratio with probability at most `alpha`; infinite for few launches."""
        return math.exp(SIGNED_RANK.upper(self.log_ratios, alpha))

    def lower(self, alpha: float) -> float:
        """The bound that lies above the true ratio with probability at most `alpha`; 0 for few launches."""
        return math.exp(SIGNED_RANK.lower(self.log_ratios, alpha))


@dataclass(frozen=True)
class Bench:
    """Where files are timed, and with what."""

    baseline: Path
    split: Split
    weighing: Weighing
    store: Path
    """Folder of what was measured, by content."""
    progress: Progress
    opened: Callable[[], Place] = Local
    """Reaches the device."""
    inputs: Mapping[str, InputSection] = field(default_factory=dict)
    """How inputs are fed, where shapes do not tell."""
    libraries: tuple[OperatorLibrary, ...] = ()
    """Of custom operators."""
    protocol: LaunchProtocol = LaunchProtocol(warm_seconds=0.1, warm_most_seconds=1.0, rounds=40, launch_seconds=0.5)  # noqa: RUF009  # frozen

    def time(self, files: Mapping[str, Path], launches: int) -> dict[str, Timing]:
        """Timings by the files' names: as many launches of all of them together as those without a document need."""
        names = tuple(self.split.inputs)
        with self.opened() as place:
            base = self._read(self.baseline, BASELINE, names)
            models = {name: self._read(path, name, names) for name, path in files.items()}
            keys = {name: self._key(base, model, place, launches) for name, model in models.items()}
            fresh = {name: models[name] for name in models if not keys[name].is_file()}
            if fresh:
                for name, timing in self._measured(place, base, fresh, launches).items():
                    write_json(keys[name], asdict(timing))
        return {name: Timing(**{key: tuple(value) for key, value in read_json(keys[name]).items()}) for name in models}

    def answers(self, files: Mapping[str, Path], split: Split) -> dict[str, list[NDArray[Any]]]:
        """The first output of each file, and of the baseline, over a split as the device gives it."""
        names = tuple(split.inputs)
        with self.opened() as place:
            base = self._read(self.baseline, BASELINE, names)
            models = [base, *(self._read(path, name, names) for name, path in files.items())]
            staged = place.stage(models, target_of_suffix(base.path.suffix))
            split = with_states(base.signature, split, self.inputs)
            manner = Manner(feeding(base.signature, split, "data", self.inputs), self.weighing.batch_size)
            with place.machine_lock(self._waiting), place.evaluation() as answer:
                return {name: answer(artifact, split, [0], manner)[0] for name, artifact in staged.items()}

    def _read(self, path: Path, name: str, inputs: Sequence[str]) -> Model:
        return replace(read_model(path, name, inputs), libraries=self.libraries)

    def _waiting(self, seconds: float) -> None:
        self.progress("waiting", 0, 1, f"{seconds:.0f} s")

    def _key(self, base: Model, model: Model, place: Place, launches: int) -> Path:
        declared = {name: item.model_dump(mode="json", exclude_defaults=True) for name, item in self.inputs.items()}
        how = (self.weighing.threads, self.weighing.batch_size, launches, *([declared] if declared else []))
        text = f"{base.digest} {model.digest} {place.device.fingerprint} {how}"
        return self.store / f"{sha256_bytes(text.encode()).removeprefix('sha256:')}.json"

    def _measured(self, place: Place, base: Model, models: Mapping[str, Model], launches: int) -> dict[str, Timing]:
        split = with_states(base.signature, self.split, self.inputs)
        feed = feeding(base.signature, split, "data", self.inputs)
        batch = feed.at_most(self.weighing.batch_size)
        roles = place.stage([base, *models.values()], target_of_suffix(base.path.suffix))
        protocol = LaunchProtocol(**{**asdict(self.protocol), "threads": self.weighing.threads, "batch_size": batch})
        with own_cores(), place.machine_lock(self._waiting):
            inputs, how = launch_inputs(split, feed, FEEDS * batch, self.weighing.seed)
            setup = Setup(roles, inputs, feed.single, protocol, place.cores(protocol.threads), how=how)
            found = []
            for number in range(launches):
                self.progress("time", number, launches, f"{len(models)} files beside the baseline")
                found.append(place.launch(setup, METRICS, np.random.default_rng([self.weighing.seed, number])))
            self.progress("time", launches, launches)

        def column(metric: str, role: str) -> tuple[float, ...]:
            return tuple(float(launch.values[metric][role]) for launch in found)

        return {
            name: Timing(
                log_ratios=tuple(float(launch.log_ratios["latency.p50"][name, BASELINE]) for launch in found),
                seconds=column("latency.p50", name),
                memory=column("memory.peak", name),
                baseline_seconds=column("latency.p50", BASELINE),
                baseline_memory=column("memory.peak", BASELINE),
            )
            for name in models
        }


__all__ = ["Bench", "Timing"]
