"""A machine behind OpenSSH: one connection, over which the gate's agent gets files and is asked for launches.

`ssh` runs with the user's own configuration, keys and known hosts; it may never ask a person (BatchMode) nor accept an
unknown host. The interleaving happens on the device: no burst waits for the network.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import DeviceSection
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.core.facts.targets import TARGETS
from weighbridge.core.files import read_bytes
from weighbridge.data import Split
from weighbridge.gate.devices.claims import Witness, believed
from weighbridge.gate.devices.connection import RefusedError
from weighbridge.gate.devices.place import Place, Waiting
from weighbridge.gate.devices.session import SPARE_BYTES, TIMEOUT, Session
from weighbridge.gate.devices.travelling import made_ready, source_of
from weighbridge.gate.measure.energy import Counters
from weighbridge.gate.measure.evaluation import Manner, answer
from weighbridge.gate.measure.launch_setup import Cores, Journey, Setup
from weighbridge.gate.measure.launches import Launch
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.measure.process import Answering
from weighbridge.gate.measure.recording import from_wire
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.staged_artifact import StagedArtifact

Array = NDArray[Any]
Result = TypeVar("Result")


class Ssh(Session, Place):
    """Weighs on a machine behind `ssh`. Connecting describes it; a connection that drops is opened again."""

    def __init__(
        self,
        name: str,
        section: DeviceSection,
        environment: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(name, section, environment, sleep)
        self.inputs: Mapping[str, Array] = {}
        self.raw: Mapping[str, Array] = {}

    def close(self) -> None:
        """End the connection; the agent's folder goes with it."""
        self.connection.kill()

    def stage(self, models: Sequence[Model], runtime: str) -> Mapping[str, StagedArtifact]:
        """Send files and the runtime's adapter; what arrived is hashed there, and again before it is loaded."""
        self.require_no_libraries(models)
        self._check_runtime(runtime)
        adapter = f"adapter/{ADAPTERS[runtime].name}"
        self.files[adapter] = ADAPTERS[runtime].read_bytes()
        placed = {}
        for index, model in enumerate(models):
            contents = {f"{index}/{name}": data for name, data in model.contents()}
            self.files |= contents
            placed[model.name] = StagedArtifact(
                model.name,
                tuple(zip(contents, model.digests, strict=True)),
                Path(adapter),
                tuple(port.name for port in model.signature.inputs),
            )
        self._check_room()
        self._persistently(self._send_files)
        return placed

    def answer(
        self, artifact: StagedArtifact, split: Split, outputs: Sequence[int], manner: Manner
    ) -> tuple[list[Array], str]:
        """From the file, by its runtime there; the data set goes there and the answers come back."""

        def start(asked: StagedArtifact, timeout: float) -> Answering:
            return self.connection.open(self._there(asked), threads=1, timeout=timeout)

        return self._persistently(lambda: answer(artifact, split, outputs, manner, start))

    def launch(
        self, setup: Setup, metrics: frozenset[str], rng: np.random.Generator, *, control: bool = False
    ) -> Launch:
        """Both workers and what asks them run there; times come back and are held against what can be."""
        seed = int(rng.integers(2**63))
        roles = [*setup.roles, *(["control"] if control else [])]
        self.inputs = setup.inputs

        def take() -> Launch:
            self._send_inputs()
            # Each connection has a folder of its own: paths are those of this one.
            request = self._request(setup, metrics, seed=seed, control=control)
            begin = time.perf_counter()
            said, payload = self.connection.ask("record", timeout=4 * setup.protocol.timeout + TIMEOUT, **request)
            passed = time.perf_counter() - begin
            recording = from_wire(said, payload, roles, self.name)
            return believed(recording, setup, metrics, Witness(self.name, self._clock(), passed))

        return self._persistently(take)

    def cores(self, threads: int) -> Cores:
        """Those of the section, or the least busy ones there."""
        said, _ = self._persistently(lambda: self.connection.ask("load"))
        try:
            load = {int(core): float(ticks) for core, ticks in said["cores"].items()}
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise MeasurementError(f"did not report the load of its cores: {said!r:.80}", where=self.name) from error
        try:
            return Cores.of(self.section.cores, threads, load)
        except MeasurementError as error:
            raise InputError(error.what, where=f"params.yaml: devices.{self.name}.cores") from error

    def energy(self) -> Counters | str:
        """An empty `Counters` where the device has some: it reads them itself."""
        reason = self.connection.said.get("energy")
        return Counters(()) if reason == "" else f"{self.name}: {reason or 'says nothing of energy counters'}"

    def journey(self, journey: Journey) -> Journey | str:
        """Send the one file that the configuration names, and load it there once: what fails now would fail then."""
        module = journey.factory.partition(":")[0]
        path = source_of(journey)
        if path is None:
            return f"{self.name} gets the file of the data factory alone, and {module} is not one file"
        self.files[f"code/{module.replace('.', '/')}.py"] = read_bytes(path)
        ready = made_ready(journey)
        self.raw = {} if ready.raw is None else {"raw": ready.raw}

        def attempt() -> None:
            self._send_files()
            self._send_arrays("examples", self.raw)
            self.connection.ask("code", journey=self._code_there(ready))

        try:
            self._persistently(attempt)
        except RefusedError as error:
            return f"the data factory cannot be run on {self.name}: {error.what}"
        return ready

    @contextmanager
    def machine_lock(self, waiting: Waiting) -> Iterator[None]:
        """The device's own lock, held by the agent: two gates on two machines must not measure each other either."""
        self._persistently(lambda: self._lock(waiting))
        self.locked = True
        try:
            yield
        finally:
            self.locked = False

    def _request(self, setup: Setup, metrics: frozenset[str], *, seed: int, control: bool) -> dict[str, Any]:
        return {
            "roles": {role: self._there(artifact) for role, artifact in setup.roles.items()},
            "single": list(setup.single),
            "how": dict(setup.how),
            "protocol": dataclasses.asdict(setup.protocol),
            "workers": list(setup.cores.workers),
            "harness": list(setup.cores.harness),
            "journey": self._code_there(setup.journey),
            "energy": setup.energy is not None and "energy" in metrics,
            "metrics": sorted(metrics),
            "seed": seed,
            "control": control,
        }

    def _send_inputs(self) -> None:
        self._send_arrays("inputs", self.inputs)
        self._send_arrays("examples", self.raw)

    def _check_runtime(self, runtime: str) -> None:
        package = TARGETS[runtime].runtime
        if package not in self.device.runtimes:
            found = ", ".join(f"{name} {version}" for name, version in self.device.runtimes.items())
            raise MeasurementError(
                f"has no {package}, which runs {runtime} artifacts; it has {found}",
                where=self.name,
                fix=f"install {package} for {self.section.python} there",
            )

    def _check_room(self) -> None:
        free = self.connection.said.get("free_bytes")
        needed = sum(map(len, self.files.values())) + SPARE_BYTES
        if not isinstance(free, int) or free < needed:
            raise MeasurementError(
                f"has {free!r:.40} bytes free in {self.section.folder}; {needed} are needed", where=self.name
            )

    def _there(self, artifact: StagedArtifact) -> dict[str, Any]:
        return {
            "name": artifact.name,
            "files": [[self._path(name), digest] for name, digest in artifact.files],
            "adapter": self._path(str(artifact.adapter)),
            "inputs": list(artifact.inputs),
        }

    def _code_there(self, journey: Journey | None) -> dict[str, Any] | None:
        if journey is None:
            return None
        return {
            "factory": journey.factory,
            "folder": self._path("code"),
            "examples": journey.examples,
            "preprocess": journey.preprocess if journey.raw is not None else None,
            "postprocess": journey.postprocess,
        }
