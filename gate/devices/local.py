"""The machine that the gate runs on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import DeviceSection
from weighbridge.core.documents.devices import LOCAL
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.data import Split
from weighbridge.gate.devices.place import Answer, Place, Waiting
from weighbridge.gate.measure.energy import Counters, counters
from weighbridge.gate.measure.evaluation import Manner, answer
from weighbridge.gate.measure.fingerprint import describe, document
from weighbridge.gate.measure.launch_setup import Cores, Journey, Setup
from weighbridge.gate.measure.launches import Launch, take_launch
from weighbridge.gate.measure.machine import facts, lock_path, recent_load
from weighbridge.gate.measure.machine_lock import machine_lock
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.measure.process import Answering, load_into, start_worker
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.measure.two_processes import TwoProcesses

Array = NDArray[Any]


class Local(Place):
    """Weighs in processes of this machine. A section gives cores and a class."""

    def __init__(self, section: DeviceSection | None = None, name: str = LOCAL) -> None:
        self.name = name
        self.section = section or DeviceSection()
        declared = self.section.device_class
        self.device = document(facts(declared), name) if declared else describe(os.environ)
        if name != self.device.name:
            self.device = self.device.model_copy(update={"name": name})
        self.folder = tempfile.TemporaryDirectory(prefix="weighbridge-")

    def close(self) -> None:
        """Remove the copies of the models."""
        self.folder.cleanup()

    def stage(self, models: Sequence[Model], runtime: str) -> Mapping[str, StagedArtifact]:
        """Copies beside each other, so that nobody changes them while they are weighed."""
        return {
            model.name: StagedArtifact(
                model.name,
                model.stage(Path(self.folder.name) / f"{index}"),
                ADAPTERS[runtime],
                tuple(port.name for port in model.signature.inputs),
                model.stage_libraries(Path(self.folder.name) / f"{index}.operators"),
            )
            for index, model in enumerate(models)
        }

    def answer(
        self, artifact: StagedArtifact, split: Split, outputs: Sequence[int], manner: Manner
    ) -> tuple[list[Array], str]:
        """See `weighbridge.gate.measure.evaluation.answer`."""
        return answer(artifact, split, outputs, manner)

    @contextmanager
    def evaluation(self) -> Iterator[Answer]:
        """Two processes answer for all models: each model in both, and no process is there when timing begins."""
        with TwoProcesses() as pair:
            yield partial(answer, start=pair.take)

    @contextmanager
    def process(self, artifact: StagedArtifact, timeout: float) -> Iterator[Answering]:
        """See `Place.process`."""
        with start_worker(artifact, timeout=timeout) as worker:
            load_into(worker, artifact)
            yield worker

    def launch(
        self, setup: Setup, metrics: frozenset[str], rng: np.random.Generator, *, control: bool = False
    ) -> Launch:
        """See `weighbridge.gate.measure.launches.take_launch`."""
        return take_launch(setup, metrics, rng, control=control)

    def cores(self, threads: int) -> Cores:
        """Those of the section, or the least busy ones."""
        try:
            return Cores.of(self.section.cores, threads, recent_load())
        except MeasurementError as error:
            raise InputError(f"this machine {error.what}", where=f"params.yaml: devices.{self.name}.cores") from error

    def energy(self) -> Counters | str:
        """RAPL, where it is readable."""
        return counters()

    def journey(self, journey: Journey) -> Journey | str:
        """As it is: the user's code is here."""
        return journey

    def machine_lock(self, waiting: Waiting) -> AbstractContextManager[None]:
        """The machine's lock; see `weighbridge.gate.measure.machine_lock`."""
        return machine_lock(lock_path(os.environ), waiting)


def least_busy(threads: int, seconds: float = 0.1) -> Cores:
    """Cores for workers and harness, by what the next `seconds` show of each core's load."""
    return Cores.choose(threads, recent_load(seconds))
