"""Weigh one candidate: facts of the files, then accuracy, then what is timed, until the budgets are decided.

`weigh` returns evidence; the verdict over it is `gate.verdict.judge`'s, a pure function that anybody can repeat.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Absent, Comparison, Evidence, Measurement
from weighbridge.core.documents import Protocol as ProtocolRecord
from weighbridge.core.errors import MeasurementError
from weighbridge.core.progress import Progress, silent
from weighbridge.gate.devices.local import Local
from weighbridge.gate.devices.place import Place
from weighbridge.gate.measure import sizes
from weighbridge.gate.measure.energy import Counters
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.feeding import timed_share
from weighbridge.gate.measure.launches import FEEDS, Cores, Journey, Setup
from weighbridge.gate.measure.machine import recent_load
from weighbridge.gate.measure.machine_lock import lock_of, machine_lock
from weighbridge.gate.measure.process import Artifact
from weighbridge.gate.measure.sizes import Model
from weighbridge.gate.statistics import LOOKS
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing import accuracy, other_inputs
from weighbridge.gate.weighing.accumulator import Accumulator
from weighbridge.gate.weighing.accuracy import Answers
from weighbridge.gate.weighing.continuing import brought
from weighbridge.gate.weighing.distinct import distinct, merged, remarks
from weighbridge.gate.weighing.job import Job
from weighbridge.gate.weighing.sampling import JOURNEY, Need, Sampling, failed_for_certain, first_needs, own_cores

Array = NDArray[Any]
Keep = Callable[[Measurement], None]
PROTOCOL_VERSION = 1
"""Counts up when launches are taken in another way: their values are not mixed with those of before."""
LONGEST_TIMEOUT, SHORTEST_TIMEOUT = 60.0, 15.0
"""Seconds that one request to a worker may take; within them, the time limit of the whole weighing."""


def weigh(  # noqa: PLR0913  # keywords, each with a default
    job: Job,
    *,
    previous: Measurement | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    keep: Keep = lambda _: None,
    place: Place | None = None,
) -> Measurement:
    """Measure what the job's budgets need. `previous` is continued where it is about the same bytes, data and device.

    `keep` is given everything measured so far after each launch: a gate that is killed has spent its looks, and the
    next one must know. Whatever goes wrong with a worker or the way to it ends in `faults`, and a verdict of `error`.
    `place` is where models run, this machine without one; the caller leaves its context.
    """
    with ExitStack() as stack, own_cores():
        here = place if place is not None else stack.enter_context(Local())
        weighing = _Weighing(job, here, previous, progress, clock)
        weighing.keep = keep
        try:
            weighing.run()
        except MeasurementError as error:
            weighing.faults.append(str(error))
        return weighing.measurement()


def weigh_locked(job: Job, target: Path, progress: Progress = silent, place: Place | None = None) -> Measurement:
    """Wait until no other gate measures on this machine, then weigh, continuing the measurement in `target`.

    The measurement is written as it grows, and read after the wait: whoever measured meanwhile may have written it.
    One that was brought into this workspace is not continued; see `weighbridge.gate.weighing.continuing`.
    Where nothing is timed nobody waits for the machine, only for another gate on the same `target`.
    """

    def waiting(seconds: float) -> None:
        progress("waiting", 0, 1, f"for another weighbridge process on this machine ({seconds:.0f} s)")

    with machine_lock(lock_of(target, os.environ), waiting), ExitStack() as stack:
        here = place if place is not None else stack.enter_context(Local())
        with here.machine_lock(waiting) if times(job) else nullcontext():
            foreign = brought(target)
            previous = Measurement.read(target) if target.exists() and foreign is None else None
            if foreign is not None:
                job = replace(job, options=replace(job.options, remarks=(*job.options.remarks, foreign)))
            measurement = weigh(
                job, previous=previous, progress=progress, keep=lambda found: found.write(target), place=here
            )
            measurement.write(target)
    return measurement


def times(job: Job) -> bool:
    """Whether any budget needs launches: the other metrics are the same on a busy machine."""
    return bool(_needs(job, absent={}))


def _needs(job: Job, absent: Mapping[str, str]) -> list[Need]:
    identical = {model.name: model.digest == job.candidate.digest for model in job.references}
    applying = [budget for budget in job.budgets if budget.applies_to(job.device)]
    return first_needs(applying, identical, absent)


def continues(previous: Measurement, job: Job) -> bool:
    """Whether an earlier measurement is about the same models, data, device and way of measuring."""
    return (
        previous.baseline.digest == job.baseline.digest
        and previous.candidate.digest == job.candidate.digest
        and previous.device.fingerprint == job.device.fingerprint
        and (previous.device.name, previous.target) == (job.device.name, job.runtime)
        and previous.data == job.split.digest()
        and previous.protocol.threads == job.weighing.threads
        and previous.protocol.batch_size == job.weighing.batch_size
        and previous.protocol.details.get("protocol") == PROTOCOL_VERSION
    )


@dataclass
class _Evidence:
    """One comparison as it fills up: what is exact or over examples; the tally holds the rest."""

    metrics: dict[str, Evidence]
    slices: dict[str, Any]
    flips: list[Any]


class _Weighing:
    """One weighing under way."""

    def __init__(
        self, job: Job, place: Place, previous: Measurement | None, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self.job, self.place, self.progress, self.clock = job, place, progress, clock
        self.begin = clock()
        self.data = job.split.digest()
        self.distinct = distinct(job.split)
        self.previous = previous if previous is not None and continues(previous, job) else None
        self.faults: list[str] = []
        self.complete = False
        self.keep: Keep = lambda _: None
        self.details: dict[str, Any] = {"runtime": job.runtime, "protocol": PROTOCOL_VERSION}
        self.artifacts: Mapping[str, Artifact] = {}
        self.found = {model.name: _Evidence({}, {}, []) for model in job.references}
        self.accumulators = {model.name: self._accumulator(model) for model in job.references}
        self.absent: dict[str, str] = {}

    def run(self) -> None:
        """The order of work: what is certain and cheap first."""
        self.artifacts = self.place.stage(self.job.models, self.job.runtime)
        for reference in self.job.references:
            self.found[reference.name].metrics.update(sizes.facts(self.job.candidate, reference))
        self._examples()
        early = failed_for_certain(judge(self.measurement(), self.job.budgets))
        if early is not None and not self.job.options.thorough:
            self.complete = True
        else:
            self.complete = self._launches()
        for model in self.job.models:
            model.check_unchanged()

    def measurement(self) -> Measurement:
        """Everything measured so far."""
        job = self.job
        earlier = self.previous.protocol.elapsed_seconds if self.previous else 0.0
        return Measurement(
            model=job.options.model,
            recipe=job.options.recipe,
            baseline=job.baseline.weighed(),
            candidate=job.candidate.weighed(),
            device=job.device,
            target=job.runtime,
            data=self.data,
            examples=len(self.distinct),
            protocol=ProtocolRecord(
                seed=job.weighing.seed,
                threads=job.weighing.threads,
                batch_size=job.weighing.batch_size,
                looks=list(LOOKS),
                elapsed_seconds=round(earlier + self.clock() - self.begin, 3),
                time_limit_seconds=job.weighing.time_limit,
                complete=self.complete,
                details=self.details,
            ),
            comparisons=[self._comparison(model) for model in job.references],
            missing=dict(job.options.missing),
            faults=list(self.faults),
        )

    def _comparison(self, reference: Model) -> Comparison:
        accumulator, found = self.accumulators[reference.name], self.found[reference.name]
        return Comparison(
            against=accumulator.against,
            reference=reference.weighed(),
            metrics={**found.metrics, **accumulator.evidence(self.job.wanted("launches"))},
            slices=found.slices,
            flips=found.flips,
            controls=accumulator.controls(),
        )

    def _accumulator(self, reference: Model) -> Accumulator:
        against = "stable" if reference.name == "stable" else "baseline"
        same = reference.digest == self.job.baseline.digest
        accumulator = Accumulator(against, reference.weighed(), "baseline" if same else "stable")  # type: ignore[arg-type]
        if self.previous is None:
            accumulator.notes += self.job.options.remarks
            return accumulator
        for earlier in self.previous.comparisons:
            if earlier.against == against and earlier.reference.digest == reference.digest:
                accumulator.resume(earlier)
        if self.previous.faults:
            note = f"An earlier run of this measurement ended in a fault: {self.previous.faults[0]}"
            accumulator.notes = merged(accumulator.notes, [note])
        return accumulator

    def _examples(self) -> None:
        """Accuracy, from the files by their runtime; the same bytes answer once."""
        answers: dict[str, list[Array]] = {}
        notes = {}
        for index, model in enumerate(self.job.models):
            self.progress("accuracy", index, len(self.job.models), model.name)
            if model.digest not in answers:
                answers[model.digest], notes[model.name] = self._answer(model)
        self.progress("accuracy", len(self.job.models), len(self.job.models))
        self.details["evaluation"] = notes
        for reference in self.job.references:
            self._compare(reference, answers[reference.digest], answers[self.job.candidate.digest])

    def _answer(self, model: Model) -> tuple[list[Array], str]:
        # A user's metric sees every output; the named metrics see the judged one.
        count = len(model.signature.outputs)
        chosen = range(count) if self.job.options.users else [self.job.outputs[model.name]]
        manner = Manner(self.job.feeding, self.job.weighing.batch_size, self._timeout)
        return self.place.answer(self.artifacts[model.name], self.job.split, chosen, manner)

    def _compare(self, reference: Model, ours: list[Array], theirs: list[Array]) -> None:
        job, found = self.job, self.found[reference.name]
        judged = (job.outputs[reference.name], job.outputs["candidate"]) if job.options.users else (0, 0)
        data = self.distinct.of(Answers(ours, theirs, job.split.labels, job.split.slices, judged))
        accumulator = self.accumulators[reference.name]
        accumulator.notes = merged(accumulator.notes, remarks(self.distinct, data, accumulator.against))
        for name in sorted(job.wanted("examples") | {"accuracy.top1", "accuracy.flips"} | job.options.users.keys()):
            if name != "accuracy.worst_slice":
                evidence = accuracy.measure(name, data, seed=job.weighing.seed, user=job.options.users.get(name))
                asked = name in job.wanted("examples") or not isinstance(evidence, Absent)
                if asked:
                    found.metrics[name] = evidence
        found.slices, found.flips = accuracy.slices(data), accuracy.flips(data)

    def _launches(self) -> bool:
        job = self.job
        energy = self.place.energy() if "energy" in job.wanted("launches") else "not asked for"
        if isinstance(energy, str):
            self.absent["energy"] = energy
        journey = job.options.journey
        if isinstance(journey, Journey) and JOURNEY in job.wanted("launches"):
            journey = self.place.journey(journey)
        if isinstance(journey, str):
            self.absent[JOURNEY] = journey
        for accumulator in self.accumulators.values():
            accumulator.absent = self.absent
        needs = _needs(job, self.absent)
        if not needs:
            return True
        setup = self._setup(energy if isinstance(energy, Counters) else None, journey)
        sampling = Sampling(
            setup,
            list(self.accumulators.values()),
            lambda: judge(self.measurement(), job.budgets),
            seed=job.weighing.seed,
            most_launches=job.weighing.launches,
            time_limit=job.weighing.time_limit,
            thorough=job.options.thorough,
            progress=self.progress,
            clock=self.clock,
            launch=self.place.launch,
            taken=lambda: self.keep(self.measurement()),
        )
        try:
            done = sampling.run(needs)
            if sampling.spent:
                baseline = self.accumulators["baseline"]
                usual = baseline.series.get(other_inputs.METRIC)
                said = other_inputs.slower_elsewhere(self.place.launch, setup, usual, job.weighing.seed)
                baseline.notes = merged(baseline.notes, said)
            return done
        finally:
            if sampling.spent:
                self.details["launch_seconds"] = round(float(np.median(sampling.spent)), 3)
                self.details["empty_runtime_bytes"] = int(sampling.empty_memory)

    def _setup(self, energy: Counters | None, journey: Journey | str) -> Setup:
        job = self.job
        roles = {name: self.artifacts[name] for name in ("baseline", "candidate")}
        if job.stable is not None and job.stable.digest != job.baseline.digest:
            roles["stable"] = self.artifacts["stable"]
        protocol = replace(
            job.options.protocol,
            threads=job.weighing.threads,
            batch_size=job.weighing.batch_size,
            throughput_batch_size=job.weighing.throughput_batch_size,
            timeout=self._timeout,
        )
        cores = self.place.cores(protocol.threads)
        self.details |= {"worker_cores": list(cores.workers), "harness_cores": list(cores.harness)}
        self.details["interleaving"] = "bursts of two processes in random order"
        most = FEEDS * max(job.weighing.batch_size, job.weighing.throughput_batch_size)
        return Setup(
            roles,
            timed_share(job.split, most, job.weighing.seed),
            job.feeding.single,
            protocol,
            cores,
            journey if isinstance(journey, Journey) else None,
            energy,
        )

    @property
    def _timeout(self) -> float:
        return min(LONGEST_TIMEOUT, max(SHORTEST_TIMEOUT, self.job.weighing.time_limit))


def least_busy(threads: int, seconds: float = 0.1) -> Cores:
    """Cores for workers and harness, by what the next `seconds` show of each core's load."""
    return Cores.choose(threads, recent_load(seconds))
