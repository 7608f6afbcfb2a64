"""Policy: the budgets of a change against those of its merge base.

Nobody lowers the bar and jumps over it in one commit.
Pure: the caller reads the merge base's `params.yaml` from Git.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weighbridge.core.documents import (
    Budget,
    DeviceSection,
    InputSection,
    Params,
    PolicyChange,
    PolicySection,
    RecipeSection,
    TaskSection,
    Weighing,
    parse,
)
from weighbridge.core.documents.custom_ops import CustomOps
from weighbridge.core.documents.shared_budgets import overridden
from weighbridge.core.facts.budget_rules import BUDGET_RULES
from weighbridge.core.facts.metrics import METRICS
from weighbridge.core.facts.policy_changes import CHANGE_KINDS
from weighbridge.core.facts.quantities import is_plain
from weighbridge.core.files import canonical_json, sha256_bytes
from weighbridge.core.project import without_anchors
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.gate.verdict.budget_changes import REMOVED, changes, of_recipe
from weighbridge.gate.verdict.pipeline_changes import input_changes, library_changes, setting_changes, task_changes

ADVISORY = "advisory"


@dataclass(frozen=True)
class Policy:
    """What a revision asks of its recipes."""

    budgets: tuple[Budget, ...]
    recipes: Mapping[str, RecipeSection]
    devices: Mapping[str, DeviceSection] = field(default_factory=dict)
    rules: PolicySection = field(default_factory=PolicySection)
    """What a change of all this costs."""
    weighing: Weighing = field(default_factory=Weighing)
    task: TaskSection | None = None
    inputs: Mapping[str, InputSection] = field(default_factory=dict)
    custom_ops: tuple[CustomOps, ...] = ()

    @classmethod
    def of(cls, params: Params) -> Policy:
        """The policy that a params file states."""
        return cls(
            tuple(params.budgets),
            params.recipes,
            params.devices,
            params.policy,
            params.weighing,
            params.task,
            params.inputs,
            tuple(params.custom_ops),
        )

    @classmethod
    def parse(cls, text: str, where: str) -> Policy:
        """The policy in the text of a params file; an `InputError` that names `where` if it is not one."""
        content = parse_yaml(text, where)
        if isinstance(content, dict):
            content = without_anchors(content)
            if "budgets" in content:
                content = {**content, "budgets": _with_units(content["budgets"])}
            weighing = content.get("weighing")
            if isinstance(weighing, dict) and is_plain(limit := weighing.get("time_limit")):
                content = {**content, "weighing": {**weighing, "time_limit": f"{limit}s"}}
        return cls.of(parse(Params, content, where))

    def budgets_of(self, recipe: str) -> list[Budget]:
        """What a recipe's artifacts must hold; the common budgets for one that the policy does not know, or that does
        not count in it: what it had of its own bound nothing.
        """
        section = self.recipes.get(recipe)
        own = [] if section is None or section.advisory else section.budgets
        return overridden(self.budgets, own)

    def digest(self) -> str:
        """SHA-256 over the budgets, those of single recipes among them."""
        asked: list[Any] = [budget.model_dump(mode="json") for budget in self.budgets]
        for name, section in sorted(self.recipes.items()):
            asked += [{"recipe": name, **budget.model_dump(mode="json")} for budget in section.budgets]
        return sha256_bytes(canonical_json(asked))


def _with_units(budgets: Any) -> Any:
    """The same budgets with the unit that plain limits in time and bytes had: a merge base may be older than the rule
    that asks for one, and nobody can correct what is merged.
    """
    if not isinstance(budgets, list):
        return budgets
    return [_with_unit(budget) if isinstance(budget, dict) else budget for budget in budgets]


def _with_unit(budget: dict[str, Any]) -> dict[str, Any]:
    metric = METRICS.get(str(budget.get("metric")))
    suffix = None if metric is None else _BASE_UNITS.get(metric.unit)
    if suffix is None:
        return budget
    rules = [rule.name for rule in BUDGET_RULES.values() if rule.scale != "ratio"]
    plain = {name: value for name in rules if is_plain(value := budget.get(name))}
    return {**budget, **{name: f"{value}{suffix}" for name, value in plain.items()}}


_BASE_UNITS = {"bytes": "B", "seconds": "s"}


def recipe_changes(base: Mapping[str, RecipeSection], head: Mapping[str, RecipeSection]) -> list[PolicyChange]:
    """Recipes whose verdict counted in the base and does not in the head: advisory now, gone, or renamed."""
    found = []
    for name, recipe in base.items():
        if recipe.advisory:
            continue
        if name not in head:
            twin = next((other for other, section in head.items() if other not in base and section == recipe), None)
            after = f"renamed {twin}" if twin else REMOVED
            found.append(PolicyChange(kind="recipe removed", budget=f"recipe {name}", base="counts", head=after))
            continue
        if head[name].advisory:
            found.append(PolicyChange(kind="recipe advisory", budget=f"recipe {name}", base="counts", head=ADVISORY))
        found += [
            PolicyChange(kind="recipe removed", budget=f"recipe {name}/{target}", base="counts", head=REMOVED)
            for target in recipe.targets
            if target not in head[name].targets
        ]
    return found


def own_changes(base: Policy, head: Policy) -> list[PolicyChange]:
    """Every way in which a recipe's own budgets ask for less than what it was held to in the base.

    What the common budgets lost alike is theirs, and not named twice.
    """
    common = {(change.kind, change.budget, change.base, change.head) for change in changes(base.budgets, head.budgets)}
    found = []
    for name, section in head.recipes.items():
        before = base.recipes.get(name)
        if section.advisory or not (section.budgets or (before is not None and before.budgets)):
            continue
        whole = changes(base.budgets_of(name), head.budgets_of(name))
        own = [item for item in whole if (item.kind, item.budget, item.base, item.head) not in common]
        found += [item.model_copy(update={"budget": of_recipe(item.budget, name)}) for item in own]
    return found


def rule_changes(base: PolicySection, head: PolicySection) -> list[PolicyChange]:
    """Kinds of change that needed a waiver and are only told now, and waivers that may run longer."""
    found = []
    for kind in CHANGE_KINDS:
        before, after = base.reaction(kind), head.reaction(kind)
        if (before, after) == ("require-waiver", "tell"):
            found.append(PolicyChange(kind="policy", budget=f"policy.on_change.{kind}", base=before, head=after))
    if head.waiver_days > base.waiver_days:
        days = (f"{base.waiver_days} days", f"{head.waiver_days} days")
        found.append(PolicyChange(kind="policy", budget="policy.waiver_days", base=days[0], head=days[1]))
    return found


def under_rules(changed: Sequence[PolicyChange], rules: PolicySection) -> list[PolicyChange]:
    """The same changes, each with whether the merge base's policy asks for a waiver."""
    return [
        change.model_copy(update={"needs_waiver": rules.reaction(change.kind) == "require-waiver"})
        for change in changed
    ]


