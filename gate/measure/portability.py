"""Whether artifacts answer on another processor as they do on this one.

Kernels of two processors add in another order: their answers differ in the last bits, and where a value lies between
two steps of a quantization, by a step. How far that carries depends on the model, so it is measured: this processor
answers the same examples a second time, disturbed by as much as one such rounding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import MeasurementError
from weighbridge.core.formats.onnx_precision import FLOAT32
from weighbridge.core.ragged import is_ragged
from weighbridge.data import Split
from weighbridge.gate.measure.emulation import Emulated, Emulator, ExpiredError
from weighbridge.gate.measure.evaluation import answers_of
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.process import Answering, open_artifact
from weighbridge.gate.measure.staged_artifact import StagedArtifact

Array = NDArray[Any]

EXAMPLES = 400
"""Examples of the test split at most, drawn at random."""
NOISE = 1e-4
"""Of the largest answer: a difference that is always rounding's. Two roundings where the artifact's own are larger."""
UNDISTURBED = 1e-2
"""The same for models whose inputs are all integers, which cannot be disturbed by a rounding."""
DISTURBANCE = 4
"""Relative change of float inputs in roundings of the artifact, by which their own effect on it is measured."""
DRAWS, FACTOR = 4, 2.0
"""Tolerated: this many times the largest difference that rounding makes to an example here, in so many draws."""


@dataclass(frozen=True)
class EmulatedArtifact:
    """One artifact and how examples are put to it."""

    artifact: StagedArtifact
    output: int
    feeding: Feeding
    batch_size: int = 1
    roundoff: float = FLOAT32
    """Of the narrowest floats that it computes in, see `core.formats.onnx_precision`."""


@dataclass(frozen=True)
class Compared:
    """One artifact's answers on two processors, or why there are none."""

    examples: int = 0
    differing: int = 0
    """Examples whose answers are further apart than rounding explains."""
    decisions: int = 0
    """Examples of which another class has the largest score."""
    largest: float = 0.0
    """The largest difference, as a share of the largest answer."""
    tolerance: float = 0.0
    reason: str = ""
    """Why nothing was compared, or what the artifact did there."""
    crashed: bool = False
    """The artifact does not run there."""

    @property
    def alike(self) -> bool:
        """Whether rounding explains the differences."""
        return not self.crashed and self.examples > 0 and self.differing == 0


def compare(subjects: Sequence[EmulatedArtifact], split: Split, emulator: Emulator, seconds: float) -> list[Compared]:
    """Answers here and there, within `seconds` for all artifacts together: as many examples as fit, 400 at most."""
    ends = time.monotonic() + seconds
    chosen = split.take(np.random.default_rng(0).permutation(len(split))[:EXAMPLES])
    found = []
    with _There(emulator, ends) as there:
        for index, subject in enumerate(subjects):
            found.append(_compared(subject, chosen, there, len(subjects) - index))
    return found


def _compared(subject: EmulatedArtifact, split: Split, there: _There, waiting: int) -> Compared:
    try:
        theirs = there.answers(subject, split, waiting)
    except ExpiredError:
        return Compared(reason="the time did not suffice for one answer of it under emulation")
    except UnavailableError as error:
        return Compared(reason=error.what)
    except MeasurementError as error:
        return Compared(reason=error.what, crashed=True)
    same = split.take(slice(len(theirs)))
    with open_artifact(subject.artifact)[0] as worker:
        ours = _all(worker, same.inputs, subject)
        moved = [_all(worker, inputs, subject) for inputs in _disturbed(same.inputs, DISTURBANCE * subject.roundoff)]
    return differences(ours, theirs, moved, max(NOISE, 2 * subject.roundoff))


def differences(ours: Array, theirs: Array, moved: Sequence[Array], noise: float = NOISE) -> Compared:
    """Answers (n, …) of two processors, and of this one to disturbed inputs, where there are any.

    A difference of `noise` of the largest answer is always rounding's.
    """
    if ours.shape != theirs.shape:
        return Compared(reason=f"answers of shape {theirs.shape} there, {ours.shape} here", crashed=True)
    scale = float(np.abs(ours).max(initial=0)) or 1.0
    apart = _rows(ours, theirs) / scale
    rounding = [FACTOR * float(_rows(ours, other).max(initial=0)) / scale for other in moved]
    tolerance = max(noise if moved else UNDISTURBED, *rounding, 0.0)
    return Compared(
        examples=len(ours),
        differing=int((~(apart <= tolerance)).sum()),  # NaN is no agreement
        decisions=_decisions(ours, theirs),
        largest=float(apart.max()),
        tolerance=tolerance,
    )


