"""`params.yaml`, the one file that people edit: model, data, training, recipes, weighing and budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from weighbridge.core.documents.base import Written, load, parse
from weighbridge.core.documents.device import Device
from weighbridge.core.documents.devices import LOCAL, Candidate, DeviceSection
from weighbridge.core.errors import InputError
from weighbridge.core.facts.budget_rules import BUDGET_RULES, BudgetRule
from weighbridge.core.facts.metrics import Metric, find_metric, parse_quantity
from weighbridge.core.facts.policy_changes import Reaction, find_change_kind
from weighbridge.core.facts.targets import DEFAULT_TARGET, TargetName
from weighbridge.core.files import read_yaml
from weighbridge.core.project import without_anchors


def _importable(value: str) -> str:
    module, _, name = value.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError("expected 'package.module:callable'")
    return value


def _slug(value: str) -> str:
    if not value or not value[0].isalnum() or not all(c.isalnum() or c in "-_" for c in value) or not value.isascii():
        raise ValueError("expected letters, digits, '-' and '_', starting with a letter or digit")
    return value


Factory = Annotated[str, AfterValidator(_importable), Field(description="`package.module:callable`")]
Name = Annotated[str, Field(max_length=64), AfterValidator(_slug)]


class ModelSection(Written):
    """What is versioned here."""

    name: Name
    """The model's name in the registry."""
    factory: Factory | None = None
    """A callable without arguments that returns a `torch.nn.Module` with fresh weights."""
    weights: str | None = None
    """Path of trained weights for `factory`: safetensors, or a state_dict that torch loads with `weights_only`."""
    onnx: str | None = None
    """Path of a finished ONNX file, instead of `factory`: recipes of lowering steps accept it as the baseline."""
    licence: str | None = None
    """SPDX identifier, copied into the registry's records."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.factory is None) == (self.onnx is None):
            raise ValueError("expected exactly one of 'factory' and 'onnx'")
        if self.weights is not None and self.factory is None:
            raise ValueError("'weights' belong to a 'factory'; an ONNX file has its own")
        return self


class DataSection(Written):
    """Where examples come from."""

    factory: Factory
    """A callable without arguments that returns a `weighbridge.data.Data`."""


class TrainSection(Written):
    """How the baseline is trained. Fine-tuning inside recipes takes what it does not set from here.

    `train: none` stands for `{epochs: 0}`.
    """

    epochs: int = Field(default=8, ge=0, le=10_000)
    """Passes over the training split; 0: the model is trained already, and its weights are the baseline."""
    batch_size: int = Field(default=128, ge=1)
    lr: float = Field(default=1e-3, gt=0, lt=10)
    """Peak learning rate of the one-cycle schedule (Adam)."""
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    seed: int = Field(default=7, ge=0, lt=2**31)
    loss: Literal["cross_entropy", "mse"] | Factory = "cross_entropy"
    """Or `module:callable`, a function of (outputs, labels) that gives a scalar; outputs are a tensor (n, …), or a
    tuple of them where the model has several."""
    augment: Factory | None = None
    """A function of (inputs by name, labels, generator) that gives both again: called on every training batch."""
    loop: Factory | None = None
    """A function of one argument, a `weighbridge.compress.training.user_loop.Training`, instead of our own loop."""

    @model_validator(mode="before")
    @classmethod
    def _none(cls, values: Any) -> Any:
        return {"epochs": 0} if values == "none" else values

    @property
    def own_loss(self) -> bool:
        """Whether `loss` names a function of the user's."""
        return ":" in self.loss