def device_changes(base: Mapping[str, DeviceSection], head: Mapping[str, DeviceSection]) -> list[PolicyChange]:
    """Devices of the base that are gone, or that are described otherwise: another machine may let through what this
    one would not, and a harness may say anything. New devices only ask for more.
    """
    found = []
    for name, section in base.items():
        other = head.get(name)
        if other != section:
            kind = "removed" if other is None else "device"
            after = REMOVED if other is None else _described(other)
            found.append(PolicyChange(kind=kind, budget=f"device {name}", base=_described(section), head=after))
    return found


def _described(section: DeviceSection) -> str:
    given = section.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{key} {value}" for key, value in given.items()) or "this machine"


def policy_changes(base: Policy, head: Policy) -> list[PolicyChange]:
    """Everything in which `head` asks for less than `base`, with what the base's policy says of it."""
    found = [
        *changes(base.budgets, head.budgets),
        *own_changes(base, head),
        *recipe_changes(base.recipes, head.recipes),
        *device_changes(base.devices, head.devices),
        *rule_changes(base.rules, head.rules),
        *setting_changes(base.weighing, head.weighing),
        *task_changes(base.task, head.task),
        *input_changes(base.inputs, head.inputs),
        *library_changes(base.custom_ops, head.custom_ops),
    ]
    return under_rules(found, base.rules)
