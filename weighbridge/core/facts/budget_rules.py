"""The one table of budget rules: each owns its direction and the scale that its limit is on.

A new rule is a row here and a field of the same name in `core.documents.params.Budget`; a new scale is also a test in
`gate/verdict/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from weighbridge.core.errors import InputError
from weighbridge.core.facts.quantities import Unit

Scale = Literal["value", "ratio", "drop"]
"""`value`: the candidate's own. `ratio`: candidate / reference. `drop`: reference - candidate."""


@dataclass(frozen=True)
class BudgetRule:
    """One way to limit a metric."""

    name: str
    upper: bool
    """Whether the limit is the largest value allowed; else it is the smallest."""
    scale: Scale

    @property
    def relative(self) -> bool:
        """Whether the limit refers to another artifact."""
        return self.scale != "value"

    @property
    def bound(self) -> str:
        """How the limit bounds, in words."""
        return "at most" if self.upper else "at least"

    @property
    def unchanged(self) -> float:
        """What an artifact with the reference's bytes has on this scale."""
        return 1.0 if self.scale == "ratio" else 0.0

    def written_unit(self, unit: Unit) -> Unit:
        """The unit that people write the limit of a metric in: that of the metric, or a plain number."""
        return "score" if self.scale == "ratio" else unit

    def unit(self, unit: Unit) -> str:
        """The unit of limit, estimate and bounds."""
        return "ratio" if self.scale == "ratio" else unit

    def shown_unit(self, unit: str) -> str:
        """The unit as people read it: a drop in a share is a matter of points."""
        return "points" if self.scale == "drop" and unit == "fraction" else unit

    def measure(self, candidate: float, reference: float) -> float | None:
        """Two values of a metric on the scale of the limit; None for a ratio to a reference that is not positive."""
        if self.scale == "drop":
            return reference - candidate
        if self.scale == "ratio":
            return candidate / reference if reference > 0 else None
        return candidate

    def allows(self, value: float, limit: float) -> bool:
        """Whether a value keeps the limit."""
        return value <= limit if self.upper else value >= limit


BUDGET_RULES: Mapping[str, BudgetRule] = MappingProxyType({
    rule.name: rule
    for rule in (
        BudgetRule("max", upper=True, scale="value"),
        BudgetRule("min", upper=False, scale="value"),
        BudgetRule("max_ratio", upper=True, scale="ratio"),
        BudgetRule("min_ratio", upper=False, scale="ratio"),
        BudgetRule("max_drop", upper=True, scale="drop"),
    )
})  # fmt: skip
"""Every rule, by its name in `params.yaml` and in verdicts."""


def find_rule(name: str) -> BudgetRule:
    """The rule of that name; an unknown name is an `InputError`."""
    if name not in BUDGET_RULES:
        raise InputError(f"there is no budget rule {name!r}", fix=f"rules: {', '.join(BUDGET_RULES)}")
    return BUDGET_RULES[name]
