"""The documents that travel between rooms, as pydantic models with a `schema_version`.

- `base`: `Written` (by people: unknown keys are refused) and `Recorded` (by programs: unknown keys are kept)
- `params`: `params.yaml`, with recipes and budgets; `model_section`, `weighing_section`, `policy_section`,
  `search_section`: its parts
- `manifest`: what `compress` says of an artifact
- `devices`: where artifacts are weighed, and the candidates that targets and devices make of a recipe
- `device`: the machine that an artifact was weighed on
- `measurement`: the evidence that `gate` took from two artifacts
- `task`, `inputs`: what quality means for a model, and how it is fed
- `stable_version`: what the registry serves now
- `refusal`: why a recipe was not built or not weighed
- `verdict`: what the budgets say of that evidence
"""

from weighbridge.core.documents.base import SCHEMA_VERSION, Digest, Recorded, Written, load, parse
from weighbridge.core.documents.budgets import Budget, BudgetFile
from weighbridge.core.documents.device import Device
from weighbridge.core.documents.devices import (
    LOCAL,
    Candidate,
    DeviceSection,
    baseline_folder,
    built_folder,
    recipe_folder,
)
from weighbridge.core.documents.inputs import InputSection
from weighbridge.core.documents.manifest import ArtifactFile, Manifest, Sizes, StepRecord
from weighbridge.core.documents.measurement import (
    Absent,
    Comparison,
    Continued,
    Controls,
    Evidence,
    Exact,
    Flip,
    Launches,
    Measurement,
    Proportions,
    Protocol,
    Resampled,
    Scored,
    Weighed,
    Worsened,
)
from weighbridge.core.documents.model_section import DataSection, ModelSection, TrainSection
from weighbridge.core.documents.params import Params, RecipeSection
from weighbridge.core.documents.policy_section import PolicySection
from weighbridge.core.documents.refusal import REFUSAL, Refusal, find_refusal
from weighbridge.core.documents.search_section import SearchSection
from weighbridge.core.documents.stable_version import STABLE, Stable, StableFile
from weighbridge.core.documents.task import TaskSection
from weighbridge.core.documents.verdict import (
    BasisItem,
    BudgetVerdict,
    GateVerdict,
    PolicyChange,
    Portability,
    RecipeVerdict,
    Refused,
    Verdict,
    WaiverUse,
    worst,
)
from weighbridge.core.documents.weighing_section import Weighing
from weighbridge.core.facts.metrics import METRICS, Metric
from weighbridge.core.facts.quantities import parse_quantity

__all__ = [
    "LOCAL",
    "METRICS",
    "REFUSAL",
    "SCHEMA_VERSION",
    "STABLE",
    "Absent",
    "ArtifactFile",
    "BasisItem",
    "Budget",
    "BudgetFile",
    "BudgetVerdict",
    "Candidate",
    "Comparison",
    "Continued",
    "Controls",
    "DataSection",
    "Device",
    "DeviceSection",
    "Digest",
    "Evidence",
    "Exact",
    "Flip",
    "GateVerdict",
    "InputSection",
    "Launches",
    "Manifest",
    "Measurement",
    "Metric",
    "ModelSection",
    "Params",
    "PolicyChange",
    "PolicySection",
    "Portability",
    "Proportions",
    "Protocol",
    "RecipeSection",
    "RecipeVerdict",
    "Recorded",
    "Refusal",
    "Refused",
    "Resampled",
    "Scored",
    "SearchSection",
    "Sizes",
    "Stable",
    "StableFile",
    "StepRecord",
    "TaskSection",
    "TrainSection",
    "Verdict",
    "WaiverUse",
    "Weighed",
    "Weighing",
    "Worsened",
    "Written",
    "baseline_folder",
    "built_folder",
    "find_refusal",
    "load",
    "parse",
    "parse_quantity",
    "recipe_folder",
    "worst",
]
