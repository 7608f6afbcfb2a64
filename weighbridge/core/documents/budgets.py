"""Budgets, in params.yaml or in a file of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from weighbridge.core.documents.base import Written
from weighbridge.core.documents.device import Device
from weighbridge.core.errors import InputError
from weighbridge.core.facts.budget_rules import BUDGET_RULES, BudgetRule
from weighbridge.core.facts.metrics import Metric, find_metric
from weighbridge.core.facts.quantities import parse_quantity


class Budget(Written):
    """A declared limit on one metric, absolute (`max`, `min`) or relative to `baseline` or `stable`."""

    metric: str
    max: float | str | None = None
    """Largest value allowed; times and bytes with their unit (`200kB`, `5ms`)."""
    min: float | str | None = None
    """Smallest value allowed."""
    max_ratio: float | None = Field(default=None, gt=0)
    """Largest candidate / reference allowed."""
    min_ratio: float | None = Field(default=None, gt=0)
    """Smallest candidate / reference allowed."""
    max_drop: float | str | None = None
    """Largest reference - candidate allowed, in the metric's unit (metrics where higher is better)."""
    against: Literal["baseline", "stable"] = "baseline"
    """What relative limits refer to: the uncompressed artifact, or what the registry serves now."""
    required: bool = True
    """A budget that is not required is judged and shown, but the verdict does not depend on it."""
    resolution: float = Field(default=0.05, gt=0, lt=1)
    """Smallest relative excess beyond the limit that the gate promises to find."""
    mode: Literal["population", "exact"] = "population"
    """For accuracy: about all such examples (an interval), or about this very data set (a count)."""
    better: Literal["lower", "higher"] | None = None
    """Of a metric of your own: which way is better; higher where it is not given."""
    device: str | None = None
    """Judge this budget on devices of this class or name alone."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        try:
            metric = self.quantity
        except InputError as error:
            raise ValueError(str(error)) from error
        if self.better is not None and ":" not in self.metric:
            raise ValueError(f"'better' is for a metric of your own; of {self.metric}, {metric.better} is")
        given = [name for name in BUDGET_RULES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(BUDGET_RULES)}; found {', '.join(given) or 'none'}")
        rule = BUDGET_RULES[given[0]]
        value = parse_quantity(getattr(self, rule.name), rule.written_unit(metric.unit), needs_unit=True)
        if rule.scale == "drop" and metric.better == "lower":
            raise ValueError(f"{rule.name} needs a metric where higher is better; {self.metric} is not: use max_ratio")
        if metric.unit == "fraction" and not 0 <= value <= 1 and rule.scale != "ratio":
            raise ValueError(f"{rule.name} of {self.metric} is a fraction from 0 to 1")
        if value < 0:
            raise ValueError(f"{rule.name} cannot be negative")
        if "against" in self.model_fields_set and not self.relative and self.against == "stable":
            relative = [item.name for item in BUDGET_RULES.values() if item.relative]
            raise ValueError(f"'against: stable' needs a relative limit: {', '.join(relative[:-1])} or {relative[-1]}")
        return self

    def applies_to(self, device: Device) -> bool:
        """Whether the budget is judged on that device: it names no device, or this one's class or name."""
        return self.device in (None, device.device_class, device.name)

    @property
    def quantity(self) -> Metric:
        """The metric that the budget limits."""
        metric = find_metric(self.metric)
        return metric if self.better is None or ":" not in self.metric else replace(metric, better=self.better)

    @property
    def rule(self) -> BudgetRule:
        """Which limit it is."""
        return next(rule for name, rule in BUDGET_RULES.items() if getattr(self, name) is not None)

    @property
    def relative(self) -> bool:
        """Whether the limit refers to another artifact."""
        return self.rule.relative

    @property
    def limit(self) -> float:
        """The limit as a number: in the metric's base unit, or a ratio."""
        value: float | str = getattr(self, self.rule.name)
        return parse_quantity(value, self.rule.written_unit(self.quantity.unit))


class BudgetFile(Written):
    """A file with the list under `budgets:` alone, as `weighbridge weigh --budgets` takes it."""

    budgets: list[Budget] = Field(min_length=1)
