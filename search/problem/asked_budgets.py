"""The budgets that recipes are searched under: the common ones, or those of a recipe that has budgets of its own."""

from __future__ import annotations

from typing import Any

from weighbridge.core.documents import Budget, Params
from weighbridge.core.errors import InputError


def budgets_for(params: Params, recipe: str | None) -> list[Budget]:
    """What a recipe that is found must hold, as the gate will ask it; an `InputError` for a recipe that is unknown."""
    if recipe is None:
        return params.budgets
    if recipe not in params.recipes:
        raise InputError(f"{recipe!r} is not among 'recipes'", where="--for", fix=f"one of {', '.join(params.recipes)}")
    return params.budgets_of(recipe)


def own_budgets(params: Params, recipe: str | None) -> list[dict[str, Any]]:
    """Budgets as a found recipe states them beside its steps; without them the gate would ask the common ones."""
    own = params.recipes[recipe].budgets if recipe is not None else []
    return [budget.model_dump(mode="json", exclude_unset=True) for budget in own]


def remark(params: Params, recipe: str | None) -> str | None:
    """What to say where recipes have budgets of their own and none of those was meant; None where nothing is to say."""
    others = [name for name, section in params.recipes.items() if section.budgets]
    if recipe is not None or not others:
        return None
    verb = "has" if len(others) == 1 else "have"
    return f"Under the common budgets; {', '.join(others)} {verb} own budgets: `--for NAME` asks those."


__all__ = ["budgets_for", "own_budgets", "remark"]
