"""Intervals over time: one small chart for each budget of a canary, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.registry.site.markup import Markup, tag

WIDTH, HEIGHT = 320, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 12
MOST = 60
"""Looks that are drawn: the newest."""


@dataclass(frozen=True)
class Seen:
    """A budget as one look saw it."""

    at: str
    state: str
    limit: float
    estimate: float
    lower: float
    upper: float


def looks_chart(seen: Sequence[Seen], label: str) -> Markup:
    """The chart as an `svg` element; `label` says in words what it shows. At least one look."""
    shown = seen[-MOST:]
    values = [value for one in shown for value in (one.lower, one.upper, one.limit)]
    low, high = min(values), max(values)
    margin = (high - low) * 0.1 or 1e-3
    low, high = low - margin, high + margin

    def y(value: float) -> float:
        return round(_TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    step = (WIDTH - _LEFT - _RIGHT) / len(shown)
    marks = []
    for number, one in enumerate(shown):
        x = round(_LEFT + step * (number + 0.5), 1)
        said = f"{one.at[:16].replace('T', ' ')}: {one.estimate:.3g} [{one.lower:.3g}, {one.upper:.3g}], {one.state}"
        marks.append(
            tag(
                "g",
                tag("title", said),
                tag("line", x1=x, x2=x, y1=y(one.lower), y2=y(one.upper)),
                tag("circle", cx=x, cy=y(one.estimate), r=3),
                class_=f"look {one.state}",
            )
        )
    limit = shown[-1].limit
    return tag(
        "svg",
        tag("line", class_="limit", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y(limit), y2=y(limit)),
        tag("text", f"{limit:g}", class_="end", x=_LEFT - 6, y=y(limit) + 4),
        marks,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=label,
        class_="looks",
    )
