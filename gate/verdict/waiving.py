"""Applying waivers to a verdict. Pure: today's date and the merge base's terms come in as arguments.

A waiver never accepts an error: what could not be measured cannot be accepted.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from weighbridge.core.documents import (
    BudgetVerdict,
    GateVerdict,
    PolicyChange,
    RecipeVerdict,
    Verdict,
    WaiverUse,
    parse_quantity,
    worst,
)
from weighbridge.core.documents.verdict import WARNING_DAYS
from weighbridge.core.errors import InputError
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.facts.metrics import find_metric
from weighbridge.core.formatting import quantity
from weighbridge.gate.verdict.judge import name_of
from weighbridge.gate.verdict.waivers import FiledWaiver, Terms, Waiver

_NO_TERMS = Terms()


@dataclass
class _Ledger:
    """What each waiver was found to match and accept, while they are applied."""

    matched: set[str] = field(default_factory=set)
    accepted: dict[str, list[str]] = field(default_factory=dict)
    short: list[str] = field(default_factory=list)
    """Sentences on waivers that name the right thing and accept less than was found."""

    def accept(self, file: str, what: str) -> None:
        self.accepted.setdefault(file, []).append(what)


def apply_waivers(
    verdict: GateVerdict,
    waivers: Sequence[FiledWaiver],
    changes: Sequence[PolicyChange],
    today: dt.date,
    terms: Terms = _NO_TERMS,
) -> GateVerdict:
    """The verdict with what waivers accept, and with what policy changes and bad waivers cost.

    A policy change that needs a waiver and has none fails the gate. A waiver that has expired, that runs longer than
    the terms allow, or that names a budget, recipe or artifact that does not exist, is an error; one that is spent, or
    whose budget needs none any more, is a note.
    """
    valid = [filed for filed in waivers if today <= filed.waiver.expires <= _last_day(today, terms)]
    ledger = _Ledger()
    recipes = {name: _waive_recipe(name, recipe, valid, ledger) for name, recipe in verdict.recipes.items()}
    waived_changes = _waive_changes(changes, valid, ledger, terms)
    problems, notes = _review(waivers, today, ledger, terms)
    parts = [recipe.verdict for recipe in recipes.values() if not recipe.advisory]
    parts += [refused.standing for refused in verdict.refused.values() if not refused.advisory]
    parts = parts or [Verdict.ERROR]
    parts += [Verdict.FAIL for change in waived_changes if change.blocks]
    parts += [Verdict.ERROR for _ in problems]
    return verdict.model_copy(
        update={
            "verdict": worst(parts),
            "recipes": recipes,
            "notes": [*verdict.notes, *problems, *dict.fromkeys(ledger.short), *notes],
            "policy_changes": waived_changes,
            "waivers": _uses(waivers, ledger, today),
        }
    )


def waive_changes(
    changes: Sequence[PolicyChange], waivers: Sequence[FiledWaiver], today: dt.date, terms: Terms = _NO_TERMS
) -> list[PolicyChange]:
    """Policy changes alone, each with the waiver that accepts it, where nothing was weighed."""
    valid = [filed for filed in waivers if today <= filed.waiver.expires <= _last_day(today, terms)]
    return _waive_changes(changes, valid, _Ledger(), terms)


def _last_day(today: dt.date, terms: Terms) -> dt.date:
    return today + dt.timedelta(days=terms.days)


def _waive_recipe(name: str, recipe: RecipeVerdict, waivers: Sequence[FiledWaiver], ledger: _Ledger) -> RecipeVerdict:
    budgets = []
    for item in recipe.budgets:
        matching = [filed for filed in waivers if _speaks_of(filed.waiver, name, recipe, item)]
        ledger.matched.update(filed.file for filed in matching)
        accepting = [filed for filed in matching if _acceptable(item) and _within(filed, item, ledger)]
        if not accepting:
            budgets.append(item)
            continue
        unit = find_rule(item.rule).shown_unit(item.unit)
        limit = quantity(_limit(accepting[0].waiver, item), unit, 12)
        ledger.accept(accepting[0].file, f"{name}: {name_of(item)} ({item.verdict}), up to {limit}")
        budgets.append(item.model_copy(update={"waived_by": accepting[0].file}))
    verdict = worst(item.standing for item in budgets if item.required)
    return recipe.model_copy(update={"budgets": budgets, "verdict": verdict})


def _speaks_of(waiver: Waiver, name: str, recipe: RecipeVerdict, item: BudgetVerdict) -> bool:
    """Whether a waiver names this budget of this artifact on this device."""
    artifact = waiver.recipe in (name, recipe.recipe) and waiver.digest == recipe.candidate.digest
    only_one = [other.metric for other in recipe.budgets].count(item.metric) == 1
    names = (name_of(item), item.metric) if only_one else (name_of(item),)
    return not waiver.policy and artifact and waiver.device == recipe.device_name and waiver.budget in names


def _acceptable(item: BudgetVerdict) -> bool:
    """A shown failure, or an estimate that decided nothing; never an error, never what was not measured."""
    return item.verdict is Verdict.FAIL or (item.verdict is Verdict.INCONCLUSIVE and item.estimate is not None)


def _limit(waiver: Waiver, item: BudgetVerdict) -> float:
    """The limit that a waiver accepts, in the budget's unit. Raises `ValueError` where it is no such quantity."""
    rule_unit = find_rule(item.rule).written_unit(find_metric(item.metric).unit)
    return parse_quantity(waiver.to, rule_unit, needs_unit=True)


