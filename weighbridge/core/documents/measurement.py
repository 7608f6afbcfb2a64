"""The evidence that the gate took: numbers only, so that judging is a pure function of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from weighbridge.core.documents.base import SCHEMA_VERSION, Digest, Recorded
from weighbridge.core.documents.device import Device
from weighbridge.core.facts.targets import DEFAULT_TARGET
from weighbridge.core.files import canonical_json, sha256_bytes

CODE = "code"
"""In `Protocol.details`: the user's files that took part in measuring, each with its digest."""


class Weighed(Recorded):
    """One artifact that was measured."""

    name: str
    """`baseline`, `candidate`, `stable`, or the recipe's or version's name."""
    digest: Digest
    bytes: int = Field(ge=1)


class Exact(Recorded):
    """A fact of each file, without noise."""

    kind: Literal["exact"] = "exact"
    candidate: float
    reference: float


class Launches(Recorded):
    """One value per launch pair of fresh processes; the launch, not the inference, is the independent unit.

    All three lists have one entry per launch pair, in the order they were taken.
    Source: Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013.
    """

    kind: Literal["launches"] = "launches"
    candidate: list[float]
    """Per launch, in the metric's base unit: for latency.p50 the median over the launch's inferences."""
    reference: list[float]
    log_ratio: list[float]
    """Natural log of candidate / reference, paired within the launch (median over interleaved bursts)."""
    samples: int = Field(default=0, ge=0)
    """Single observations behind each launch's value (for the floors of tail percentiles)."""
    numbers: list[int] = []
    """The number of each launch pair, rising over the whole measurement, re-runs included: a pair that was
    recorded twice would make an interval too narrow, so the judge refuses numbers that are missing or repeat.
    """


class Proportions(Recorded):
    """Paired right and wrong answers on the same examples."""

    kind: Literal["proportions"] = "proportions"
    both: int = Field(ge=0)
    """Examples that reference and candidate answer rightly."""
    only_reference: int = Field(ge=0)
    """Right before, wrong now: the flips."""
    only_candidate: int = Field(ge=0)
    neither: int = Field(ge=0)

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return self.both + self.only_reference + self.only_candidate + self.neither


class Resampled(Recorded):
    """A metric over a data set with its paired bootstrap."""

    kind: Literal["resampled"] = "resampled"
    candidate: float
    reference: float
    examples: int = Field(ge=0)
    candidate_resamples: list[float]
    """The metric over each resample of the examples."""
    reference_resamples: list[float]
    """The same resamples, the reference's answers."""
    moments: list[float] = []
    """Sums over a jackknife's groups of cc, cr, rr, ccc, ccr, crr, rrr (c and r: influences on the candidate's and the
    reference's value), for the bounds' correction for skewness; empty where there was no time for one.
    """
    groups: int | None = None
    """Groups that were drawn whole; None where single examples were."""
    capped: str = ""
    """What kept the resamples from being more, e.g. `20 s allow`; empty where nothing did."""


class Absent(Recorded):
    """Not measured, and why. Never passes."""

    kind: Literal["absent"] = "absent"
    reason: str


Evidence = Annotated[Exact | Launches | Proportions | Resampled | Absent, Field(discriminator="kind")]


class Flip(Recorded):
    """One example that the reference answered rightly and the candidate wrongly."""

    index: int = Field(ge=0)
    label: int | str
    candidate: int | str
    """What the candidate answered."""
    slices: list[str] = []


class Worsened(Recorded):
    """One example whose score by a metric of the user's own got worse."""

    metric: str
    index: int = Field(ge=0)
    reference: float
    candidate: float
    slices: list[str] = []


class Scored(Recorded):
    """A metric of the user's own over one slice."""

    candidate: float
    reference: float
    examples: int = Field(ge=0)


class Continued(Recorded):
    """The beginning of a text, and how each model goes on: for people to read, no evidence."""

    prompt: str
    reference: str
    candidate: str
    tokens: int = Field(ge=0)
    """Tokens of the shorter continuation."""
    same: int = Field(ge=0)
    """Of them, those up to which both are one."""


