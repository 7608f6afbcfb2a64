"""Section `weighing:` of `params.yaml`: how long and how often the gate measures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, model_validator

from weighbridge.core.documents.base import Written
from weighbridge.core.documents.text_sample import TextSample
from weighbridge.core.facts.quantities import parse_quantity, require_duration

AUTO = "auto"
MOST_SECONDS = 3600.0
"""What `time_limit: auto` may take at most."""


class Weighing(Written):
    """How long and how often the gate measures."""

    time_limit: Annotated[
        Annotated[float, Field(gt=0, le=86_400)] | Literal["auto"],
        WithJsonSchema({"type": "string", "examples": ["60s", "2min", AUTO]}),
    ] = Field(default=60.0, json_schema_extra={"default": "60s"})
    """Time for the noisy metrics of one recipe, with its unit: `60s`, `2min`. `auto`: as long as a decision takes,
    an hour at most; the first launch pair says how long that will be.
    """
    launches: int = Field(default=54, ge=1, le=1000)
    """Launch pairs at most."""
    threads: int = Field(default=1, ge=1, le=256)
    batch_size: int = Field(default=1, ge=1)
    """Examples in one timed inference."""
    throughput_batch_size: int = Field(default=32, ge=1)
    """Examples in one inference of the closed throughput loop."""
    seed: int = Field(default=11, ge=0, lt=2**31)
    sample: TextSample | None = None
    """Of a language model: texts that both models continue, for people to read."""

    @model_validator(mode="before")
    @classmethod
    def _durations(cls, values: Any) -> Any:
        limit = values.get("time_limit") if isinstance(values, dict) else None
        if isinstance(limit, str) and limit != AUTO:
            return {**values, "time_limit": parse_quantity(limit, "seconds")}
        return values

    @property
    def most_seconds(self) -> float:
        """The time limit as a number."""
        return MOST_SECONDS if self.time_limit == AUTO else float(self.time_limit)


def with_units(section: Any) -> Any:
    """The section as written, refused where a time has no unit."""
    if isinstance(section, dict):
        require_duration(section.get("time_limit"), "time_limit")
    return section
