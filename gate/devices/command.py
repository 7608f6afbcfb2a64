"""A user's own harness: a command that gets files, inputs and the protocol as JSON, and gives samples as JSON.

For devices that no SSH reaches: a phone behind adb, a microcontroller on a wire, a farm of boards. The harness is
started once for each request, in the project's folder, with the words of the configuration and nothing else. What it
answers is held against its schema, against the digests of what it was given and against the clock (see `claims`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from weighbridge.core.documents import DeviceSection
from weighbridge.core.documents.harness import Answered, Described, Launched
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.core.example_files import write_arrays
from weighbridge.core.formats.npz_file import read_arrays
from weighbridge.core.ragged import is_ragged
from weighbridge.data import Split
from weighbridge.gate.devices.claims import Witness, believed
from weighbridge.gate.devices.harness_launch import recording_of
from weighbridge.gate.devices.place import Place, Waiting
from weighbridge.gate.measure.energy import Counters
from weighbridge.gate.measure.evaluation import Manner, check_answers, check_numbers, check_repeatable, repeated
from weighbridge.gate.measure.fingerprint import document
from weighbridge.gate.measure.launch_setup import Cores, Journey, Setup
from weighbridge.gate.measure.launches import Launch
from weighbridge.gate.measure.machine_lock import lock_of_device, lock_path, machine_lock
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.staged_artifact import StagedArtifact

Array = NDArray[Any]
Said = TypeVar("Said", Described, Answered, Launched)

DESCRIBE_SECONDS, ANSWER_SECONDS, LAUNCH_SECONDS = 60.0, 1800.0, 600.0
"""How long each kind of request may take before the harness is killed with everything that it started."""
MOST_BYTES = 1 << 28
"""Of an answer, on standard output or in a file; more is a fault."""
LOOKED = 0.1
"""Seconds after which the size of what a harness has written is looked at again."""


class Harness(Place):
    """Weighs by a command of the user's. Describing itself is the first thing that it is asked."""

    times_tokens = False
    answers_several = False

    def __init__(self, name: str, section: DeviceSection, root: Path) -> None:
        assert section.command is not None
        self.name, self.section, self.root = name, section, root
        self.folder = tempfile.TemporaryDirectory(prefix="weighbridge-")
        try:
            said = self._ask(Described, {"operation": "describe"}, DESCRIBE_SECONDS)
        except BaseException:
            self.close()
            raise
        self.clock_ns = said.clock_ns
        declared = {"device_class": section.device_class or name}
        self.device = document({**said.model_dump(), **declared}, name)

    def close(self) -> None:
        """Remove the copies of the models and what the harness wrote beside them."""
        self.folder.cleanup()

    def stage(self, models: Sequence[Model], runtime: str) -> Mapping[str, StagedArtifact]:
        """Copies of its own for the harness; it must say the digests of what it loaded."""
        self.require_no_libraries(models)
        return {
            model.name: StagedArtifact(
                model.name,
                model.stage(Path(self.folder.name) / f"{index}"),
                ADAPTERS[runtime],
                tuple(port.name for port in model.signature.inputs),
            )
            for index, model in enumerate(models)
        }

    def answer(
        self, artifact: StagedArtifact, split: Split, outputs: Sequence[int], manner: Manner
    ) -> tuple[list[Array], str]:
        """The harness runs the whole data set and leaves its outputs in a file; some examples it runs a second time."""
        batch = manner.feeding.at_most(manner.batch_size)
        name = f"{self.name}: {artifact.name}"
        joined = self._answered(artifact, split, outputs, manner)
        check_answers(joined, split, name)
        chosen = repeated(len(split), batch)
        again = self._answered(artifact, split.take(chosen), outputs, manner)
        check_numbers(again, name)
        check_repeatable([output[chosen] for output in joined], again, name)
        return joined, f"evaluated at batch {batch} by the harness of {self.name}"

    def _answered(self, artifact: StagedArtifact, split: Split, outputs: Sequence[int], manner: Manner) -> list[Array]:
        """What one start of the harness answers."""
        if any(is_ragged(array) for array in split.inputs.values()):
            raise MeasurementError(
                "its harness feeds examples of one shape alone, and these differ in length",
                where=self.name,
                fix="weigh this model here, or on a device with an address",
            )
        if manner.feeding.how:
            raise MeasurementError(
                "its harness feeds examples along the first axis alone, and `inputs` of params.yaml says otherwise",
                where=self.name,
                fix="weigh this model here, or on a device with an address",
            )
        inputs, found = self._arrays("inputs.npz", split.inputs), Path(self.folder.name) / "outputs.npz"
        found.unlink(missing_ok=True)
        request = {
            "operation": "answer",
            "model": _described(artifact),
            "inputs": str(inputs),
            "single": list(manner.feeding.single),
            "batch_size": manner.feeding.at_most(manner.batch_size),
            "outputs": list(outputs),
            "write": str(found),
        }
        said = self._ask(Answered, request, ANSWER_SECONDS, writes=found)
        self._check_digests({"model": artifact}, {"model": said.digest})
        return self._outputs(found, outputs, len(split))

    def launch(
        self, setup: Setup, metrics: frozenset[str], rng: np.random.Generator, *, control: bool = False
    ) -> Launch:
        """One launch of all roles by the harness."""
        roles = dict(setup.roles)
        if control:
            roles["control"] = roles["baseline"]
        request = {
            "operation": "launch",
            "models": {role: _described(artifact) for role, artifact in roles.items()},
            "inputs": str(self._arrays("timed.npz", setup.inputs)),
            "single": list(setup.single),
            "metrics": sorted(metrics),
            "protocol": dataclasses.asdict(setup.protocol),
            "cores": list(self.section.cores or ()),
            "seed": int(rng.integers(2**53)),
        }
        begin = time.perf_counter()
        said = self._ask(Launched, request, LAUNCH_SECONDS)
        passed = time.perf_counter() - begin
        self._check_digests(roles, {role: item.digest for role, item in said.roles.items()})
        recording = recording_of(said, tuple(roles), self.name)
        return believed(recording, setup, metrics, Witness(self.name, self.clock_ns, passed))

    def cores(self, threads: int) -> Cores:
        """Those of the section. Where it names none the harness is told none: it knows its device."""
        wanted = tuple(self.section.cores or range(threads))
        return Cores(wanted, tuple(sorted(os.sched_getaffinity(0))))

    def energy(self) -> Counters | str:
        """Not by a harness: what it would call energy nobody could check."""
        return f"{self.name}: a harness is not asked for energy"

    def journey(self, journey: Journey) -> Journey | str:
        """The user's Python cannot be handed to a harness."""
        return f"{self.name}: a harness runs models, not {journey.factory}"

    def machine_lock(self, waiting: Waiting) -> AbstractContextManager[None]:
        """The device's own lock: others are weighed meanwhile, this machine among them. One that computes on this
        machine takes the machine's.
        """
        assert self.section.command is not None
        if self.section.computes_here:
            return machine_lock(lock_path(os.environ), waiting)
        return machine_lock(lock_of_device(self.section.command, os.environ), waiting)

    def _ask(self, kind: type[Said], request: Mapping[str, Any], seconds: float, *, writes: Path | None = None) -> Said:
        """What it answers; `writes` is the file that it was told to write, which is held to the same size."""
        text = self._run(json.dumps({"schema_version": 1, "device": self.name, **request}).encode(), seconds, writes)
        try:
            return kind.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise MeasurementError(
                f"sent an invalid answer to {request['operation']!r}: {key + ': ' if key else ''}{first['msg']}"[:400],
                where=self.name,
                fix="see docs/howto/devices.md",
            ) from error

    def _run(self, request: bytes, seconds: float, writes: Path | None) -> bytes:
        """Start the harness, in a process group of its own, that ends with it or with the time."""
        assert self.section.command is not None
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
            given.write(request)
            given.seek(0)
            try:
                process = subprocess.Popen(
                    self.section.command, stdin=given, stdout=out, stderr=err, cwd=self.root, start_new_session=True
                )
            except OSError as error:
                raise MeasurementError(
                    f"its command {self.section.command[0]!r} cannot be started: {error.strerror}", where=self.name
                ) from error
            try:
                code = self._wait(process, (out, err), writes, seconds)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._check_size((out, err), writes)  # what it wrote last
            if code != 0:
                err.seek(0)
                lines = err.read(1 << 20).decode(errors="replace").strip().splitlines()
                said = f"; it said: {lines[-1][:300]}" if lines else ""
                raise MeasurementError(f"its harness ended with exit code {code}{said}", where=self.name)
            out.seek(0)
            return out.read()

    def _wait(
        self, process: subprocess.Popen[bytes], written: Sequence[IO[bytes]], writes: Path | None, seconds: float
    ) -> int:
        """Its exit code; a harness that takes too long or writes too much is a `MeasurementError` while it runs."""
        ends = time.monotonic() + seconds
        while True:
            self._check_size(written, writes)
            try:
                return process.wait(max(0.0, min(LOOKED, ends - time.monotonic())))
            except subprocess.TimeoutExpired:
                if time.monotonic() >= ends:
                    raise MeasurementError(
                        f"its harness hung: no answer within {seconds:.0f} s", where=self.name
                    ) from None

    def _check_size(self, written: Sequence[IO[bytes]], writes: Path | None) -> None:
        sizes = [os.fstat(file.fileno()).st_size for file in written]
        if writes is not None:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(writes.lstat().st_size)
        if max(sizes) > MOST_BYTES:
            raise MeasurementError(f"answered {max(sizes)} bytes; at most {MOST_BYTES} are read", where=self.name)

    def _arrays(self, name: str, arrays: Mapping[str, Array]) -> Path:
        path = Path(self.folder.name) / name
        write_arrays(path, arrays)
        return path

    def _outputs(self, path: Path, outputs: Sequence[int], examples: int) -> list[Array]:
        names = [str(index) for index in outputs]
        try:
            arrays = read_arrays(path, only=names, most=MOST_BYTES)
        except FileNotFoundError as error:
            raise MeasurementError(
                "did not write its outputs to the file that it was given", where=self.name
            ) from error
        except InputError as error:
            raise MeasurementError(f"wrote outputs that cannot be read: {error.what}", where=self.name) from error
        if absent := [name for name in names if name not in arrays]:
            raise MeasurementError(f"wrote outputs that cannot be read: no array {absent[0]!r}", where=self.name)
        found = [arrays[name] for name in names]
        if any(array.ndim == 0 or len(array) != examples for array in found):
            counts = [len(array) if array.ndim else 0 for array in found]
            raise MeasurementError(f"answered {counts} of {examples} examples", where=self.name)
        if any(array.dtype.kind == "U" for array in found):
            raise MeasurementError("answered text; a harness answers numbers", where=self.name)
        return found

    def _check_digests(self, asked: Mapping[str, StagedArtifact], said: Mapping[str, str]) -> None:
        if asked.keys() != said.keys():
            raise MeasurementError(f"measured {sorted(said)} instead of {sorted(asked)}", where=self.name)
        for role, artifact in asked.items():
            if said[role] != artifact.files[0][1]:
                raise MeasurementError(
                    f"loaded {said[role]!r:.80} as {role}; it was given {artifact.files[0][1]}", where=self.name
                )


def _described(artifact: StagedArtifact) -> dict[str, Any]:
    return {"name": artifact.name, "files": [list(pair) for pair in artifact.files], "inputs": list(artifact.inputs)}
