"""Waivers: a named person's recorded acceptance of one failed or loosened budget, with a reason and an expiry.

One file each in `waivers/*.yaml`. Applying them is pure: today's date comes in as an argument. A waiver never accepts
an error: what could not be measured cannot be accepted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from weighbridge.core.documents import (
    BudgetVerdict,
    Digest,
    GateVerdict,
    PolicyChange,
    RecipeVerdict,
    Verdict,
    WaiverUse,
    Written,
    load,
    worst,
)
from weighbridge.core.errors import InputError
from weighbridge.gate.verdict.judge import name_of

FOLDER = "waivers"

Text = Annotated[str, Field(min_length=1, max_length=2000)]


class Waiver(Written):
    """What one waiver file says."""

    budget: Text
    """The budget's name as the report prints it (`latency.p50 max_ratio against baseline`), its metric alone, or, for
    a policy change, `recipe <name>` or `device <name>`.
    """
    recipe: str | None = None
    """Accept this budget's verdict on this recipe."""
    digest: Digest | None = None
    """Accept this budget's verdict on this very artifact."""
    policy: bool = False
    """Accept that the budget itself asks for less than in the merge base."""
    who: Text
    """The person who answers for it."""
    why: Text
    expires: dt.date
    """The last day on which it holds, as YYYY-MM-DD."""

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if sum((self.recipe is not None, self.digest is not None, self.policy)) != 1:
            raise ValueError("expected exactly one of 'recipe', 'digest' and 'policy: true'")
        return self


@dataclass(frozen=True)
class FiledWaiver:
    """A waiver and the file that it stands in."""

    file: str
    waiver: Waiver


@dataclass
class _Ledger:
    """What each waiver was found to match and accept, while they are applied."""

    matched: set[str] = field(default_factory=set)
    accepted: dict[str, list[str]] = field(default_factory=dict)

    def accept(self, file: str, what: str) -> None:
        self.accepted.setdefault(file, []).append(what)


def read_waivers(root: Path) -> list[FiledWaiver]:
    """All waivers of a project, by file name; none where there is no folder. A bad file is an `InputError`."""
    folder = root / FOLDER
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    stray = [path.name for path in folder.iterdir() if path.suffix == ".json"]
    if stray:
        raise InputError("is not a waiver file", where=f"{FOLDER}/{stray[0]}", fix="waivers are YAML files")
    return [FiledWaiver(f"{FOLDER}/{path.name}", load(Waiver, path)) for path in files]


def apply_waivers(
    verdict: GateVerdict, waivers: Sequence[FiledWaiver], changes: Sequence[PolicyChange], today: dt.date
) -> GateVerdict:
    """The verdict with what waivers accept, and with what policy changes and bad waivers cost.

    A policy change without a waiver fails the gate. A waiver that has expired, or that names a budget, recipe or
    artifact that does not exist, is an error; one whose budget needs none any more is a note.
    """
    valid = [filed for filed in waivers if filed.waiver.expires >= today]
    ledger = _Ledger()
    recipes = {name: _waive_recipe(name, recipe, valid, ledger) for name, recipe in verdict.recipes.items()}
    waived_changes = [_waive_change(change, valid, ledger) for change in changes]
    known = {name_of(item) for recipe in recipes.values() for item in recipe.budgets}
    known |= {item.metric for recipe in recipes.values() for item in recipe.budgets}
    known |= {f"recipe {name}" for name in recipes}
    problems, idle = _review(waivers, today, ledger, known)
    parts = [recipe.verdict for recipe in recipes.values() if not recipe.advisory] or [Verdict.ERROR]
    parts += [Verdict.FAIL for change in waived_changes if change.blocks]
    parts += [Verdict.ERROR for _ in problems]
    return verdict.model_copy(
        update={
            "verdict": worst(parts),
            "recipes": recipes,
            "notes": [*verdict.notes, *problems, *idle],
            "policy_changes": waived_changes,
            "waivers": _uses(waivers, ledger),
        }
    )


def _waive_recipe(name: str, recipe: RecipeVerdict, waivers: Sequence[FiledWaiver], ledger: _Ledger) -> RecipeVerdict:
    budgets = []
    for item in recipe.budgets:
        matching = [filed for filed in waivers if _matches(filed.waiver, name, recipe, item)]
        ledger.matched.update(filed.file for filed in matching)
        filed = next(iter(matching), None)
        if filed is None or not _acceptable(item):
            budgets.append(item)
            continue
        ledger.accept(filed.file, f"{name}: {name_of(item)} ({item.verdict})")
        budgets.append(item.model_copy(update={"waived_by": filed.file}))
    verdict = worst(item.standing for item in budgets if item.required)
    return recipe.model_copy(update={"budgets": budgets, "verdict": verdict})


def _matches(waiver: Waiver, name: str, recipe: RecipeVerdict, item: BudgetVerdict) -> bool:
    subject = waiver.recipe == name or waiver.digest == recipe.candidate.digest
    return subject and waiver.budget in (name_of(item), item.metric)


def _acceptable(item: BudgetVerdict) -> bool:
    """A shown failure, or an estimate that decided nothing; never an error, never what was not measured."""
    return item.verdict is Verdict.FAIL or (item.verdict is Verdict.INCONCLUSIVE and item.estimate is not None)


def _waive_change(change: PolicyChange, waivers: Sequence[FiledWaiver], ledger: _Ledger) -> PolicyChange:
    names = (change.budget, change.budget.split(" ", 1)[0])
    filed = next((filed for filed in waivers if filed.waiver.policy and filed.waiver.budget in names), None)
    if filed is None:
        return change
    ledger.matched.add(filed.file)
    ledger.accept(filed.file, f"policy: {change.budget} {change.kind} ({change.base} → {change.head})")
    return change.model_copy(update={"waived_by": filed.file})


def _review(
    waivers: Sequence[FiledWaiver], today: dt.date, ledger: _Ledger, known: set[str]
) -> tuple[list[str], list[str]]:
    """Sentences on waivers that are errors, and on those that nothing needs any more."""
    problems, idle = [], []
    for filed in waivers:
        waiver = filed.waiver
        if waiver.expires < today:
            problems.append(f"{filed.file} expired on {waiver.expires}: renew it or delete it.")
        elif filed.file not in ledger.matched and not (waiver.policy and waiver.budget in known):
            problems.append(f"{filed.file} matches nothing: no such budget, recipe or artifact was judged.")
        elif filed.file not in ledger.accepted:
            idle.append(f"{filed.file} is not needed any more: delete it.")
    return problems, idle


def _uses(waivers: Sequence[FiledWaiver], ledger: _Ledger) -> list[WaiverUse]:
    return [
        WaiverUse(
            file=filed.file,
            who=filed.waiver.who,
            why=filed.waiver.why,
            expires=filed.waiver.expires.isoformat(),
            accepts=ledger.accepted[filed.file],
        )
        for filed in waivers
        if filed.file in ledger.accepted
    ]
