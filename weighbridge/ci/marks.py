"""Annotations on the lines of a change that decided its verdict."""

from __future__ import annotations

from pathlib import PurePosixPath

from weighbridge.ci.annotations import Annotation, Level, line_of
from weighbridge.core.documents import (
    Budget,
    BudgetVerdict,
    GateVerdict,
    Params,
    PolicyChange,
    Portability,
    Verdict,
    WaiverUse,
)


def marks(verdict: GateVerdict, params: Params, file: str, text: str) -> list[Annotation]:
    """An annotation for every budget that did not pass, on its recipe's line, and for every change of policy."""
    found = []
    for name, recipe in verdict.recipes.items():
        line = line_of(text, "recipes", recipe.recipe or name)
        for item in recipe.budgets:
            if item.standing is not Verdict.PASS:
                level: Level = "error" if item.required and not recipe.advisory else "warning"
                limit = line_of(text, *_place(params, recipe.recipe or name, item))
                message = f"{item.reason} (the budget is on line {limit})"
                found.append(Annotation(level, file, line, f"{name}: {item.metric} {item.verdict}", message))
        if not recipe.budgets:
            found.append(Annotation("error", file, line, f"{name}: {recipe.verdict}", "no budget was judged"))
    found += [_policy_mark(item, params, file, text) for item in verdict.policy_changes]
    found += [
        _portability_mark(item, file, text)
        for item in verdict.portability
        if item.verdict in (Verdict.FAIL, Verdict.ERROR)
    ]
    found += [_waiver_mark(item, file) for item in verdict.waivers if item.expires_soon]
    return found


def _portability_mark(item: Portability, file: str, text: str) -> Annotation:
    line = line_of(text, "recipes", item.artifact.partition("/")[0])
    title = f"{item.artifact} on {item.processor}: {item.verdict}"
    return Annotation("warning" if item.advisory else "error", file, line, title, item.reason)


def _place(params: Params, recipe: str, item: BudgetVerdict) -> tuple[str | int, ...]:
    """Where in `params.yaml` the budget stands that a verdict is on: with the recipe, or among the common ones."""
    own = params.recipes[recipe].budgets if recipe in params.recipes else []
    index = _index(own, item)
    return ("recipes", recipe, "budgets", index) if index >= 0 else ("budgets", _index(params.budgets, item))


def _index(budgets: list[Budget], item: BudgetVerdict) -> int:
    for index, budget in enumerate(budgets):
        against = budget.against if budget.relative else None
        same = (budget.metric, budget.rule.name, against) == (item.metric, item.rule, item.against)
        if same and abs(budget.limit - item.limit) <= 1e-9 * max(1.0, abs(item.limit)):
            return index
    return -1


def _policy_mark(item: PolicyChange, params: Params, file: str, text: str) -> Annotation:
    waived = f"; accepted by {item.waived_by}" if item.waived_by else ""
    waived = f"; it needs a waiver in waivers/ with `to: {item.accepts}`" if item.blocks else waived
    what = item.effect or f"{item.kind}, from {item.base} to {item.head}"
    message = f"{item.budget}: {what}{waived}"
    if item.budget.startswith("device "):
        line = line_of(text, "devices", item.budget.removeprefix("device "))
    elif item.kind == "recipe advisory":
        line = line_of(text, "recipes", item.budget.removeprefix("recipe "))
    elif item.recipe is not None:
        line = line_of(text, "recipes", item.recipe, "budgets")
    else:
        metric = item.budget.partition(" ")[0]
        line = line_of(
            text, "budgets", next((i for i, budget in enumerate(params.budgets) if budget.metric == metric), -1)
        )
    return Annotation("error" if item.blocks else "notice", file, line, "policy change", message)


def _waiver_mark(use: WaiverUse, params_file: str) -> Annotation:
    """A warning on the waiver's own file, days before what it accepts fails."""
    path = (PurePosixPath(params_file).parent / use.file).as_posix()
    message = f"{use.file} holds until {use.expires}, {use.days_left} days more; what it accepts fails then"
    return Annotation("warning", path, 1, "waiver expires soon", message)


def stage_line(text: str, stage: str) -> int:
    """The line of params.yaml (from 1) that a stage of the pipeline is about."""
    kind, _, recipe = stage.partition("@")
    sections = {"prepare": "data", "train": "train", "baseline": "model", "judge": "budgets"}
    if recipe and kind not in sections:
        return line_of(text, "recipes", recipe)
    return line_of(text, sections.get(kind, "model"))
