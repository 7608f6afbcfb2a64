"""What a change is compared with, recipe by recipe: the merge base, and the version that `stable` serves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from weighbridge.core.documents import Comparison, Launches, Measurement, Proportions
from weighbridge.core.formatting import percent, quantity, signed
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.statistics.centre import hodges_lehmann

ABSENT = "–"


@dataclass(frozen=True)
class Figures:
    """What one artifact was when it was weighed; None where that is not known."""

    digest: str | None
    size: int | None = None
    """Bytes."""
    latency: float | None = None
    """Median latency as a ratio to the baseline's: times of two days or machines do not compare."""
    accuracy: float | None = None
    """Share of right answers."""
    baseline: str | None = None
    """Digest of the baseline that the ratio is to."""


@dataclass(frozen=True)
class ReferencePoint:
    """One side of the comparison."""

    name: str
    """As a cell says it: `base`, `stable`."""
    said: str
    """Which one it is and where its figures come from, or why there are none."""
    figures: Mapping[str, Figures] = field(default_factory=dict)
    """By the name that the candidate has here."""


def figures_of(measurement: Measurement) -> Figures:
    """The figures of a measured candidate."""
    beside = next((item for item in measurement.comparisons if item.against == "baseline"), None)
    return Figures(
        measurement.candidate.digest,
        measurement.candidate.bytes,
        _ratio(beside),
        _right(beside),
        measurement.baseline.digest,
    )


def size_change(entry: Entry, point: ReferencePoint) -> str:
    """`−3.1%`, `same`, or a dash where the other size is not known."""
    there = point.figures.get(entry.name)
    if there is None or not there.size:
        return ABSENT
    return "same" if there.size == entry.size else signed(percent(entry.size / there.size - 1, 3))


def latency_change(entry: Entry, point: ReferencePoint) -> str:
    """How the ratio to the baseline changed; measured in pairs where both files were weighed beside each other."""
    there = point.figures.get(entry.name)
    beside = next((item for item in entry.measurement.comparisons if item.against == point.name), None)
    direct = _ratio(beside)
    if there is not None and there.digest == entry.measurement.candidate.digest:
        return "same"
    if direct is not None:
        return signed(percent(direct - 1, 3))
    comparable = there is not None and there.baseline == entry.measurement.baseline.digest
    if there is None or not comparable or there.latency is None or entry.speed is None:
        return ABSENT
    return signed(percent(entry.speed.ratio / there.latency - 1, 3))


def accuracy_change(entry: Entry, point: ReferencePoint) -> str:
    """In points."""
    there = point.figures.get(entry.name)
    if there is None or there.accuracy is None or entry.accuracy is None:
        return ABSENT
    change = entry.accuracy[0] - there.accuracy
    return "same" if change == 0 else signed(quantity(change, "points", 3))


def _ratio(comparison: Comparison | None) -> float | None:
    found = comparison.metrics.get("latency.p50") if comparison else None
    if not isinstance(found, Launches) or not found.log_ratio or not all(map(math.isfinite, found.log_ratio)):
        return None
    return math.exp(hodges_lehmann(found.log_ratio))


def _right(comparison: Comparison | None) -> float | None:
    found = comparison.metrics.get("accuracy.top1") if comparison else None
    if not isinstance(found, Proportions) or not found.examples:
        return None
    return (found.both + found.only_candidate) / found.examples
