"""`params.yaml`, the one file that people edit: model, data, training, recipes, weighing and budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from weighbridge.core.documents.base import Written, parse
from weighbridge.core.documents.budgets import Budget, BudgetFile
from weighbridge.core.documents.custom_ops import CustomOps
from weighbridge.core.documents.devices import LOCAL, Candidate, DeviceSection
from weighbridge.core.documents.inputs import InputSection
from weighbridge.core.documents.model_section import DataSection, ModelSection, Name, TrainSection
from weighbridge.core.documents.policy_section import PolicySection
from weighbridge.core.documents.search_section import SearchSection
from weighbridge.core.documents.shared_budgets import content_of, overridden
from weighbridge.core.documents.task import TaskSection
from weighbridge.core.documents.weighing_section import Weighing, with_units
from weighbridge.core.facts.targets import DEFAULT_TARGET, TargetName
from weighbridge.core.files import read_yaml


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
    custom_ops: list[CustomOps] = []
    """Libraries of custom operators that onnxruntime may load to build and to weigh, by their digests."""
    targets: list[TargetName] = Field(default=[DEFAULT_TARGET], min_length=1)
    """The runtimes that the baseline is built for; a recipe's `target` is among them."""
    recipes: dict[Name, RecipeSection] = Field(min_length=1)
    devices: dict[Name, DeviceSection] = Field(default={LOCAL: DeviceSection()}, min_length=1)
    """Where artifacts are weighed; `local` is this machine."""
    weighing: Annotated[Weighing, BeforeValidator(with_units)] = Weighing()
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
        for key in ("inputs", "custom_ops"):
            if getattr(self, key) and self.targets != [DEFAULT_TARGET]:
                raise ValueError(f"{key!r} are for the target onnxruntime alone: name no other under 'targets'")
        free = next((name for name, section in self.inputs.items() if section.free_axes), None)
        if free is not None and self.model.onnx is not None:
            raise ValueError(f"'inputs.{free}.free_axes' is for a module: an ONNX file has its own open axes")
        for name, recipe in self.recipes.items():
            missing = [target for target in recipe.targets if target not in self.targets]
            if missing:
                raise ValueError(f"the target {missing[0]!r} of recipe {name!r} is not among 'targets': add it there")
            if not self.candidates(name):
                raise ValueError(f"no device weighs recipe {name!r}: each names other 'targets'")
        if LOCAL in self.devices and not self.devices[LOCAL].here:
            raise ValueError(f"the device {LOCAL!r} is this machine: it has no 'address' and no 'command'")
        return self

    @model_validator(mode="after")
    def _rows_of_files(self) -> Self:
        rows = next((name for name, section in self.inputs.items() if section.rows), None)
        if rows is not None and self.model.onnx is None:
            raise ValueError(f"'inputs.{rows}.rows' is for an ONNX file: a module takes (n, rows, …) as it is")
        return self

    def candidates(self, recipe: str | None = None) -> list[Candidate]:
        """What is weighed and judged, of one recipe or of all, by recipe, target and device as they are written."""
        chosen = self.recipes
        if recipe is not None:
            chosen = {recipe: self.recipes[recipe]} if recipe in self.recipes else {}
        return [
            Candidate(name, target, device, _candidate_name(name, section, target, device))
            for name, section in chosen.items()
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


def read_budgets(path: Path) -> list[Budget]:
    """The budgets of a file: a `budgets:` list, alone or within a whole `params.yaml`."""
    content = read_yaml(path)
    if isinstance(content, list):
        content = {"budgets": content}
    if isinstance(content, dict) and "model" in content:
        return Params.read(path).budgets
    return parse(BudgetFile, content, str(path)).budgets