def _within(filed: FiledWaiver, item: BudgetVerdict, ledger: _Ledger) -> bool:
    """Whether the whole interval lies within the limit that the waiver accepts."""
    rule = find_rule(item.rule)
    bound = item.upper if rule.upper else item.lower
    try:
        limit = _limit(filed.waiver, item)
    except ValueError as error:
        ledger.short.append(f"{filed.file} accepts nothing: 'to' is {filed.waiver.to!r}: {error}.")
        return False
    if bound is not None and rule.allows(bound, limit):
        return True
    unit = find_rule(item.rule).shown_unit(item.unit)
    ledger.short.append(
        f"{filed.file} accepts {name_of(item)} {'up' if rule.upper else 'down'} to {quantity(limit, unit)}; "
        f"the measured interval reaches {quantity(bound, unit)}."
    )
    return False


def _waive_changes(
    changes: Sequence[PolicyChange], waivers: Sequence[FiledWaiver], ledger: _Ledger, terms: Terms
) -> list[PolicyChange]:
    """Each change with the waiver that accepts it; one waiver accepts one change."""
    free = [filed for filed in waivers if filed.waiver.policy and filed.waiver.identity() not in terms.merged]
    found = []
    for change in changes:
        named = [filed for filed in free if filed.waiver.budget in _names(change, changes)]
        ledger.matched.update(filed.file for filed in named)
        filed = next((filed for filed in named if accepted(filed.waiver.to, change)), None)
        if filed is None:
            if change.needs_waiver:
                ledger.short += [
                    f"{filed.file} accepts {change.budget} to {filed.waiver.to}; it went to {change.accepts}."
                    for filed in named
                ]
            found.append(change)
            continue
        free.remove(filed)
        ledger.accept(filed.file, f"policy: {change.budget} {change.kind} ({change.base} → {change.head})")
        found.append(change.model_copy(update={"waived_by": filed.file}))
    return found


def _names(change: PolicyChange, changes: Sequence[PolicyChange]) -> tuple[str, ...]:
    """How a waiver may call a change: by its name, or by its metric alone where only one budget with it changed."""
    metric = change.budget.partition(" ")[0]
    only_one = len({other.budget for other in changes if other.budget.partition(" ")[0] == metric}) == 1
    return (change.budget, metric) if only_one and change.kind in _OF_BUDGETS else (change.budget,)


_OF_BUDGETS = frozenset({"loosened", "removed", "advisory", "resolution", "mode", "device"})


def accepted(to: float | str, change: PolicyChange) -> bool:
    """Whether a waiver's `to` is exactly the value that the change went to; quantities are compared as numbers."""
    if str(to) == change.accepts:
        return True
    if change.kind not in ("loosened", "resolution"):
        return False
    metric, rule = change.budget.split(" ")[:2]
    try:
        unit = "score" if change.kind == "resolution" else find_rule(rule).written_unit(find_metric(metric).unit)
        return math.isclose(parse_quantity(to, unit), parse_quantity(change.accepts, unit), rel_tol=1e-9)
    except (ValueError, InputError):
        return False  # not a quantity of that metric, so not the value that the change went to


def _review(
    waivers: Sequence[FiledWaiver], today: dt.date, ledger: _Ledger, terms: Terms
) -> tuple[list[str], list[str]]:
    """Sentences on waivers that are errors, and on those that are spent, not needed any more, or about to expire."""
    problems, notes = [], []
    for filed in waivers:
        waiver, left = filed.waiver, (filed.waiver.expires - today).days
        if left < 0:
            problems.append(f"{filed.file} expired on {waiver.expires}: renew it or delete it.")
        elif left > terms.days:
            problems.append(
                f"{filed.file} runs until {waiver.expires}, {left} days from now: a waiver runs {terms.days} days at "
                "most (policy.waiver_days in params.yaml of the main branch)."
            )
        elif filed.file in ledger.accepted:
            if left <= WARNING_DAYS:
                notes.append(f"{filed.file} expires on {waiver.expires}, in {left} days: what it accepts fails then.")
        elif waiver.identity() in terms.merged:
            notes.append(f"{filed.file} is spent, what it accepted is merged: delete it.")
        elif waiver.policy and not terms.compared:
            continue
        elif filed.file in ledger.matched:
            notes.append(f"{filed.file} accepts nothing here: correct it, or delete it if it is not needed.")
        else:
            problems.append(f"{filed.file} matches nothing: no such budget, artifact, device or change was judged.")
    return problems, notes


def _uses(waivers: Sequence[FiledWaiver], ledger: _Ledger, today: dt.date) -> list[WaiverUse]:
    return [
        WaiverUse(
            file=filed.file,
            who=filed.waiver.who,
            why=filed.waiver.why,
            expires=filed.waiver.expires.isoformat(),
            days_left=(filed.waiver.expires - today).days,
            accepts=ledger.accepted[filed.file],
        )
        for filed in waivers
        if filed.file in ledger.accepted
    ]