class UnavailableError(MeasurementError):
    """The emulator does not run the runtime itself."""


class _There:
    """A process on the emulated processor that loads one artifact after the other: starting it takes longest."""

    def __init__(self, emulator: Emulator, ends: float) -> None:
        self.emulator, self.ends = emulator, ends
        self.worker: Emulated | None = None
        self.adapter: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def answers(self, subject: EmulatedArtifact, split: Split, waiting: int) -> Array:
        """Answers to as many examples as there is time for, one batch at least; the worker ends with any fault.

        `waiting` artifacts share the time that is left once the process runs.
        """
        try:
            worker = self._started(subject.artifact)
            ends = time.monotonic() + _left(self.ends) / waiting
            files, names = subject.artifact.files, list(subject.artifact.inputs)
            worker.ask("load", files=files, threads=1, cores=[], inputs=names, timeout=_left(ends))
            return _in_time(worker, subject, split, ends)
        except MeasurementError:
            self._end()
            raise

    def _started(self, artifact: StagedArtifact) -> Emulated:
        if self.worker is None or self.adapter != artifact.adapter:
            self._end()
            self.worker, self.adapter = Emulated(self.emulator, timeout=_left(self.ends)), artifact.adapter
            try:
                self.worker.ask("start", adapter=str(artifact.adapter))
            except ExpiredError:
                raise
            except MeasurementError as error:
                raise UnavailableError(f"{self.emulator.tool} does not run the runtime: {error.what}") from error
        self.worker.name = artifact.name
        return self.worker

    def _end(self) -> None:
        if self.worker is not None:
            self.worker.kill()
        self.worker = None


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise ExpiredError("there is no time left")
    return left


def _in_time(worker: Emulated, subject: EmulatedArtifact, split: Split, ends: float) -> Array:
    """Chunks grow while two more of them would fit."""
    batch = subject.feeding.at_most(subject.batch_size)
    parts: list[Array] = []
    begin, step = 0, batch
    while begin < len(split):
        asked = time.monotonic()
        worker.timeout = _left(ends)
        parts.append(_all(worker, split.take(slice(begin, begin + step)).inputs, subject))
        begin += step
        now = time.monotonic()
        if now + 2 * (now - asked) > ends:
            break  # a worker that is killed in the middle takes the next artifact's time
        if now + 4 * (now - asked) < ends:
            step *= 2
    return np.concatenate(parts)


def _all(worker: Answering, inputs: Mapping[str, Array], subject: EmulatedArtifact) -> Array:
    batch = subject.feeding.at_most(subject.batch_size)
    return answers_of(worker, inputs, subject.feeding, [subject.output], batch)[0]


def _disturbed(inputs: Mapping[str, Array], share: float) -> Iterator[dict[str, Array]]:
    """Draws of the inputs with floats moved by a rounding of their last bits; none where all are integers."""
    rng = np.random.default_rng(1)
    if not any(array.dtype.kind == "f" for array in inputs.values()):
        return
    for _ in range(DRAWS):
        yield {name: _moved(array, share, rng) if array.dtype.kind == "f" else array for name, array in inputs.items()}


def _moved(array: Any, share: float, rng: np.random.Generator) -> Any:
    if is_ragged(array):
        return array.changed(lambda values: _moved(values, share, rng))
    return np.asarray(array * (1 + rng.uniform(-share, share, array.shape)), array.dtype)


def _rows(ours: Array, theirs: Array) -> Array:
    """The largest difference of each example, (n,)."""
    apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).reshape(len(ours), -1)
    return np.asarray(apart.max(axis=1, initial=0))


def _decisions(ours: Array, theirs: Array) -> int:
    if ours.ndim != 2 or ours.shape[1] < 2:
        return 0
    return int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
