"""The registry's documents: a version's record and the channels of a model; `events` has its history.

All are written by this program only. A newer program's unknown keys are kept (they are under a digest).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from weighbridge.core.documents.base import Digest, Recorded
from weighbridge.core.documents.device import Device
from weighbridge.core.documents.manifest import without_absent_weights
from weighbridge.core.documents.verdict import BudgetVerdict, Verdict
from weighbridge.registry.state.layout import MODEL_NAME, VERSION_NAME, safe_relative, state_digest

SCHEMA_VERSION = 1
LATEST_SCHEMA = 2
"""Of a model's channels and events since `registry migrate`: every version's evidence is kept, or said to be lost."""
NO_EVENT = "sha256:" + 64 * "0"
"""What the first event names as the one before it."""


def _safe(path: str) -> str:
    if not safe_relative(path):
        raise ValueError("expected a path that stays within the project")
    return path


Version = Annotated[str, Field(pattern=f"^(?:{VERSION_NAME.pattern})$", description="`v7`, or `b1` for a baseline")]
ModelName = Annotated[str, Field(pattern=f"^(?:{MODEL_NAME.pattern})$")]
SafePath = Annotated[str, AfterValidator(_safe)]
Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC, to the second")]
Weight = Annotated[float, Field(gt=0, le=100, description="Per cent of the traffic")]


class StoredWeights(Recorded):
    """Weights of a model over 2 GiB, in a file of their own."""

    path: SafePath
    digest: Digest
    bytes: int = Field(ge=1)
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")


class StoredArtifact(Recorded):
    """One model file: what it is, and where its bytes can be had."""

    target: str
    path: SafePath
    """Relative to the project's root, at the record's commit."""
    digest: Digest
    bytes: int = Field(ge=1)
    gzip: int | None = Field(default=None, ge=0)
    """None of a large file: it would take minutes."""
    zstd: int | None = Field(default=None, ge=0)
    params: int = Field(ge=0)
    macs: int = Field(ge=0)
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    """The name of the bytes in DVC's cache and remotes. Never used to decide what they are."""
    manifest: Digest
    """Of the manifest's file."""
    requires: list[str] = []
    """What a processor must have to answer as this artifact was made to, such as `vnni`."""
    weights: StoredWeights | None = None
    """What else belongs to the artifact. The file named above says this one's digest."""

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent_weights(handler(self))


class Estimate(Recorded):
    """A metric of the artifact itself, in base units, with its 95 % interval where it has noise."""

    value: float
    lower: float
    upper: float
    unit: str
    baseline: float | None = None
    """The baseline's value in the same measurement."""


class VersionOf(Recorded):
    """An artifact by digest, and the version that it has in this registry, if any."""

    version: Version | None = None
    digest: Digest


class Judgement(Recorded):
    """The gate's verdict that let this version in."""

    verdict: Verdict
    digest: Digest
    """Of the recipe's verdict (canonical JSON)."""
    file: Digest
    """Of the bytes of `reports/verdict.json`."""
    policy: Digest
    """Of the budgets as they were judged."""
    measurement: Digest
    device: str
    """Device class."""
    budgets: list[BudgetVerdict]


