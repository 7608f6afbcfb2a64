"""What the budgets of `params.yaml` ask of a recipe, and how far predicted or measured values are from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weighbridge.core.documents import Budget, Sizes
from weighbridge.core.formatting import quantity

FILE_METRICS = {"size.bytes": "bytes", "size.gzip": "gzip", "size.zstd": "zstd", "params": "params", "macs": "macs"}
"""Metrics that a file's facts decide → the field of `Sizes`."""

Known = Mapping[str, float]
"""Metric → value."""


@dataclass(frozen=True)
class Gap:
    """One budget and how a recipe stands to it."""

    budget: Budget
    value: float
    """On the budget's scale: the value itself, a ratio, or a drop."""

    @property
    def kept(self) -> bool:
        """Whether the value keeps the limit."""
        return self.budget.rule.allows(self.value, self.budget.limit)

    @property
    def excess(self) -> float:
        """How many times the limit the value is; at most 1 where it is kept."""
        value, limit = self.value, self.budget.limit
        if not self.budget.rule.upper:
            value, limit = limit, value
        if limit <= 0:
            return 1.0 if value <= limit else math.inf
        return value / limit

    @property
    def sentence(self) -> str:
        """`size.bytes 12.3 kB, at most 1 kB`."""
        unit = self.budget.rule.shown_unit(self.budget.rule.unit(self.budget.quantity.unit))
        shown, limit = (quantity(number, unit) for number in (self.value, self.budget.limit))
        return f"{self.budget.metric} {shown}, {self.budget.rule.bound} {limit}"


def facts(sizes: Sizes) -> dict[str, float]:
    """Metric → value of what a file decides; multiply-accumulates only where all of them could be counted."""
    values = {metric: getattr(sizes, field) for metric, field in FILE_METRICS.items()}
    found = {metric: float(value) for metric, value in values.items() if value is not None}
    if getattr(sizes, "macs_unknown", ()):
        del found["macs"]
    return found


def gaps(budgets: Sequence[Budget], known: Known, reference: Known) -> list[Gap]:
    """Where a recipe stands to each required budget against the baseline whose metric is known of both."""
    found = []
    for budget in budgets:
        if not budget.required or budget.metric not in known or (budget.relative and budget.against == "stable"):
            continue
        if budget.relative and budget.metric not in reference:
            continue
        value = budget.rule.measure(known[budget.metric], reference.get(budget.metric, math.nan))
        if value is not None:
            found.append(Gap(budget, value))
    return found


def excess(found: Sequence[Gap]) -> float:
    """How far the worst budget is exceeded: at most 1 where all are kept."""
    return max((gap.excess for gap in found), default=0.0)


__all__ = ["FILE_METRICS", "Gap", "excess", "facts", "gaps"]
