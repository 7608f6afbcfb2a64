"""Measurements by what they are about: one of the same files, data, device and protocol goes on wherever it was begun.

They lie in DVC's cache, which CI restores and whose remotes carry them. One sequence of launches belongs to each key,
and its looks are counted in it: where two have grown apart, the one that was shared first is the one that counts, so
that nobody chooses among them by what they found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.documents import Comparison, Launches, Measurement, Verdict
from weighbridge.core.documents.base import parse
from weighbridge.core.documents.measurement import CODE
from weighbridge.core.dvc_files import MEASUREMENTS, Cache, measurement_name
from weighbridge.core.files import parse_json
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing.continuing import brought, continues, job_key
from weighbridge.gate.weighing.job import Job
from weighbridge.gate.weighing.sampling import failed_for_certain

Fetch = Callable[[str], bytes | None]
"""A file's name in the store → its bytes in a remote; None where that has none, or was not to be asked."""


def no_remote(_: str) -> None:
    """Ask nobody."""


@dataclass(frozen=True)
class ByContent:
    """The measurements of one DVC cache, and of the remote behind it."""

    folder: Path
    fetch: Fetch = no_remote

    @classmethod
    def around(cls, root: Path, fetch: Fetch = no_remote) -> ByContent | None:
        """The store of the DVC project around a folder; None where there is none."""
        cache = Cache.around(root)
        return None if cache is None else cls(cache.folder, fetch)

    def path(self, job: Job) -> Path:
        """Where a job's measurement lies."""
        return self.folder / MEASUREMENTS / measurement_name(job_key(job))

    def find(self, job: Job, own: Measurement | None) -> Measurement | None:
        """The measurement that a job goes on with: the shared one, unless `own` or the cache's has grown from it."""
        data = self.fetch(f"{MEASUREMENTS}/{measurement_name(job_key(job))}")
        shared = None if data is None else _parsed(data, job)
        path = self.path(job)
        cached = Measurement.read(path) if path.exists() and brought(path) is None else None
        for other in (cached, own):
            if other is not None and continues(other, job) and (shared is None or _grown(other, shared)):
                shared = other
        return shared

    def keep(self, job: Job, measurement: Measurement) -> None:
        """Write a measurement down as it grows. One that Git tracks is not the store's to write."""
        path = self.path(job)
        if brought(path) is None:
            measurement.write(path)


def answered(found: Measurement, job: Job) -> bool:
    """Whether a measurement says all that a job's budgets ask, so that nothing is left to measure."""
    details = found.protocol.details
    if not found.protocol.complete or found.faults or found.missing != job.options.missing:
        return False
    if details.get(CODE, {}) != job.options.code or job.options.users:
        return False  # the user's own code may answer otherwise today
    if not all(_has(found, job, reference.name, reference.digest) for reference in job.references):
        return False
    verdict = judge(found, job.budgets)
    if failed_for_certain(verdict) is not None and not job.options.thorough:
        return True
    return not any(
        item.verdict is Verdict.ERROR or (item.required and item.verdict is Verdict.INCONCLUSIVE and item.next_look)
        for item in verdict.budgets
    )


def _has(found: Measurement, job: Job, name: str, digest: str) -> bool:
    """Whether what is certain and cheap was measured against a reference."""
    against = "stable" if name == "stable" else "baseline"
    beside = _comparison(found, against)
    if beside is None or beside.reference.digest != digest:
        return False
    wanted = (job.wanted("exact") | job.wanted("examples")) - {"accuracy.worst_slice"}
    return wanted <= beside.metrics.keys()


def renamed(found: Measurement, job: Job) -> Measurement:
    """The same measurement for the recipe that asks now: two recipes may give the same bytes."""
    named = {"model": job.options.model, "recipe": job.options.recipe, "candidate": job.candidate.weighed()}
    return found.model_copy(update=named)


def _grown(longer: Measurement, shorter: Measurement) -> bool:
    """Whether a measurement goes on from another: its launches begin with all of the other's."""
    ours, theirs = _comparison(longer, "baseline"), _comparison(shorter, "baseline")
    if ours is None or theirs is None:
        return theirs is None
    for name, there in theirs.metrics.items():
        here = ours.metrics.get(name)
        if isinstance(there, Launches) and not (
            isinstance(here, Launches) and here.log_ratio[: len(there.log_ratio)] == there.log_ratio
        ):
            return False
    return True


def _comparison(measurement: Measurement, against: str) -> Comparison | None:
    return next((item for item in measurement.comparisons if item.against == against), None)


def _parsed(data: bytes, job: Job) -> Measurement | None:
    """What a remote gave; None where it is about something else than its name says."""
    found = parse(Measurement, parse_json(data.decode("utf-8", errors="replace"), "DVC remote"), "DVC remote")
    return found if continues(found, job) else None
