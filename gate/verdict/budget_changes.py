"""In which ways a change of budgets asks for less, in words, and what the old limits say of today's bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from weighbridge.core.documents import Budget, Measurement, PolicyChange, Verdict
from weighbridge.core.documents.verdict import OF_RECIPE
from weighbridge.core.formatting import quantity
from weighbridge.gate.verdict.judge import judge, name_of
from weighbridge.gate.verdict.reasons import shown_unit

REMOVED = "removed"


def of_recipe(budget: str, recipe: str) -> str:
    """The name of a budget of one recipe alone."""
    return f"{budget}{OF_RECIPE}{recipe}"


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
    changed: Sequence[PolicyChange],
    base: Sequence[Budget],
    measurements: Mapping[str, Measurement],
    own: Mapping[str, Sequence[Budget]] | None = None,
) -> list[PolicyChange]:
    """The same changes, each with what the base's budget says of every measurement that it applies to.

    All budgets of the base are judged together, as they were before the change; `own` are those that the base held
    a recipe to, for changes that are `of_recipe`.
    """
    found: dict[tuple[str, str], dict[str, Verdict]] = {}
    for name, measurement in measurements.items():
        for recipe, budgets in [("", base), *_own(measurement.recipe, own or {})]:
            applying = [budget for budget in budgets if budget.applies_to(measurement.device)]
            for budget, judged in zip(applying, judge(measurement, applying).budgets, strict=True):
                called = of_recipe(name_of(budget), recipe) if recipe else name_of(budget)
                found.setdefault((called, stated(budget)), {})[name] = judged.verdict
    return [change.model_copy(update={"under_base": found.get((change.budget, change.base), {})}) for change in changed]


def _own(recipe: str | None, own: Mapping[str, Sequence[Budget]]) -> list[tuple[str, Sequence[Budget]]]:
    return [] if recipe is None or recipe not in own else [(recipe, own[recipe])]


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
