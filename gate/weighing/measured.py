"""What a weighing has found so far: a value that each of its steps returns anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from weighbridge.core.documents import Comparison, Continued, Evidence, Flip, Measurement, Proportions, Scored, Worsened
from weighbridge.core.documents import Protocol as ProtocolRecord
from weighbridge.core.documents.measurement import CODE
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.statistics import LOOKS
from weighbridge.gate.weighing.accumulator import Accumulator
from weighbridge.gate.weighing.continuing import PROTOCOL_VERSION
from weighbridge.gate.weighing.job import Job


@dataclass(frozen=True)
class Found:
    """Of one comparison what needs no launches."""

    metrics: Mapping[str, Evidence] = field(default_factory=dict)
    slices: Mapping[str, Proportions] = field(default_factory=dict)
    flips: Sequence[Flip] = ()
    scores: Mapping[str, Mapping[str, Scored]] = field(default_factory=dict)
    """Of the user's own metrics, by slice."""
    worsened: Sequence[Worsened] = ()
    texts: Sequence[Continued] = ()
    """Of a language model, how both go on."""


@dataclass(frozen=True)
class Measured:
    """Everything found so far but the launches, which accumulators hold."""

    data: str
    """Digest of the examples."""
    examples: int
    """Their number, each input once."""
    found: Mapping[str, Found]
    """By reference."""
    details: Mapping[str, Any]
    """How it was measured, for the record."""
    faults: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    """Metrics that cannot be measured here, and why."""
    complete: bool = False

    def with_found(self, reference: str, found: Found) -> Measured:
        """The same with other findings of one comparison."""
        return replace(self, found={**self.found, reference: found})

    def with_details(self, **details: Any) -> Measured:
        """The same with more to record."""
        return replace(self, details={**self.details, **details})

    def with_fault(self, fault: str) -> Measured:
        """The same with one thing that went wrong."""
        return replace(self, faults=(*self.faults, fault))


def unmeasured(job: Job, examples: int) -> Measured:
    """Before the first step."""
    code = {CODE: dict(job.options.code)} if job.options.code else {}
    task = {"task": job.options.stated_task} if job.options.task is not None else {}
    details = {"runtime": job.runtime, "protocol": PROTOCOL_VERSION, **code, **task}
    if job.inputs:
        details["inputs"] = job.stated_inputs
    return Measured(job.data, examples, {model.name: Found() for model in job.references}, details)


def as_measurement(
    job: Job, measured: Measured, accumulators: Mapping[str, Accumulator], *, seconds: float
) -> Measurement:
    """The document; `seconds` were spent on it, in earlier runs too."""
    return Measurement(
        model=job.options.model,
        recipe=job.options.recipe,
        baseline=job.baseline.weighed(),
        candidate=job.candidate.weighed(),
        device=job.device,
        target=job.runtime,
        data=measured.data,
        examples=measured.examples,
        protocol=ProtocolRecord(
            seed=job.weighing.seed,
            threads=job.weighing.threads,
            batch_size=job.weighing.batch_size,
            looks=list(LOOKS),
            elapsed_seconds=round(seconds, 3),
            time_limit_seconds=job.weighing.most_seconds,
            complete=measured.complete,
            details=dict(measured.details),
        ),
        comparisons=[
            _comparison(job, model, measured.found[model.name], accumulators[model.name]) for model in job.references
        ],
        missing=dict(job.options.missing),
        faults=list(measured.faults),
    )


def _comparison(job: Job, reference: Model, found: Found, accumulator: Accumulator) -> Comparison:
    return Comparison(
        against=accumulator.against,
        reference=reference.weighed(),
        metrics={**found.metrics, **accumulator.evidence(job.wanted("launches"))},
        slices=dict(found.slices),
        flips=list(found.flips),
        scores={name: dict(by_slice) for name, by_slice in found.scores.items()},
        worsened=list(found.worsened),
        texts=list(found.texts),
        controls=accumulator.controls(),
    )
