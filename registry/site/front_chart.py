"""All versions of a model as one chart: size against accuracy, with intervals and the Pareto front, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weighbridge.core import pareto
from weighbridge.core.facts.metrics import METRICS
from weighbridge.core.formatting import quantity
from weighbridge.registry.site.markup import Markup, tag, text
from weighbridge.registry.state.records import Estimate, VersionRecord

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 24, 18, 52
_LABELS = 16
"""Points up to which every one gets its name; above, only channels and the front do."""


@dataclass(frozen=True)
class Point:
    """One version in the chart."""

    version: str
    size: int
    """Bytes of the artifact."""
    accuracy: Estimate
    kind: str
    """What it is now: `stable`, `canary`, `baseline`, `quarantined`, `deprecated` or `other`."""
    title: str
    """What a pointer over it shows."""


def accuracy_metric(records: Mapping[str, VersionRecord]) -> str | None:
    """The accuracy that most versions have, in the order of the table of metrics; None where there is none."""
    names = [name for name, metric in METRICS.items() if metric.kind == "examples" and metric.better == "higher"]
    counts = {name: sum(name in record.metrics for record in records.values()) for name in names}
    best = max(counts.values(), default=0)
    return next((name for name in names if counts[name] == best), None) if best else None


def front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in both size and accuracy, by size. What is quarantined beats nobody."""
    fit = [point for point in points if point.kind != "quarantined"]
    best: dict[tuple[float, float], Point] = {}
    for point in sorted(pareto.front(fit, _place), key=_place):
        best.setdefault(_place(point), point)  # of several at one place, the first
    return list(best.values())


def _place(point: Point) -> tuple[float, float]:
    return point.size, -point.accuracy.value


@dataclass(frozen=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 1)


def chart(points: Sequence[Point], metric: str, label: str) -> Markup:
    """The chart as an `svg` element; `label` says in words what it shows. At least one point."""
    x = _size_scale([point.size for point in points])
    y = _accuracy_scale([bound for point in points for bound in (point.accuracy.lower, point.accuracy.upper)])
    unit = METRICS[metric].unit
    best = front(points)
    return tag(
        "svg",
        _grid(x, y, unit),
        _front_line(best, x, y),
        [_interval(point, x, y) for point in points],
        [_mark(point, x, y) for point in sorted(points, key=lambda point: point.kind != "other")],
        _names(points, best, x, y),
        tag("text", "file size (logarithmic)", class_="axis", x=(_LEFT + WIDTH - _RIGHT) / 2, y=HEIGHT - 8),
        tag("text", METRICS[metric].title, class_="axis", transform=f"translate(16 {HEIGHT / 2 - 16}) rotate(-90)"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=label,
        class_="pareto",
    )


def _size_scale(sizes: Sequence[int]) -> _Scale:
    low, high = min(sizes), max(sizes)
    margin = max((high / low) ** 0.08, 1.15)
    return _Scale(low / margin, high * margin, _LEFT, WIDTH - _RIGHT, logarithmic=True)


def _accuracy_scale(bounds: Sequence[float]) -> _Scale:
    low, high = min(bounds), max(bounds)
    margin = max((high - low) * 0.12, 1e-3)
    return _Scale(low - margin, high + margin, HEIGHT - _BOTTOM, _TOP)


def _grid(x: _Scale, y: _Scale, unit: str) -> Markup:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    lines = []
    for value in _log_ticks(x.low, x.high):
        at = x(value)
        lines += [
            tag("line", class_="grid", x1=at, x2=at, y1=_TOP, y2=bottom),
            tag("text", quantity(value, "bytes"), class_="tick middle", x=at, y=bottom + 18),
        ]
    for value in _ticks(y.low, y.high):
        at = y(value)
        said = quantity(value, unit)
        lines += [
            tag("line", class_="grid", x1=_LEFT, x2=right, y1=at, y2=at),
            tag("text", said, class_="tick end", x=_LEFT - 8, y=at + 4),
        ]
    return tag("g", lines, aria_hidden="true")


def _front_line(best: Sequence[Point], x: _Scale, y: _Scale) -> Markup:
    """Steps: between two points of the front, the smaller one is what can be had."""
    if not best:
        return text()
    path = f"M{x(best[0].size)} {y(best[0].accuracy.value)}"
    for point in best[1:]:
        path += f"H{x(point.size)}V{y(point.accuracy.value)}"
    return tag("path", class_="front", d=f"{path}H{WIDTH - _RIGHT}")


def _interval(point: Point, x: _Scale, y: _Scale) -> Markup:
    at = x(point.size)
    return tag("line", class_="interval", x1=at, x2=at, y1=y(point.accuracy.lower), y2=y(point.accuracy.upper))


def _mark(point: Point, x: _Scale, y: _Scale) -> Markup:
    """A shape for each kind, so that colour is never all that tells them apart; each leads to its version."""
    across, down = x(point.size), y(point.accuracy.value)
    shapes = {
        "stable": tag("circle", cx=across, cy=down, r=8),
        "canary": tag("path", d=f"M{across} {down - 9}l9 9l-9 9l-9 -9z"),
        "baseline": tag("rect", x=across - 7, y=down - 7, width=14, height=14),
        "quarantined": tag("path", d=f"M{across - 6} {down - 6}l12 12m0 -12l-12 12"),
    }
    shape = shapes.get(point.kind) or tag("circle", cx=across, cy=down, r=5)
    return tag("a", tag("title", point.title), shape, href=f"{point.version}.html", class_=f"mark {point.kind}")


def _names(points: Sequence[Point], best: Sequence[Point], x: _Scale, y: _Scale) -> list[Markup]:
    """Names beside the marks, moved where another name would be covered, left out where there is no room."""
    taken: list[tuple[float, float]] = []
    labels = []
    kept = {point.version for point in best} | {point.version for point in points if point.kind != "other"}
    for point in sorted(points, key=lambda point: (point not in best, point.kind == "other")):
        if len(points) > _LABELS and point.version not in kept:
            continue
        across, down = x(point.size), y(point.accuracy.value)
        beside = ((13, 4, "start"), (-13, 4, "end"), (0, -16, "middle"), (0, 25, "middle"))
        # The front runs to the right of its points, and up to them.
        above = ((0, -16, "middle"), (12, 20, "start"), (-13, -8, "end"))
        spots = above if _on_front(point, best, y) else beside
        for right, below, anchor in spots:
            spot = (across + right, down + below)
            if all(abs(spot[0] - other[0]) > 30 or abs(spot[1] - other[1]) > 13 for other in taken):
                taken.append(spot)
                labels.append(tag("text", point.version, class_=f"name {anchor}", x=spot[0], y=spot[1]))
                break
    return labels


def _on_front(point: Point, best: Sequence[Point], y: _Scale) -> bool:
    """Whether the front's line passes so close that a name beside the point would lie on it."""
    lower = [other for other in best if other.size <= point.size]
    return bool(lower) and abs(y(point.accuracy.value) - y(lower[-1].accuracy.value)) < 10


def _ticks(low: float, high: float) -> list[float]:
    """About five round values between two."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two, or fewer where they would crowd."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors: Sequence[float] = (1, 2, 5) if high / low < 500 else (1,)
    found = [factor * 10.0**power for power in decades for factor in factors if low <= factor * 10.0**power <= high]
    if len(found) < 2:
        found = [value for value in _ticks(low, high) if value > 0]
    return found
