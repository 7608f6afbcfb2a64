"""Policy: the budgets of a change against those of its merge base.

Nobody lowers the bar and jumps over it in one commit.
Pure: the caller reads the merge base's `params.yaml` from Git.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weighbridge.core.documents import (
    Budget,
    DeviceSection,
    InputSection,
    Measurement,
    Params,
    PolicyChange,
    PolicySection,
    RecipeSection,
    TaskSection,
    Verdict,
    Weighing,
    parse,
)
from weighbridge.core.facts.budget_rules import BUDGET_RULES
from weighbridge.core.facts.metrics import METRICS, is_plain
from weighbridge.core.facts.policy_changes import CHANGE_KINDS
from weighbridge.core.files import canonical_json, sha256_bytes
from weighbridge.core.formatting import quantity
from weighbridge.core.project import without_anchors
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.gate.verdict.judge import judge, name_of
from weighbridge.gate.verdict.pipeline_changes import input_changes, setting_changes, task_changes
from weighbridge.gate.verdict.reasons import shown_unit

REMOVED = "removed"
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

    def digest(self) -> str:
        """SHA-256 over the budgets."""
        return sha256_bytes(canonical_json([budget.model_dump(mode="json") for budget in self.budgets]))


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


def changes(base: Sequence[Budget], head: Sequence[Budget]) -> list[PolicyChange]:
    """Every way in which `head` asks for less than `base`; tightened, added and reordered budgets are none.

    A required budget of the base is kept where some budget of the head asks at least as much on the same metric, rule
    and reference. Budgets that were not required bound nothing, so changing them loosens nothing.
    """
    found: list[PolicyChange] = []
    for budget in base:
        if not budget.required or any(not _differences(budget, other) for other in _alike(budget, head)):
            continue
        candidates = _alike(budget, head)
        if not candidates:
            found.append(PolicyChange(kind="removed", budget=name_of(budget), base=stated(budget), head=REMOVED))
            continue
        closest = min(candidates, key=lambda other: len(_differences(budget, other)))
        found += [
            PolicyChange(
                kind=kind, budget=name_of(budget), base=stated(budget), head=stated(closest), to=_TO[kind](closest)
            )
            for kind in _differences(budget, closest)
        ]
    return found


def under_base(
    changed: Sequence[PolicyChange], base: Sequence[Budget], measurements: Mapping[str, Measurement]
) -> list[PolicyChange]:
    """The same changes, each with what the base's budget says of every measurement that it applies to.

    All budgets of the base are judged together, as they were before the change.
    """
    found: dict[tuple[str, str], dict[str, Verdict]] = {}
    for name, measurement in measurements.items():
        applying = [budget for budget in base if budget.applies_to(measurement.device)]
        for budget, judged in zip(applying, judge(measurement, applying).budgets, strict=True):
            found.setdefault((name_of(budget), stated(budget)), {})[name] = judged.verdict
    return [change.model_copy(update={"under_base": found.get((change.budget, change.base), {})}) for change in changed]


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
        *recipe_changes(base.recipes, head.recipes),
        *device_changes(base.devices, head.devices),
        *rule_changes(base.rules, head.rules),
        *setting_changes(base.weighing, head.weighing),
        *task_changes(base.task, head.task),
        *input_changes(base.inputs, head.inputs),
    ]
    return under_rules(found, base.rules)


def stated(budget: Budget) -> str:
    """What a budget asks for, in one line."""
    parts = [f"{budget.rule.name} {quantity(budget.limit, shown_unit(budget), 12)}"]
    if not budget.required:
        parts.append("not required")
    if budget.mode != "population":
        parts.append(f"mode {budget.mode}")
    if budget.device is not None:
        parts.append(f"on {budget.device} alone")
    parts.append(f"resolution {quantity(budget.resolution, 'fraction')}")
    return ", ".join(parts)


def _alike(budget: Budget, head: Sequence[Budget]) -> list[Budget]:
    key = (budget.metric, budget.rule, budget.against if budget.relative else None)
    return [other for other in head if (other.metric, other.rule, other.against if other.relative else None) == key]


_WEAKER: tuple[tuple[str, Callable[[Budget, Budget], bool]], ...] = (
    (
        "loosened",
        lambda base, head: not base.rule.allows(head.limit, base.limit),
    ),
    ("advisory", lambda _, head: not head.required),
    ("resolution", lambda base, head: head.resolution > base.resolution),
    (
        "mode",
        lambda base, head: base.mode == "population" and head.mode == "exact" and base.quantity.kind == "examples",
    ),
    ("direction", lambda base, head: base.quantity.better != head.quantity.better),
    ("device", lambda base, head: head.device is not None and head.device != base.device),
)
"""In which ways a budget can ask for less. The literal table of the policy."""


_TO: Mapping[str, Callable[[Budget], str]] = {
    "loosened": lambda head: str(getattr(head, head.rule.name)),
    "advisory": lambda _: "not required",
    "resolution": lambda head: f"{head.resolution:g}",
    "mode": lambda head: head.mode,
    "direction": lambda head: head.quantity.better,
    "device": lambda head: str(head.device),
}
"""What a waiver writes under `to:` for each kind of weakening."""


def _differences(base: Budget, head: Budget) -> list[str]:
    """The kinds of weakening from one budget to another; none where the other asks at least as much."""
    return [kind for kind, weaker in _WEAKER if weaker(base, head)]
