"""The interface of a place where artifacts are weighed: one file each implements it, `weigh` knows no other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Device
from weighbridge.core.errors import MeasurementError
from weighbridge.data import Split
from weighbridge.gate.measure.energy import Counters
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.launch_setup import Cores, Journey, Setup
from weighbridge.gate.measure.launches import Launch
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.measure.process import Answering
from weighbridge.gate.measure.staged_artifact import StagedArtifact

Array = NDArray[Any]
Waiting = Callable[[float], None]
Answer = Callable[[StagedArtifact, Split, Sequence[int], Manner], tuple[list[Array], str]]
"""What `Place.answer` is."""


class Place(ABC):
    """A machine, and the way to it. Use it as a context: leaving it leaves nothing of ours there.

    Everything that goes wrong with the way or the machine is a `MeasurementError` that names the device.
    """

    name: str
    """Its name under `devices:`."""
    device: Device
    """What it is, taken there."""
    times_tokens = True
    """Whether a launch there can time single tokens."""
    answers_several = True
    """Whether models can be evaluated there by two weighings at once; timing never is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def require_no_libraries(self, models: Sequence[Model]) -> None:
        """Raise `MeasurementError` where a model needs libraries of operators, which are for this machine alone."""
        if any(model.libraries for model in models):
            raise MeasurementError("libraries of custom operators are loaded on this machine alone", where=self.name)

    @abstractmethod
    def close(self) -> None:
        """Remove what was brought there."""

    @abstractmethod
    def stage(self, models: Sequence[Model], runtime: str) -> Mapping[str, StagedArtifact]:
        """Bring the models there, each in a folder of its own, and verify their bytes there; by the models' names."""

    @abstractmethod
    def answer(
        self, artifact: StagedArtifact, split: Split, outputs: Sequence[int], manner: Manner
    ) -> tuple[list[Array], str]:
        """Outputs over a data set, taken from the file by its runtime there; see `measure.evaluation.answer`."""

    def evaluation(self) -> AbstractContextManager[Answer]:
        """`answer`, for all models of a weighing in turn: a place may keep its processes until this is left."""
        return nullcontext(self.answer)

    def process(self, artifact: StagedArtifact, timeout: float) -> AbstractContextManager[Answering] | str:
        """A process there with the artifact loaded, which is asked by hand; or why there is none."""
        return (
            f"{self.name}: texts are continued on the gate's own machine alone, not for {artifact.name} ({timeout:g} s)"
        )

    @abstractmethod
    def launch(
        self, setup: Setup, metrics: frozenset[str], rng: np.random.Generator, *, control: bool = False
    ) -> Launch:
        """One launch of all roles there; see `weighbridge.gate.measure.launches.take_launch`."""

    @abstractmethod
    def cores(self, threads: int) -> Cores:
        """Where workers are pinned there, and where what asks them runs."""

    @abstractmethod
    def energy(self) -> Counters | str:
        """Energy counters, or why there are none. An empty `Counters` stands for those that another machine reads."""

    @abstractmethod
    def journey(self, journey: Journey) -> Journey | str:
        """The user's code around the model as it can be run there, or why it cannot."""

    @abstractmethod
    def machine_lock(self, waiting: Waiting) -> AbstractContextManager[None]:
        """Hold the machine while it measures; `waiting` is told the seconds that the wait has lasted."""