class VersionRecord(Recorded):
    """What a version is. Written once."""

    schema_version: int = SCHEMA_VERSION
    model: ModelName
    version: Version
    kind: Literal["compressed", "baseline"]
    event: int = Field(ge=1)
    """The event that recorded it."""
    at: Timestamp
    by: str
    artifacts: list[StoredArtifact] = Field(min_length=1)
    recipe_name: str
    recipe: dict[str, Any]
    """Verbatim from `params.yaml`; empty for a baseline."""
    metrics: dict[str, Estimate]
    verdict: Judgement | None
    """None for a baseline: it is what others are judged against."""
    others: dict[str, Judgement] = {}
    """Verdicts on further targets and devices, by candidate; `metrics` and `verdict` are the first one's."""
    baseline: VersionOf | None
    teacher: VersionOf | None = None
    commit: str = Field(pattern=r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")
    """The commit of params, code and lock file that the artifact was made from."""
    dvc_lock: Digest
    params: Digest
    """Of the bytes of `params.yaml`."""
    data: Digest
    code: Digest
    seed: int
    device: Device | None
    environment: dict[str, str]
    """Versions of Python and libraries that made the artifact."""
    licence: str | None = None
    notes: str = ""
    evidence: dict[SafePath, Digest] = {}
    """Files kept under `evidence/<version>/`, such as `verdict.json`, by name, each with the digest of its bytes; none
    of versions that are older than this field."""

    @property
    def verdicts(self) -> dict[str, Judgement]:
        """All verdicts that let this version in, the one that it leads with first; none of a baseline."""
        first = f"{self.recipe_name}/{self.artifacts[0].target}" if len(self.artifacts) > 1 else self.recipe_name
        return {first: self.verdict, **self.others} if self.verdict is not None else {}

    @property
    def artifact_names(self) -> dict[str, StoredArtifact]:
        """The artifacts by what a page calls them: `artifact`, or with the target where there are several."""
        several = len(self.artifacts) > 1
        return {f"artifact for {item.target}" if several else "artifact": item for item in self.artifacts}


class Pointer(Recorded):
    """A version by name and digests."""

    version: Version
    digest: Digest
    """Of the artifact's bytes."""
    record: Digest
    """Of the record's file."""


class Placed(Pointer):
    """Where a channel points, since which event."""

    event: int = Field(ge=1)
    since: Timestamp


CANARY_STEPS = (5.0, 25.0, 50.0, 100.0)
"""Per cent of the traffic, unless a policy or a command says otherwise."""
CANARY_SAMPLES = 1000
CANARY_SECONDS = 600.0


class CanaryPlan(Recorded):
    """How a canary grows, and what must be seen on each step."""

    steps: list[Weight] = Field(default=list(CANARY_STEPS), min_length=1)
    min_samples: int = Field(default=CANARY_SAMPLES, ge=1)
    """Requests that the canary must have answered on a step before it can advance."""
    min_seconds: float = Field(default=CANARY_SECONDS, ge=0)
    """Time on a step before it can advance."""
    budgets: list[dict[str, Any]] = []
    """Online budgets, as `registry.policy.yaml` writes them."""


class Canary(Placed):
    """A version that takes part of the traffic."""

    weight: Weight
    step: int = Field(ge=0)
    """Index into the plan's steps."""
    step_since: Timestamp
    plan: CanaryPlan


class Held(Recorded):
    """Why a stable version is under suspicion: its watch raised an alarm that calls for caution."""

    version: Version
    event: int = Field(ge=1)
    """The alarm."""
    reason: str


class Head(Recorded):
    """The last event."""

    event: int = Field(ge=1)
    digest: Digest


class Channels(Recorded):
    """What serves now: the fold of all events. The only file of a model that ever changes."""

    latest_schema: ClassVar[int] = LATEST_SCHEMA
    schema_version: int = SCHEMA_VERSION
    model: ModelName
    head: Head | None = None
    """None only while a change is being computed."""
    versions: int = Field(default=0, ge=0)
    """How many versions there are: v1 … vN."""
    baselines: int = Field(default=0, ge=0)
    stable: Placed | None = None
    canary: Canary | None = None
    baseline: Placed | None = None
    quarantined: dict[Version, Digest] = {}
    """Versions that must not serve again, with their artifact's digest."""
    deprecated: dict[Version, str] = {}
    """Versions that should not be taken any more, with the reason."""
    held: Held | None = None
    """An alarm that stands, until another version is stable. It is shown; it stops no canary yet."""

    def to_json(self) -> dict[str, Any]:
        """The channels as JSON values. What is None is left out, so that a later optional field changes no old byte."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def next_event(self) -> int:
        """Number of the event that a change adds."""
        return self.head.event + 1 if self.head else 1

    def digest(self) -> str:
        """Digest of the state, without the pointer to the last event."""
        return state_digest(self.to_json())
