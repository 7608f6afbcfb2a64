"""How versions answer, as shares of their requests; and the rows of the table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

Generator = np.random.Generator
CLASSES, SLICE = 10, 0.1
"""Classes, and the share of the requests that belong to the slice `dark`."""
WITHIN = 2000
"""Canary requests within which a bad canary is to be aborted."""
START = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Traffic:
    """How a version answers: shares of its requests."""

    errors: float = 0.002
    slow: float = 0.03
    right: float = 0.9
    dark: float = 0.9
    """Right answers in the slice."""
    other: float = 0.02
    """Shadowed answers that differ from stable's, beside those that are wrong where stable is right."""
    skewed: float = 0.0
    """Share of the answers that are class 0 whatever the request."""
    unsure: float = 0.0
    """Share of the requests whose confidence is two bins lower."""
    moved: float = 0.0
    """Share of the requests whose input lies in the highest tenth."""

    def between(self, worse: Traffic, share: float) -> Traffic:
        """Part of the way to a worse one."""
        return Traffic(**{k: v + share * (vars(worse)[k] - v) for k, v in vars(self).items()})


GOOD = Traffic()
BAD = {
    "errors": replace(GOOD, errors=0.03),
    "slow": replace(GOOD, slow=0.12),
    "wrong on a slice": replace(GOOD, dark=0.4),
    "another file": Traffic(right=0.1, dark=0.1, other=0.2, skewed=0.3),
    "slowly drifting": replace(GOOD, right=0.6, dark=0.6),
}
"""The last is reached step by step, over all of the `WITHIN` requests."""
PLANTED = {
    "accuracy": replace(GOOD, right=0.8, dark=0.8),
    "a slice": replace(GOOD, dark=0.6),
    "failures": replace(GOOD, errors=0.042),
    "slow requests": replace(GOOD, slow=0.45),
    "classes": replace(GOOD, skewed=0.5),
    "confidence": replace(GOOD, unsure=0.8),
    "inputs": replace(GOOD, moved=0.5),
    "accuracy, slowly": replace(GOOD, right=0.75, dark=0.75),
}
"""About twice the limit. The last is reached over a day."""


def class_shares(traffic: Traffic) -> list[float]:
    """Shares of the classes among the answers."""
    share = (1 - traffic.skewed) / CLASSES
    return [share + traffic.skewed, *[share] * (CLASSES - 1)]


def row(name: str, value: float, unit: str, target: float | None = None, *, least: bool = True) -> dict[str, Any]:
    """One figure, and whether it meets its bar."""
    met = None if target is None else bool(value >= target if least else value <= target)
    bar = "" if target is None else f"{'≥' if least else '≤'} {target:g}"
    return {"name": name, "value": value, "unit": unit, "bar": bar, "met": met}
