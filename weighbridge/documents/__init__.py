"""The documents that travel between rooms, as pydantic models with a `schema_version`.

- `base`: `Written` (by people: unknown keys are refused) and `Recorded` (by programs: unknown keys are kept)
- `metrics`: the one table of metrics, and quantities with units
- `params`: `params.yaml`: model, data, training, recipes, weighing, budgets
- `manifest`: what `compress` says of an artifact
- `device`: where an artifact was weighed
- `measurement`: the evidence that `gate` took from two artifacts
- `verdict`: what the budgets say of that evidence
"""

from weighbridge.documents.base import SCHEMA_VERSION, Digest, Recorded, Written, load, parse
from weighbridge.documents.device import Device
from weighbridge.documents.manifest import ArtifactFile, Manifest, Sizes, StepRecord
from weighbridge.documents.measurement import (
    Absent,
    Comparison,
    Controls,
    Evidence,
    Exact,
    Flip,
    Launches,
    Measurement,
    Proportions,
    Protocol,
    Resampled,
    Weighed,
)
from weighbridge.documents.metrics import METRICS, Metric, parse_quantity
from weighbridge.documents.params import (
    Budget,
    BudgetFile,
    DataSection,
    ModelSection,
    Params,
    RecipeSection,
    TrainSection,
    Weighing,
)
from weighbridge.documents.verdict import (
    BudgetVerdict,
    GateVerdict,
    PolicyChange,
    RecipeVerdict,
    Verdict,
    WaiverUse,
    worst,
)

__all__ = [
    "METRICS",
    "SCHEMA_VERSION",
    "Absent",
    "ArtifactFile",
    "Budget",
    "BudgetFile",
    "BudgetVerdict",
    "Comparison",
    "Controls",
    "DataSection",
    "Device",
    "Digest",
    "Evidence",
    "Exact",
    "Flip",
    "GateVerdict",
    "Launches",
    "Manifest",
    "Measurement",
    "Metric",
    "ModelSection",
    "Params",
    "PolicyChange",
    "Proportions",
    "Protocol",
    "RecipeSection",
    "RecipeVerdict",
    "Recorded",
    "Resampled",
    "Sizes",
    "StepRecord",
    "TrainSection",
    "Verdict",
    "WaiverUse",
    "Weighed",
    "Weighing",
    "Written",
    "load",
    "parse",
    "parse_quantity",
    "worst",
]