class Controls(Recorded):
    """Whether the device was fit to judge while it was measuring."""

    null_log_ratio: list[float] = []
    """A second baseline against the first, per launch that had one."""
    dropped: float = Field(default=0.0, ge=0, le=1)
    """Share of burst pairs dropped for steal time or involuntary switches."""
    notes: list[str] = []


class Comparison(Recorded):
    """The candidate against one reference."""

    against: Literal["baseline", "stable"]
    reference: Weighed
    metrics: dict[str, Evidence]
    """By metric name. For `accuracy.worst_slice` see `slices`."""
    slices: dict[str, Proportions] = {}
    flips: list[Flip] = []
    """The first few, as examples; how many there are stands in `metrics["accuracy.top1"]`."""
    scores: dict[str, dict[str, Scored]] = {}
    """By metric of the user's own and slice."""
    worsened: list[Worsened] = []
    """By such a metric that scores each example, those that lost most."""
    texts: list[Continued] = []
    """Of a language model, where params ask for a sample."""
    controls: Controls = Controls()


class Protocol(Recorded):
    """How the numbers were taken."""

    seed: int
    threads: int
    batch_size: int
    looks: list[int]
    """Launch pairs at which the gate looked, or will."""
    elapsed_seconds: float = Field(ge=0)
    time_limit_seconds: float = Field(gt=0)
    complete: bool
    """False where a time limit ended the measuring before every budget was decided."""
    details: dict[str, Any] = {}


class Measurement(Recorded):
    """What weighing one artifact gave on one device."""

    schema_version: int = SCHEMA_VERSION
    model: str | None = None
    recipe: str | None = None
    target: str = DEFAULT_TARGET
    """The runtime that ran both files."""
    baseline: Weighed
    candidate: Weighed
    device: Device
    data: Digest
    """Of the evaluation set."""
    examples: int = Field(ge=0)
    """How many count: each distinct input of the evaluation set once."""
    protocol: Protocol
    comparisons: list[Comparison]
    missing: dict[str, str] = {}
    """References that a budget names and that are missing, with the reason, e.g. `stable`."""
    faults: list[str] = []
    """What went wrong while measuring: crashes, time-outs, outputs that are not numbers. Any fault is an error."""

    def key(self) -> str:
        """64 hex digits over what it is about: both files, the data, the device as their runtime meets it, and how they
        were measured. Measurements with one key are one measurement that goes on.
        """
        details = self.protocol.details
        return question(
            baseline=self.baseline.digest,
            candidate=self.candidate.digest,
            data=self.data,
            device=[self.device.for_target(self.target).fingerprint, self.device.name],
            target=self.target,
            protocol=[
                details.get("protocol"), self.protocol.threads, self.protocol.batch_size, details.get("task"),
                details.get("inputs", {}),
            ],
        )  # fmt: skip


def question(**about: Any) -> str:
    """The key of a measurement that is about this."""
    return sha256_bytes(canonical_json(about)).removeprefix("sha256:")


RUN_VARIABLE = "WEIGHBRIDGE_RUN"
"""Environment variable with the id of the run that measures."""
SHARED_VARIABLE = "WEIGHBRIDGE_SHARED_MEASUREMENTS"
"""Environment variable by which `ci gate` says that the DVC remote may be asked for measurements."""
UNKNOWN_RUN = {"run": "", "by": "an unknown run", "at": "an unknown time"}


def recorded_runs(measurement: Measurement) -> list[dict[str, str]]:
    """The runs that a measurement says it was taken in, oldest first, each with `run`, `by` and `at`; empty where it
    names none. An entry that cannot be read is an unknown run.
    """
    said = measurement.protocol.details.get("runs")
    return [_run(item) for item in said] if isinstance(said, list) else []


def _run(item: Any) -> dict[str, str]:
    known = item if isinstance(item, dict) else {}
    return {key: str(known.get(key) or unknown)[:200] for key, unknown in UNKNOWN_RUN.items()}
