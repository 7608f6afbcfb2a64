"""Whether a measurement is continued: it must be about the same things, and written here rather than brought along.

A measurement that is continued decides with what it says was measured before. One that a pull request brings along
could say anything, so that only what Git does not track and no `.dvc` pointer names is continued.
"""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.documents import Measurement
from weighbridge.core.documents.measurement import question
from weighbridge.core.errors import StateError
from weighbridge.core.git import Git
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.weighing.accumulator import Accumulator, Against
from weighbridge.gate.weighing.distinct import merged
from weighbridge.gate.weighing.job import Job

PROTOCOL_VERSION = 3
"""Counts up when launches are taken in another way: their values are not mixed with those of before."""
_AFRESH = "so that it was not continued: this measurement started afresh."


def continues(previous: Measurement, job: Job) -> bool:
    """Whether an earlier measurement is about the same models, data, device and way of measuring."""
    return previous.key() == job_key(job)


def job_key(job: Job) -> str:
    """The key of the measurement that a job asks for; see `Measurement.key`."""
    return question(
        baseline=job.baseline.digest,
        candidate=job.candidate.digest,
        data=job.data,
        device=[job.device.for_target(job.runtime).fingerprint, job.device.name],
        target=job.runtime,
        protocol=[
            PROTOCOL_VERSION, job.weighing.threads, job.weighing.batch_size, job.options.stated_task, job.stated_inputs
        ],
    )  # fmt: skip


def accumulators(job: Job, previous: Measurement | None) -> dict[str, Accumulator]:
    """By reference, what launches have given in the measurement that is continued, or nothing yet."""
    return {model.name: _accumulator(job, model, previous) for model in job.references}


def _accumulator(job: Job, reference: Model, previous: Measurement | None) -> Accumulator:
    against: Against = "stable" if reference.name == "stable" else "baseline"
    same = reference.digest == job.baseline.digest
    found = Accumulator(against, reference.weighed(), "baseline" if same else "stable")
    if previous is None:
        found.notes += job.options.remarks
        return found
    for earlier in previous.comparisons:
        if earlier.against == against and earlier.reference.digest == reference.digest:
            found.resume(earlier)
    if previous.faults:
        note = f"An earlier run of this measurement ended in a fault: {previous.faults[0]}"
        found.notes = merged(found.notes, [note])
    return found


def brought(target: Path) -> str | None:
    """A sentence for the report where the measurement in `target` was not written here; None where it was."""
    if not target.exists():
        return None
    if pointer := _pointer(target.absolute()) or _pointer(target.resolve()):
        return f"The measurement {target} comes from the DVC pointer {pointer.name}, {_AFRESH}"
    tracked = _tracked(target.resolve())
    if tracked is None:
        return f"Git cannot tell whether it tracks the measurement {target}, {_AFRESH}"
    return f"The measurement {target} is tracked by Git and may come with the change, {_AFRESH}" if tracked else None


def _pointer(path: Path) -> Path | None:
    """The `.dvc` file that names a path or a folder around it."""
    pointers = (place.with_name(f"{place.name}.dvc") for place in (path, *path.parents) if place.name)
    return next((pointer for pointer in pointers if pointer.is_file()), None)


def _tracked(path: Path) -> bool | None:
    """Whether Git tracks a file, in the repository or submodule around it; None where Git cannot tell."""
    if not any((above / ".git").exists() for above in path.parents):
        return False
    try:
        done = Git(path.parent).attempt("ls-files", "--error-unmatch", "--", path.name)
    except StateError:
        return None
    return {0: True, 1: False}.get(done.returncode)
