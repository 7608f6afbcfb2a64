"""What a search makes small: by the goal that was asked for, on scales that a sampler can learn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from weighbridge.core.documents import Budget
from weighbridge.search.trials.trial import Outcome

OBJECTIVES: Mapping[str | None, tuple[str, ...]] = {
    None: ("bytes", "time"),
    "size": ("bytes",),
    "latency": ("time",),
    "memory": ("memory",),
    "accuracy": ("drop",),
}
"""Goal → objectives; without a goal, the front of bytes and time."""
SHOWN_WITH = {"bytes": "time", "time": "bytes", "memory": "bytes", "drop": "bytes"}
"""What a front of one objective is shown against."""
DEFAULT_DROP = 0.01
"""Points that a recipe may lose where no budget says so."""


def values(outcome: Outcome, goal: str | None, base_bytes: int, drop: float) -> list[float]:
    """The outcome's place for the sampler: logarithms of ratios to the baseline, or the `drop` that is expected."""
    return [_value(outcome, name, base_bytes, drop) for name in OBJECTIVES[goal]]


def place(outcome: Outcome, goal: str | None, base_bytes: int, drop: float) -> tuple[float, ...]:
    """The outcome's place in the front that people see."""
    names = OBJECTIVES[goal]
    if len(names) == 1:
        names = (*names, SHOWN_WITH[names[0]])
    return tuple(_value(outcome, name, base_bytes, drop) for name in names)


def _value(outcome: Outcome, name: str, base_bytes: int, drop: float) -> float:
    if name == "bytes":
        return math.log(outcome.last.bytes / base_bytes)
    if name == "drop":
        return drop
    if outcome.timing is None:
        return 0.0
    if name == "memory":
        return float(np.log(np.median(outcome.timing.memory) / np.median(outcome.timing.baseline_memory)))
    return math.log(outcome.timing.ratio)


def largest_drop(budgets: Sequence[Budget], baseline: float) -> float:
    """The drop of top-1 accuracy that the budgets allow; one point where they say nothing of it."""
    found = [DEFAULT_DROP] if not any(_about_accuracy(budget) for budget in budgets) else []
    for budget in filter(_about_accuracy, budgets):
        limit, rule = budget.limit, budget.rule.name
        found.append({"max_drop": limit, "min": baseline - limit, "min_ratio": baseline * (1 - limit)}.get(rule, limit))
    return max(min(found), 0.0)


def _about_accuracy(budget: Budget) -> bool:
    return budget.required and budget.metric == "accuracy.top1" and not (budget.relative and budget.against == "stable")


__all__ = ["OBJECTIVES", "largest_drop", "place", "values"]
