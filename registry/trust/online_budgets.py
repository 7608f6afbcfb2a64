"""Online budgets: what must hold while a canary takes traffic."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from weighbridge.core.documents.base import Written
from weighbridge.core.facts.quantities import parse_quantity

OnlineMetric = Literal[
    "error_rate", "latency", "accuracy", "paired_accuracy", "slice_accuracy", "drift", "disagreement"
]
_RULES: dict[str, tuple[str, ...]] = {
    "error_rate": ("max", "max_increase"),
    "latency": ("max", "max_increase"),
    "accuracy": ("min", "max_drop"),
    "paired_accuracy": ("max_drop",),
    "slice_accuracy": ("max_drop",),
    "drift": ("max",),
    "disagreement": ("max",),
}
_NAMES = tuple(dict.fromkeys(rule for rules in _RULES.values() for rule in rules))


class OnlineBudget(Written):
    """One limit on what is seen online. All metrics are shares from 0 to 1.

    `error_rate`: of requests that failed. `latency`: of requests slower than `threshold`; a p95 of at most 50 ms is
    `{metric: latency, threshold: 50ms, max: 0.05}`. `accuracy`: of answers that labelled feedback calls right.
    `paired_accuracy`: as accuracy, on requests that both answered (shadow traffic): far fewer show the same drop.
    `slice_accuracy`: as accuracy, of each slice that stable has labels of; the worst one counts.
    `drift`: total variation distance between the predictions of canary and stable. `disagreement`: of requests that
    both answered (shadow traffic) and answered differently.
    """

    metric: OnlineMetric
    max: float | None = Field(default=None, ge=0, le=1)
    """Largest share of the canary."""
    min: float | None = Field(default=None, ge=0, le=1)
    """Smallest share of the canary."""
    max_increase: float | None = Field(default=None, ge=0, le=1)
    """Largest share of the canary minus that of stable over the same time."""
    max_drop: float | None = Field(default=None, ge=0, le=1)
    """Largest share of stable minus that of the canary over the same time."""
    threshold: float | None = Field(default=None, gt=0)
    """For latency, with its unit: `50ms`. Records have seconds."""
    classes: int | None = Field(default=None, ge=2, le=10_000)
    """For drift: how many classes there are. It is fixed before any data is seen; the interval depends on it."""

    @field_validator("threshold", mode="before")
    @classmethod
    def _duration(cls, value: Any) -> Any:
        return parse_quantity(value, "seconds") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        given = [rule for rule in _NAMES if getattr(self, rule) is not None]
        allowed = _RULES[self.metric]
        if len(given) != 1 or given[0] not in allowed:
            raise ValueError(
                f"{self.metric} takes exactly one of {', '.join(allowed)}; found {', '.join(given) or 'none'}"
            )
        if (self.metric == "latency") != (self.threshold is not None):
            raise ValueError("'threshold' belongs to latency, and latency needs one")
        if (self.metric == "drift") != (self.classes is not None):
            raise ValueError("'classes' belongs to drift, and drift needs it")
        return self

    @property
    def rule(self) -> str:
        """`max`, `min`, `max_increase` or `max_drop`."""
        return next(rule for rule in _NAMES if getattr(self, rule) is not None)

    @property
    def limit(self) -> float:
        """The limit as a share."""
        return float(getattr(self, self.rule))

    @property
    def relative(self) -> bool:
        """Whether stable's traffic is needed too."""
        return self.rule in ("max_increase", "max_drop") or self.metric == "drift"