class RecipeSection(Written):
    """An ordered list of techniques with their parameters; `weighbridge.compress.recipe.recipe` validates the steps."""

    target: TargetName | Annotated[list[TargetName], Field(min_length=1)] = DEFAULT_TARGET
    """The runtime that the artifact is built for; several as a list: module steps run once for all of them."""
    steps: list[dict[str, Any]] = Field(min_length=1)
    """Each item is `technique: {parameters}`."""
    advisory: bool = False
    """Weighed and shown, but the verdict over all recipes does not depend on it."""

    @model_validator(mode="after")
    def _targets_once(self) -> Self:
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("'target' names one runtime twice")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """The runtimes that artifacts are built for, in order."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)


class Weighing(Written):
    """How long and how often the gate measures."""

    time_limit: Annotated[
        float,
        Field(gt=0, le=86_400),
        WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 86_400}, {"type": "string"}]}),
    ] = 60.0
    """Seconds for the noisy metrics of one recipe; `60s` and `2min` are read too."""
    launches: int = Field(default=54, ge=1, le=1000)
    """Launch pairs at most."""
    threads: int = Field(default=1, ge=1, le=256)
    batch_size: int = Field(default=1, ge=1)
    """Examples in one timed inference."""
    throughput_batch_size: int = Field(default=32, ge=1)
    """Examples in one inference of the closed throughput loop."""
    seed: int = Field(default=11, ge=0, lt=2**31)

    @model_validator(mode="before")
    @classmethod
    def _durations(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("time_limit"), str):
            return {**values, "time_limit": parse_quantity(values["time_limit"], "seconds")}
        return values


class Budget(Written):
    """A declared limit on one metric, absolute (`max`, `min`) or relative to `baseline` or `stable`."""

    metric: str
    max: float | str | None = None
    """Largest value allowed; times and bytes with their unit (`200kB`, `5ms`)."""
    min: float | str | None = None
    """Smallest value allowed."""
    max_ratio: float | None = Field(default=None, gt=0)
    """Largest candidate / reference allowed."""
    min_ratio: float | None = Field(default=None, gt=0)
    """Smallest candidate / reference allowed."""
    max_drop: float | str | None = None
    """Largest reference - candidate allowed, in the metric's unit (metrics where higher is better)."""
    against: Literal["baseline", "stable"] = "baseline"
    """What relative limits refer to: the uncompressed artifact, or what the registry serves now."""
    required: bool = True
    """A budget that is not required is judged and shown, but the verdict does not depend on it."""
    resolution: float = Field(default=0.05, gt=0, lt=1)
    """Smallest relative excess beyond the limit that the gate promises to find."""
    mode: Literal["population", "exact"] = "population"
    """For accuracy: about all such examples (an interval), or about this very data set (a count)."""
    device: str | None = None
    """Judge this budget on devices of this class or name alone."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        try:
            metric = find_metric(self.metric)
        except InputError as error:
            raise ValueError(str(error)) from error
        given = [name for name in BUDGET_RULES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(BUDGET_RULES)}; found {', '.join(given) or 'none'}")
        rule = BUDGET_RULES[given[0]]
        value = parse_quantity(getattr(self, rule.name), rule.written_unit(metric.unit), needs_unit=True)
        if rule.scale == "drop" and metric.better == "lower":
            raise ValueError(f"{rule.name} needs a metric where higher is better; {self.metric} is not: use max_ratio")
        if metric.unit == "fraction" and not 0 <= value <= 1 and rule.scale != "ratio":
            raise ValueError(f"{rule.name} of {self.metric} is a fraction from 0 to 1")
        if value < 0:
            raise ValueError(f"{rule.name} cannot be negative")
        if "against" in self.model_fields_set and not self.relative and self.against == "stable":
            relative = [item.name for item in BUDGET_RULES.values() if item.relative]
            raise ValueError(f"'against: stable' needs a relative limit: {', '.join(relative[:-1])} or {relative[-1]}")
        return self

    def applies_to(self, device: Device) -> bool:
        """Whether the budget is judged on that device: it names no device, or this one's class or name."""
        return self.device in (None, device.device_class, device.name)

    @property
    def quantity(self) -> Metric:
        """The metric that the budget limits."""
        return find_metric(self.metric)

    @property
    def rule(self) -> BudgetRule:
        """Which limit it is."""
        return next(rule for name, rule in BUDGET_RULES.items() if getattr(self, name) is not None)

    @property
    def relative(self) -> bool:
        """Whether the limit refers to another artifact."""
        return self.rule.relative

    @property
    def limit(self) -> float:
        """The limit as a number: in the metric's base unit, or a ratio."""
        value: float | str = getattr(self, self.rule.name)
        return parse_quantity(value, self.rule.written_unit(self.quantity.unit))


