"""`params.yaml`, the one file that people edit: model, data, training, recipes, weighing and budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from weighbridge.core.documents.base import Factory, Written, load, parse
from weighbridge.core.documents.budgets import Budget, BudgetFile
from weighbridge.core.documents.devices import LOCAL, Candidate, DeviceSection
from weighbridge.core.documents.inputs import InputSection
from weighbridge.core.documents.search_section import SearchSection
from weighbridge.core.documents.shared_budgets import content_of, overridden
from weighbridge.core.documents.task import TaskSection
from weighbridge.core.errors import InputError
from weighbridge.core.facts.metrics import parse_quantity, require_duration
from weighbridge.core.facts.policy_changes import Reaction, find_change_kind
from weighbridge.core.facts.targets import DEFAULT_TARGET, TargetName
from weighbridge.core.files import read_yaml


def _slug(value: str) -> str:
    if not value or not value[0].isalnum() or not all(c.isalnum() or c in "-_" for c in value) or not value.isascii():
        raise ValueError("expected letters, digits, '-' and '_', starting with a letter or digit")
    return value


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
    loss: Literal["cross_entropy", "token_cross_entropy", "binary_cross_entropy", "mse", "cosine"] | Factory = (
        "cross_entropy"
    )
    """The task's own where it is not given. `cross_entropy`: classes along axis 1 (yes and no, where there is one
    score); `token_cross_entropy`: along the last axis; labels of -100 do not count. `cosine`: 1 - cosine to the label.
    Or `module:callable`, a function of (outputs, labels) that gives a scalar; outputs are a tensor (n, …), or a
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
    budgets: list[Budget] = []
    """Of this recipe: each takes the place of a common one on the same metric, rule and reference, or is added."""

    @model_validator(mode="after")
    def _targets_once(self) -> Self:
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("'target' names one runtime twice")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """The runtimes that artifacts are built for, in order."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)


AUTO = "auto"
MOST_SECONDS = 3600.0
"""What `time_limit: auto` may take at most."""


class Weighing(Written):
    """How long and how often the gate measures."""

    time_limit: Annotated[
        Annotated[float, Field(gt=0, le=86_400)] | Literal["auto"],
        WithJsonSchema({"type": "string", "examples": ["60s", "2min", AUTO]}),
    ] = Field(default=60.0, json_schema_extra={"default": "60s"})
    """Time for the noisy metrics of one recipe, with its unit: `60s`, `2min`. `auto`: as long as a decision takes,
    an hour at most; the first launch pair says how long that will be.
    """
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
        limit = values.get("time_limit") if isinstance(values, dict) else None
        if isinstance(limit, str) and limit != AUTO:
            return {**values, "time_limit": parse_quantity(limit, "seconds")}
        return values

    @property
    def most_seconds(self) -> float:
        """The time limit as a number."""
        return MOST_SECONDS if self.time_limit == AUTO else float(self.time_limit)


def _units_given(section: Any) -> Any:
    if isinstance(section, dict):
        require_duration(section.get("time_limit"), "time_limit")
    return section


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


class Params(Written):
    """The whole of `params.yaml`."""

    schema_version: Literal[1] = 1
    model: ModelSection
    data: DataSection
    train: TrainSection = TrainSection()
    task: TaskSection | None = None
    """What quality means for the model; without it, classes or numbers as the labels are."""
    inputs: dict[str, InputSection] = {}
    """By input: how it is fed, where the model's shapes do not tell."""
    targets: list[TargetName] = Field(default=[DEFAULT_TARGET], min_length=1)
    """The runtimes that the baseline is built for; a recipe's `target` is among them."""
    recipes: dict[Name, RecipeSection] = Field(min_length=1)
    devices: dict[Name, DeviceSection] = Field(default={LOCAL: DeviceSection()}, min_length=1)
    """Where artifacts are weighed; `local` is this machine."""
    weighing: Annotated[Weighing, BeforeValidator(_units_given)] = Weighing()
    policy: PolicySection = PolicySection()
    search: SearchSection = SearchSection()
    budgets: list[Budget] = Field(min_length=1)
    """What every artifact must hold; or `{from: FILE, override: […]}`, see `SharedBudgets`."""

    @model_validator(mode="before")
    @classmethod
    def _loss_of_task(cls, values: Any) -> Any:
        """The task's loss where `train` names none."""
        if not isinstance(values, dict) or values.get("task") is None:
            return values
        task = TaskSection.model_validate(values["task"])
        loss = task.loss or task.facts.loss
        train = {"epochs": 0} if values.get("train") == "none" else values.get("train", {})
        if loss is None or not isinstance(train, dict) or "loss" in train:
            return {**values, "task": task}
        return {**values, "task": task, "train": {**train, "loss": loss}}

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("'targets' names one runtime twice")
        if self.model.onnx is not None and self.targets != [DEFAULT_TARGET]:
            raise ValueError("a model given as an ONNX file has onnxruntime as its only target")
        if self.inputs and self.targets != [DEFAULT_TARGET]:
            raise ValueError("'inputs' are for the target onnxruntime alone: name no other under 'targets'")
        for name, section in self.inputs.items():
            if section.free_axes and self.model.onnx is not None:
                raise ValueError(f"'inputs.{name}.free_axes' is for a module: an ONNX file has its own open axes")
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
        """Read and validate a params file; see `content_of`."""
        return parse(cls, content_of(path), str(path))

    def budgets_of(self, recipe: str) -> list[Budget]:
        """What a recipe's artifacts must hold: the common budgets, with its own in their place."""
        return overridden(self.budgets, self.recipes[recipe].budgets)

    @property
    def every_budget(self) -> list[Budget]:
        """The common budgets and those of single recipes."""
        return [*self.budgets, *(budget for section in self.recipes.values() for budget in section.budgets)]


def _candidate_name(recipe: str, section: RecipeSection, target: str, device: str) -> str:
    named = recipe if len(section.targets) == 1 else f"{recipe}/{target}"
    return named if device == LOCAL else f"{named}@{device}"


__all__ = [
    "Budget",
    "BudgetFile",
    "DataSection",
    "ModelSection",
    "Params",
    "PolicySection",
    "RecipeSection",
    "SearchSection",
    "TaskSection",
    "TrainSection",
    "Weighing",
    "load",
    "read_budgets",
]


def read_budgets(path: Path) -> list[Budget]:
    """The budgets of a file: a `budgets:` list, alone or within a whole `params.yaml`."""
    content = read_yaml(path)
    if isinstance(content, list):
        content = {"budgets": content}
    if isinstance(content, dict) and "model" in content:
        return Params.read(path).budgets
    return parse(BudgetFile, content, str(path)).budgets
