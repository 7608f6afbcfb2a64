"""The section `watch` of `registry.policy.yaml`: what a stable version must keep, and what an alarm does."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from weighbridge.core.documents.base import Written
from weighbridge.core.facts.quantities import parse_quantity

Action = Literal["tell", "hold", "roll back"]


class WatchSection(Written):
    """How stable versions are watched. All limits are shares, and differences from the reference window."""

    on_alarm: Action = "tell"
    """The most that an alarm may do. Labels and failures may roll back, an estimate may hold, drift only tells."""
    reference: int = Field(default=5000, ge=200, le=100_000)
    """Requests of the reference window."""
    min_labels: int = Field(default=0, ge=0)
    """Labelled requests that the reference window needs: it grows until it has them. Set it where labels come late, or
    for few requests only: 2,000 show a drop of twice `max_drop`."""
    epoch: float = Field(default=86_400.0, ge=60)
    """Time after which counting starts anew beside the count since promotion, with its unit: `24h`."""
    max_drop: float = Field(default=0.05, gt=0, le=1)
    """Of accuracy, by labels and as estimated."""
    slice_max_drop: float = Field(default=0.15, gt=0, le=1)
    """Of the accuracy of one slice."""
    max_error_increase: float = Field(default=0.02, gt=0, le=1)
    """Of the share of requests that fail."""
    max_slow_increase: float = Field(default=0.2, gt=0, le=1)
    """Of the share of requests slower than the reference window's 95th percentile."""
    max_shift: float = Field(default=0.25, gt=0, le=1)
    """Total variation distance of predictions and of input summaries from the reference window's."""

    @field_validator("epoch", mode="before")
    @classmethod
    def _duration(cls, value: Any) -> Any:
        return parse_quantity(value, "seconds") if isinstance(value, str) else value