class PolicySection(Written):
    """What a change of the rules costs. Read from the merge base, so that no change decides on itself."""

    on_change: dict[str, Reaction] = {}
    """By kind of policy change (see `weighbridge.core.facts.policy_changes`): `tell` or `require-waiver`."""
    waiver_days: int = Field(default=90, ge=1, le=3650)
    """Days from today that a waiver may run at most."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for kind in self.on_change:
            try:
                find_change_kind(kind)
            except InputError as error:
                raise ValueError(str(error)) from error
        return self

    def reaction(self, kind: str) -> Reaction:
        """What a change of that kind costs; the table's default where the policy says nothing."""
        return self.on_change.get(kind, find_change_kind(kind).default)


class BudgetFile(Written):
    """A file with the list under `budgets:` alone, as `weighbridge weigh --budgets` takes it."""

    budgets: list[Budget] = Field(min_length=1)


class Params(Written):
    """The whole of `params.yaml`."""

    schema_version: Literal[1] = 1
    model: ModelSection
    data: DataSection
    train: TrainSection = TrainSection()
    targets: list[TargetName] = Field(default=[DEFAULT_TARGET], min_length=1)
    """The runtimes that the baseline is built for; a recipe's `target` is among them."""
    recipes: dict[Name, RecipeSection] = Field(min_length=1)
    devices: dict[Name, DeviceSection] = Field(default={LOCAL: DeviceSection()}, min_length=1)
    """Where artifacts are weighed; `local` is this machine."""
    weighing: Weighing = Weighing()
    policy: PolicySection = PolicySection()
    budgets: list[Budget] = Field(min_length=1)

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("'targets' names one runtime twice")
        if self.model.onnx is not None and self.targets != [DEFAULT_TARGET]:
            raise ValueError("a model given as an ONNX file has onnxruntime as its only target")
        for name, recipe in self.recipes.items():
            missing = [target for target in recipe.targets if target not in self.targets]
            if missing:
                raise ValueError(f"the target {missing[0]!r} of recipe {name!r} is not among 'targets': add it there")
            if not self.candidates(name):
                raise ValueError(f"no device weighs recipe {name!r}: each names other 'targets'")
        if LOCAL in self.devices and not self.devices[LOCAL].here:
            raise ValueError(f"the device {LOCAL!r} is this machine: it has no 'address' and no 'command'")
        return self

    def candidates(self, recipe: str | None = None) -> list[Candidate]:
        """What is weighed and judged, of one recipe or of all, by recipe, target and device as they are written."""
        return [
            Candidate(name, target, device, _candidate_name(name, section, target, device))
            for name, section in self.recipes.items()
            if recipe in (None, name)
            for target in section.targets
            for device, place in self.devices.items()
            if place.targets is None or target in place.targets
        ]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate a params file. Keys that start with `x-` at top level (YAML anchors) are left out."""
        content = read_yaml(path)
        if isinstance(content, dict):
            content = without_anchors(content)
        return parse(cls, content, str(path))


def _candidate_name(recipe: str, section: RecipeSection, target: str, device: str) -> str:
    named = recipe if len(section.targets) == 1 else f"{recipe}/{target}"
    return named if device == LOCAL else f"{named}@{device}"


def read_budgets(path: Path) -> list[Budget]:
    """The budgets of a file: a `budgets:` list, alone or within a whole `params.yaml`."""
    content = read_yaml(path)
    if isinstance(content, list):
        content = {"budgets": content}
    if isinstance(content, dict) and "model" in content:
        return Params.read(path).budgets
    return parse(BudgetFile, content, str(path)).budgets


__all__ = [
    "Budget",
    "BudgetFile",
    "DataSection",
    "ModelSection",
    "Params",
    "PolicySection",
    "RecipeSection",
    "TrainSection",
    "Weighing",
    "load",
    "read_budgets",
]
