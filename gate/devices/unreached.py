"""A device that could not be reached: nothing is measured there, and a measurement says so as its fault."""

# ruff: noqa: ARG002  # the interface's arguments; nothing is done with them here
from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Device
from weighbridge.core.errors import MeasurementError
from weighbridge.data import Split
from weighbridge.gate.devices.place import Place, Waiting
from weighbridge.gate.measure.energy import Counters
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.fingerprint import document
from weighbridge.gate.measure.launch_setup import Cores, Journey, Setup
from weighbridge.gate.measure.launches import Launch
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.measure.staged_artifact import StagedArtifact

Array = NDArray[Any]
UNKNOWN = {
    "cpu": "unknown",
    "isa": [],
    "cores": 1,
    "memory_bytes": 0,
    "system": "not reached",
    "runtimes": {},
}


class Unreached(Place):
    """Raises why it was not reached, whatever is asked of it. `known` is what it was when it was last reached."""

    def __init__(self, name: str, error: MeasurementError, device_class: str | None, known: Device | None) -> None:
        self.name = name
        self.error = error
        self.device = known or document({**UNKNOWN, "device_class": device_class or name}, name)

    def close(self) -> None:
        """Nothing was brought there."""

    def stage(self, models: Sequence[Model], runtime: str) -> Mapping[str, StagedArtifact]:
        """Never."""
        self._refuse()

    def answer(
        self, artifact: StagedArtifact, split: Split, outputs: Sequence[int], manner: Manner
    ) -> tuple[list[Array], str]:
        """Never."""
        self._refuse()

    def launch(
        self, setup: Setup, metrics: frozenset[str], rng: np.random.Generator, *, control: bool = False
    ) -> Launch:
        """Never."""
        self._refuse()

    def cores(self, threads: int) -> Cores:
        """Never."""
        self._refuse()

    def energy(self) -> Counters | str:
        """Never."""
        self._refuse()

    def journey(self, journey: Journey) -> Journey | str:
        """Never."""
        self._refuse()

    def machine_lock(self, waiting: Waiting) -> AbstractContextManager[None]:
        """There is nothing to wait for."""
        return nullcontext()

    def _refuse(self) -> NoReturn:
        raise self.error
