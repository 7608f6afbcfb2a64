"""Estimates of a record as people read them: intervals, and changes against the reference."""

from __future__ import annotations

from collections.abc import Mapping

from weighbridge.core.facts.metrics import METRICS
from weighbridge.core.formatting import quantity, signed, span
from weighbridge.registry.state.records import Estimate


def interval(estimate: Estimate) -> str:
    """The 95 % interval of an estimate; `exact` where it has no noise."""
    if estimate.lower == estimate.upper:
        return "exact"
    return span(estimate.lower, estimate.upper, estimate.unit)


def change(estimate: Estimate) -> str:
    """The change against the baseline of the same measurement: points for fractions, per cent for the rest."""
    if estimate.baseline is None:
        return "–"
    if estimate.unit == "fraction":
        return signed(quantity(estimate.value - estimate.baseline, "points", 3))
    if estimate.baseline == 0:
        return "–"
    return signed(quantity(estimate.value / estimate.baseline - 1, "fraction", 3))


def better(metric: str, estimate: Estimate) -> bool | None:
    """Whether the change against the baseline is for the better; None where it cannot be said."""
    if metric not in METRICS or estimate.baseline is None or estimate.value == estimate.baseline:
        return None
    return (estimate.value < estimate.baseline) == (METRICS[metric].better == "lower")


def in_order(metrics: Mapping[str, Estimate]) -> list[tuple[str, Estimate]]:
    """Metrics in the order of the one table of metrics; those that this program does not know at the end."""
    places = {name: place for place, name in enumerate(METRICS)}
    return sorted(metrics.items(), key=lambda item: (places.get(item[0], len(places)), item[0]))


def title(metric: str) -> str:
    """A metric's name for people; a metric that this program does not know keeps its own name."""
    return METRICS[metric].title if metric in METRICS else metric
