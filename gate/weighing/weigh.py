"""Weigh one candidate: facts of the files, then accuracy, then what is timed, until the budgets are decided.

`weigh` returns evidence; the verdict over it is `gate.verdict.judge`'s, a pure function that anybody can repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.documents import Absent, Measurement
from weighbridge.core.documents.weighing_section import AUTO
from weighbridge.core.errors import MeasurementError
from weighbridge.core.progress import Progress, silent
from weighbridge.gate.devices.local import Local
from weighbridge.gate.devices.place import Answer, Place
from weighbridge.gate.measure import sizes
from weighbridge.gate.measure.energy import Counters
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.frames import Array
from weighbridge.gate.measure.launches import TOKENS, Journey, Setup
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.measure.streams import no_steps, prompt_tokens
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing import accuracy, other_inputs, runs
from weighbridge.gate.weighing.accumulator import Accumulator
from weighbridge.gate.weighing.answering import answers_of_job, check_text
from weighbridge.gate.weighing.continued_texts import texts_of
from weighbridge.gate.weighing.continuing import accumulators, continues
from weighbridge.gate.weighing.distinct import Distinct, distinct, lengths, merged, remarks
from weighbridge.gate.weighing.job import Job, timed_inputs
from weighbridge.gate.weighing.measured import Found, Measured, as_measurement, unmeasured
from weighbridge.gate.weighing.own import slice_scores, worsened
from weighbridge.gate.weighing.sampling import JOURNEY, Sampling, failed_for_certain, needs_of, own_cores
from weighbridge.gate.weighing.time_outs import time_out

Keep = Callable[[Measurement], None]
TOKEN_METRICS = TOKENS["first"] | TOKENS["next"]


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
        earlier = previous if previous is not None and continues(previous, job) else None
        weighing = _Weighing(
            job,
            here,
            distinct(job.split, streams=job.feeding.streams),
            earlier,
            accumulators(job, earlier),
            progress,
            clock,
            clock(),
            keep,
        )
        return weighing.measurement(weighing.run())


@dataclass(frozen=True)
class _Weighing:
    """What stays the same while one candidate is weighed; its steps take what was found and return it with more."""

    job: Job
    place: Place
    distinct: Distinct
    previous: Measurement | None
    accumulators: Mapping[str, Accumulator]
    """By reference. What launches give is added here as they are taken."""
    progress: Progress
    clock: Callable[[], float]
    begin: float
    keep: Keep

    def run(self) -> Measured:
        """The order of work: what is certain and cheap first. A fault ends it with what was found until then."""
        timed = bool(self.job.wanted("launches"))
        measured = unmeasured(self.job, len(self.distinct)).with_details(
            **runs.details(self.previous, self.job.options.run, launches=timed)
        )
        try:
            artifacts = self.place.stage(self.job.models, self.job.runtime)
            for step in (self._facts, self._examples, self._texts, self._launches):
                measured = step(measured, artifacts)
            if not measured.faults:
                for model in self.job.models:
                    model.check_unchanged()
        except MeasurementError as error:
            return measured.with_fault(str(error))
        return measured

    def measurement(self, measured: Measured) -> Measurement:
        """Everything measured so far, as the document."""
        earlier = self.previous.protocol.elapsed_seconds if self.previous else 0.0
        spent = earlier + self.clock() - self.begin
        return as_measurement(self.job, measured, self.accumulators, seconds=spent)

    def _facts(self, measured: Measured, _: Mapping[str, StagedArtifact]) -> Measured:
        for reference in self.job.references:
            facts = sizes.facts(self.job.candidate, reference, self.job.wanted("exact"))
            measured = measured.with_found(reference.name, replace(measured.found[reference.name], metrics=facts))
        return measured

    def _examples(self, measured: Measured, artifacts: Mapping[str, StagedArtifact]) -> Measured:
        """Accuracy, from the files by their runtime; the same bytes answer once."""
        answers: dict[str, list[Array]] = {}
        notes = {}
        with self.place.evaluation() as ask:
            for index, model in enumerate(self.job.models):
                self.progress("accuracy", index, len(self.job.models), model.name)
                if model.digest not in answers:
                    answers[model.digest], notes[model.name] = self._answer(model, artifacts, ask)
        self.progress("accuracy", len(self.job.models), len(self.job.models))
        measured = measured.with_details(evaluation=notes)
        for reference in self.job.references:
            found = self._compare(reference, answers[reference.digest], answers[self.job.candidate.digest])
            metrics = {**measured.found[reference.name].metrics, **found.metrics}
            measured = measured.with_found(reference.name, replace(found, metrics=metrics))
        return measured

    def _answer(self, model: Model, artifacts: Mapping[str, StagedArtifact], ask: Answer) -> tuple[list[Array], str]:
        chosen = self.job.asked_outputs(model.name)
        manner = Manner(self.job.feeding, self.job.weighing.batch_size, self._timeout)
        found, note = ask(artifacts[model.name], self.job.split, chosen, manner)
        check_text(model, chosen, found)
        return found, note

    def _compare(self, reference: Model, ours: list[Array], theirs: list[Array]) -> Found:
        job = self.job
        data = self.distinct.of(answers_of_job(job, reference.name, ours, theirs))
        accumulator = self.accumulators[reference.name]
        accumulator.notes = merged(accumulator.notes, remarks(self.distinct, data, accumulator.against))
        metrics = {}
        for name in sorted(job.wanted("examples") | job.shown):
            if name != "accuracy.worst_slice":
                evidence = accuracy.measure(name, data, seed=job.weighing.seed, user=job.options.users.get(name))
                if name in job.wanted("examples") or not isinstance(evidence, Absent):
                    metrics[name] = evidence
        scores = {name: found for name, user in job.options.users.items() if (found := slice_scores(name, data, user))}
        worse = [item for name, user in job.options.users.items() for item in worsened(name, data, user)]
        return Found(metrics, accuracy.slices(data), accuracy.flips(data), scores, worse)

    def _texts(self, measured: Measured, artifacts: Mapping[str, StagedArtifact]) -> Measured:
        """Of a language model, texts that both continue, where params ask for them."""
        sample = self.job.weighing.sample
        if sample is None:
            return measured
        self.progress("texts", 0, 1)
        baseline = self.accumulators["baseline"]
        try:
            found = texts_of(self.job, sample, self.place, artifacts, self._timeout)
        except UnfitError as error:
            baseline.notes = merged(baseline.notes, [f"No text is shown: {error}."])
            return measured
        self.progress("texts", 1, 1)
        for name, texts in found.items():
            measured = measured.with_found(name, replace(measured.found[name], texts=texts))
        return measured

    def _launches(self, measured: Measured, artifacts: Mapping[str, StagedArtifact]) -> Measured:
        job = self.job
        early = failed_for_certain(judge(self.measurement(measured), job.budgets))
        if early is not None and not job.options.thorough:
            return replace(measured, complete=True)
        energy, journey, absent = self._measurable()
        measured = replace(measured, absent=absent)
        for accumulator in self.accumulators.values():
            accumulator.absent = dict(absent)
        needs = needs_of(job, absent)
        if not needs:
            return replace(measured, complete=True)
        setup = self._setup(artifacts, energy, journey)
        measured = measured.with_details(
            worker_cores=list(setup.cores.workers),
            harness_cores=list(setup.cores.harness),
            interleaving="bursts of two processes in random order",
        )
        baseline = self.accumulators["baseline"]
        baseline.notes = merged(baseline.notes, lengths(job.split, setup))
        sampling = self._sampling(setup, measured)
        try:
            self._prompts()
            complete = sampling.run(needs)
            self._elsewhere(sampling, setup)
        except MeasurementError as error:
            return self._timed(sampling, measured.with_fault(str(error)))
        return self._timed(sampling, replace(measured, complete=complete))

    def _measurable(self) -> tuple[Counters | None, Journey | None, dict[str, str]]:
        """Energy counters and the code around the model where budgets ask for them, and what is absent here."""
        job, absent = self.job, {}
        energy = self.place.energy() if "energy" in job.wanted("launches") else "not asked for"
        if isinstance(energy, str):
            absent["energy"] = energy
        absent |= self._untimed_tokens()
        journey = job.options.journey
        if isinstance(journey, Journey) and JOURNEY in job.wanted("launches"):
            journey = self.place.journey(journey)
        if isinstance(journey, str):
            absent[JOURNEY] = journey
        return (
            energy if isinstance(energy, Counters) else None,
            journey if isinstance(journey, Journey) else None,
            absent,
        )

    def _untimed_tokens(self) -> dict[str, str]:
        """Metrics of single tokens that cannot be measured for this model or there, and why."""
        wanted = self.job.wanted("launches") & TOKEN_METRICS
        if not self.place.times_tokens:
            return dict.fromkeys(wanted, f"{self.place.name}: a harness of your own times whole examples")
        reason = no_steps(self.job.baseline.signature, self.job.inputs)
        return dict.fromkeys(wanted & TOKENS["next"], reason) if reason is not None else {}

    def _prompts(self) -> None:
        """Say what tokens were timed, where some were."""
        job, baseline = self.job, self.accumulators["baseline"]
        count = prompt_tokens(job.split, job.baseline.signature, job.inputs)
        if job.wanted("launches") & TOKEN_METRICS and count is not None:
            said = f"Tokens are timed after a prompt of {count} tokens, one text at a time."
            baseline.notes = merged(baseline.notes, [said])

    def _sampling(self, setup: Setup, measured: Measured) -> Sampling:
        job = self.job
        return Sampling(
            setup,
            list(self.accumulators.values()),
            lambda: judge(self.measurement(measured), job.budgets),
            seed=job.weighing.seed,
            most_launches=job.weighing.launches,
            time_limit=job.weighing.most_seconds,
            plans=job.weighing.time_limit == AUTO,
            thorough=job.options.thorough,
            progress=self.progress,
            clock=self.clock,
            launch=self.place.launch,
            taken=lambda: self.keep(self.measurement(measured)),
        )

    def _elsewhere(self, sampling: Sampling, setup: Setup) -> None:
        """Say where a candidate is slower on other inputs than on the test set's."""
        if sampling.spent:
            baseline = self.accumulators["baseline"]
            usual = baseline.series.get(other_inputs.METRIC)
            said = other_inputs.slower_elsewhere(self.place.launch, setup, usual, self.job.weighing.seed)
            baseline.notes = merged(baseline.notes, said)

    @staticmethod
    def _timed(sampling: Sampling, measured: Measured) -> Measured:
        if not sampling.spent:
            return measured
        plan = {} if sampling.plan is None else {"plan": sampling.plan}
        return measured.with_details(
            launch_seconds=round(float(np.median(sampling.spent)), 3),
            empty_runtime_bytes=int(sampling.empty_memory),
            **plan,
        )

    def _setup(
        self, artifacts: Mapping[str, StagedArtifact], energy: Counters | None, journey: Journey | None
    ) -> Setup:
        job = self.job
        roles = {name: artifacts[name] for name in ("baseline", "candidate")}
        if job.stable is not None and job.stable.digest != job.baseline.digest:
            roles["stable"] = artifacts["stable"]
        protocol = replace(
            job.options.protocol,
            threads=job.weighing.threads,
            batch_size=job.weighing.batch_size,
            throughput_batch_size=job.weighing.throughput_batch_size,
            timeout=self._timeout,
        )
        inputs, how = timed_inputs(job)
        cores = self.place.cores(protocol.threads)
        return Setup(roles, inputs, job.feeding.single, protocol, cores, journey, energy, how)

    @property
    def _timeout(self) -> float:
        return time_out(self.job.weighing.most_seconds, max(model.size for model in self.job.models))
