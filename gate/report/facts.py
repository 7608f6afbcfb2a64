"""What a report shows of one artifact: its sizes, speed and accuracy beside the baseline's, drawn from the evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from weighbridge.core import pareto
from weighbridge.core.documents import Comparison, Exact, Launches, Measurement, Proportions, RecipeVerdict
from weighbridge.gate.statistics.centre import SIGNED_RANK, hodges_lehmann
from weighbridge.gate.statistics.looks import PASS_ALPHA
from weighbridge.gate.statistics.spread import launch_sd
from weighbridge.gate.verdict.validity import launch_problems, null_interval

LEAST_FOR_INTERVAL = 5


@dataclass(frozen=True)
class Speed:
    """How fast the candidate answers beside the baseline."""

    candidate: float
    """Seconds, median over launches."""
    reference: float
    ratio: float
    lower: float
    """One-sided 5 % bounds over all launch pairs, for display; verdicts have their own."""
    upper: float
    sd: float
    """Standard deviation of log ratios over launches."""
    pairs: int


@dataclass(frozen=True)
class Entry:
    """One weighed artifact in a report."""

    name: str
    verdict: RecipeVerdict
    measurement: Measurement
    parity: Mapping[str, Any] = field(default_factory=dict)
    """Of the artifact's manifest: how well the file agrees with the module that it was made from."""

    @property
    def comparison(self) -> Comparison | None:
        """Against the baseline."""
        return next((item for item in self.measurement.comparisons if item.against == "baseline"), None)

    @property
    def size(self) -> int:
        """Bytes of the candidate's file."""
        return self.measurement.candidate.bytes

    @property
    def baseline_size(self) -> int:
        """Bytes of the baseline's file."""
        return self.measurement.baseline.bytes

    def exact(self, metric: str) -> Exact | None:
        """A fact of both files."""
        found = self.comparison.metrics.get(metric) if self.comparison else None
        return found if isinstance(found, Exact) else None

    def launches(self, metric: str = "latency.p50") -> Launches | None:
        """Usable launches of a metric."""
        found = self.comparison.metrics.get(metric) if self.comparison else None
        return found if isinstance(found, Launches) and not launch_problems(found) else None

    def proportions(self, metric: str = "accuracy.top1") -> Proportions | None:
        """Paired counts of a metric, over at least one example."""
        found = self.comparison.metrics.get(metric) if self.comparison else None
        return found if isinstance(found, Proportions) and found.examples else None

    @property
    def speed(self) -> Speed | None:
        """Median latency; None where it was not measured."""
        found = self.launches()
        if found is None:
            return None
        pairs = len(found.log_ratio)
        alpha = PASS_ALPHA if pairs >= LEAST_FOR_INTERVAL else 0.0
        return Speed(
            middle(found.candidate),
            middle(found.reference),
            math.exp(hodges_lehmann(found.log_ratio)),
            math.exp(SIGNED_RANK.lower(found.log_ratio, alpha)),
            math.exp(min(SIGNED_RANK.upper(found.log_ratio, alpha), 700.0)),
            launch_sd(found.log_ratio),
            pairs,
        )

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """Top-1 share right of candidate and baseline."""
        found = self.proportions()
        if found is None:
            return None
        return (
            (found.both + found.only_candidate) / found.examples,
            (found.both + found.only_reference) / found.examples,
        )

    @property
    def null_band(self) -> tuple[float, float] | None:
        """Baseline against itself, as ratios; None where too few launches compared them."""
        values = self.comparison.controls.null_log_ratio if self.comparison else []
        interval = null_interval([value for value in values if math.isfinite(value)])
        if interval is None or not all(map(math.isfinite, interval)):
            return None
        return math.exp(interval[0]), math.exp(interval[1])


def unbeaten(entries: Sequence[Entry]) -> list[str]:
    """Names of the entries that no other on their device beats in size, accuracy and speed at once.

    Unmeasured ones are not on it. Ratios to a baseline compare models of one target; across targets latencies do.
    """
    found: list[str] = []
    for device in dict.fromkeys(entry.verdict.device_name for entry in entries):
        here = [entry for entry in entries if entry.verdict.device_name == device and entry.accuracy is not None]
        absolute = len({entry.verdict.target for entry in here}) > 1
        found += [entry.name for entry in pareto.front(here, partial(_point, absolute=absolute))]
    return found


def _point(entry: Entry, *, absolute: bool) -> tuple[float, float, float]:
    assert entry.accuracy is not None  # by `unbeaten`
    speed = entry.speed
    latency = math.inf if speed is None else speed.candidate if absolute else speed.ratio
    return float(entry.size), -entry.accuracy[0], latency


def sparkline(values: Sequence[float]) -> str:
    """Values as a row of eight heights, the smallest lowest; one height where all are alike."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if high == low:
        return "▄" * len(values)
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * (value - low) / (high - low)))] for value in values)


def middle(values: Sequence[float]) -> float:
    """The median."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
