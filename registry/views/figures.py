"""Figures as people read them: quantities with their unit, intervals, changes against a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping

from weighbridge.core.facts.metrics import METRICS
from weighbridge.registry.state.records import Estimate

_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_JOULES = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"))
_SCALES = {"bytes": _BYTES, "seconds": _SECONDS, "count": _COUNTS, "joules": _JOULES}


def quantity(value: float, unit: str) -> str:
    """A value in base units as people read it, with three significant digits: 123120 bytes → `123 kB`."""
    if unit == "fraction":
        return f"{value * 100:.2f} %"
    if unit == "per_second":
        return f"{_digits(value)}/s"
    scale = _SCALES.get(unit)
    if scale is None:
        return _digits(value)
    if unit in ("bytes", "count") and value == int(value) and abs(value) < 1000:
        return f"{int(value)} {scale[-1][1]}".rstrip()
    # Half a unit in the third digit more: what rounds up to 1000 is said in the next larger unit.
    factor, name = next((item for item in scale if abs(value) * 1.0005 >= item[0]), scale[-1])
    return f"{_digits(value / factor)} {name}".rstrip()


def interval(estimate: Estimate) -> str:
    """The 95 % interval of an estimate; `exact` where it has no noise."""
    if estimate.lower == estimate.upper:
        return "exact"
    return f"{quantity(estimate.lower, estimate.unit)} – {quantity(estimate.upper, estimate.unit)}"


def change(estimate: Estimate) -> str:
    """The change against the baseline of the same measurement: points for fractions, per cent for the rest."""
    if estimate.baseline is None:
        return "–"
    if estimate.unit == "fraction":
        points = (estimate.value - estimate.baseline) * 100
        return f"{_signed(points, 2)} points"
    if estimate.baseline == 0:
        return "–"
    return f"{_signed((estimate.value / estimate.baseline - 1) * 100, 1)} %"


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


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    places = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _signed(value: float, places: int) -> str:
    text = f"{abs(value):.{places}f}"
    if float(text) == 0:
        return f"±{text}"
    return f"{'−' if value < 0 else '+'}{text}"
