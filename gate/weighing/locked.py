"""Weighing on a machine that others may want to weigh on."""

from __future__ import annotations

import os
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from weighbridge.core.documents import Measurement
from weighbridge.core.progress import Progress, silent
from weighbridge.gate.devices.local import Local
from weighbridge.gate.devices.place import Place
from weighbridge.gate.measure.machine_lock import lock_of, machine_lock
from weighbridge.gate.weighing.by_content import ByContent, answered, renamed
from weighbridge.gate.weighing.continuing import brought
from weighbridge.gate.weighing.job import Job
from weighbridge.gate.weighing.sampling import needs_of
from weighbridge.gate.weighing.weigh import weigh


def weigh_locked(
    job: Job, target: Path, progress: Progress = silent, place: Place | None = None, store: ByContent | None = None
) -> Measurement:
    """Wait until no other gate measures on this machine, then weigh, continuing the measurement in `target`.

    The measurement is written as it grows, and read after the wait: whoever measured meanwhile may have written it.
    One that was brought into this workspace is not continued; see `weighbridge.gate.weighing.continuing`. With a store,
    the measurement of the same files there is continued, and one that says all that is asked is taken as it is.
    Where nothing is timed nobody waits for the machine, only for another gate on the same `target`; a harness has its
    device to itself in any case.
    """

    def waiting(seconds: float) -> None:
        progress("waiting", 0, 1, f"for another weighbridge process on this machine ({seconds:.0f} s)")

    def keep(found: Measurement) -> None:
        found.write(target)
        if store is not None:
            store.keep(job, found)

    with machine_lock(lock_of(target, os.environ), waiting), ExitStack() as stack:
        here = place if place is not None else stack.enter_context(Local())
        with here.machine_lock(waiting) if times(job) or not here.answers_several else nullcontext():
            foreign = brought(target)
            previous = Measurement.read(target) if target.exists() and foreign is None else None
            if foreign is not None:
                job = replace(job, options=replace(job.options, remarks=(*job.options.remarks, foreign)))
            if store is not None:
                previous = store.find(job, previous)
            if store is not None and previous is not None and answered(previous, job):
                measurement = renamed(previous, job)
            else:
                measurement = weigh(job, previous=previous, progress=progress, keep=keep, place=here)
            keep(measurement)
    return measurement


def times(job: Job) -> bool:
    """Whether any budget needs launches: the other metrics are the same on a busy machine."""
    return bool(needs_of(job, absent={}))
