"""Pictures of a report: trade-off, limits, launches. As PNG files, or as SVG whose colours follow the page's theme.

Deterministic: fixed fonts, fixed ids, no dates. Colours stand in one table; in SVG they become CSS variables.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from weighbridge.core.documents import BudgetVerdict
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.pareto import front
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.phrases import named_budget

COLOURS = {
    "ink": "#1f2328", "muted": "#6e7781", "grid": "#d8dee4", "paper": "#ffffff",
    "pass": "#1a7f37", "fail": "#cf222e", "inconclusive": "#9a6700", "error": "#8250df", "mark": "#0969da",
}  # fmt: skip
"""As printed on white; a page gives each its own value per theme."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.titlesize": 11,
    "axes.titlecolor": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "text.color": COLOURS["ink"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "figure.facecolor": COLOURS["paper"],
    "axes.facecolor": "none",
    "legend.frameon": False,
}
_RAMP = ("#0a6e5c", "#3d9a77", "#8abf8a", "#d9c779", "#e09a54", "#cc5a3a")
"""Fast to slow; each readable on white and on near-black."""

Plot = Callable[[Sequence[Entry]], Figure]


def png(plot: Plot, entries: Sequence[Entry]) -> bytes:
    """A plot as PNG, 160 dots per inch; the same entries give the same bytes."""
    with mpl.rc_context(STYLE):
        buffer = io.BytesIO()
        plot(entries).savefig(buffer, format="png", dpi=160, metadata={"Software": None})
        return buffer.getvalue()


def svg(plot: Plot, entries: Sequence[Entry], name: str) -> str:
    """A plot as an `<svg>` element with CSS variables for colours and text as text; `name` keeps ids apart."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name, "figure.facecolor": "none"}):
        buffer = io.StringIO()
        plot(entries).savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for variable, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1).strip()


def trade_off(entries: Sequence[Entry]) -> Figure:
    """Size against accuracy, colour by latency beside the baseline's; a line through what nothing smaller beats."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    points = [(entry, entry.accuracy) for entry in entries if entry.accuracy is not None]
    if not points:
        return _empty(figure, axes, "no accuracy was measured")
    places = [(entry.size / 1e3, 100 * shares[0]) for entry, shares in points]
    # Of size and accuracy alone: speed, which colour tells, would make the line fall back and cross itself.
    line = sorted(set(front(places, lambda place: (place[0], -place[1]))))
    axes.plot(*zip(*line, strict=True), color=COLOURS["grid"], zorder=1)
    labels = []
    for entry, shares in points:
        place = entry.size / 1e3, 100 * shares[0]
        axes.scatter(*place, s=90, color=_speed_colour(entry), edgecolor=COLOURS["ink"], linewidth=0.6, zorder=3)
        labels.append((_speed_label(entry), *place))
    first, reference = points[0]
    place = first.baseline_size / 1e3, 100 * reference[1]
    axes.scatter(*place, marker="D", s=80, color=COLOURS["muted"], zorder=3)
    labels.append(("baseline", *place))
    axes.set(
        xscale="log", xlabel="file size, kB   (× and colour: latency beside the baseline's)", ylabel="top-1 accuracy, %"
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:,.10g}" if f"{value:e}"[0] in "25" else "")
    axes.margins(0.18)
    axes.grid(visible=True, which="major")
    _label(axes, labels)
    return figure


_OFFSETS = (
    (0, 9, "center"),
    (0, -17, "center"),
    (9, -3, "left"),
    (-9, -3, "right"),
    (0, 20, "center"),
    (0, -28, "center"),
)
"""Where a label may stand beside its point, in typographic points, best first."""
_LABEL_SIZE = 8.5


def _label(axes: Any, labels: Sequence[tuple[str, float, float]]) -> None:
    """Write each label at its point, at the first offset where it meets neither a point nor another label."""
    spots = axes.transData.transform([(x, y) for _, x, y in labels]) * 72 / axes.figure.dpi
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    for (text, x, y), (left, bottom) in zip(labels, spots, strict=True):
        width, height = 0.58 * _LABEL_SIZE * len(text), 1.15 * _LABEL_SIZE
        boxes = []
        for across, up, side in _OFFSETS:
            start = left + across - {"center": width / 2, "left": 0, "right": width}[side]
            boxes.append(((start, bottom + up, start + width, bottom + up + height), (across, up, side)))
        free = [item for item in boxes if not any(_overlap(item[0], other) for other in taken)]
        box, (across, up, side) = (free or boxes)[0]
        taken.append(box)
        axes.annotate(
            _safe(text), (x, y), xytext=(across, up), textcoords="offset points", ha=side, fontsize=_LABEL_SIZE,
            color=COLOURS["ink"],
        )  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _speed_label(entry: Entry) -> str:
    return f"{entry.name} · {entry.speed.ratio:.2f}×" if entry.speed else entry.name


def _speed_colour(entry: Entry) -> str:
    if entry.speed is None:
        return COLOURS["muted"]
    place = (math.log2(entry.speed.ratio) + 2) / 3  # 0.25× … 2×
    return _RAMP[min(len(_RAMP) - 1, max(0, int(place * len(_RAMP))))]


def limits(entries: Sequence[Entry]) -> Figure:
    """How much of each limit is used, with the interval that decided: right of 100 % is beyond the limit."""
    rows = [
        (entry, item, used) for entry in entries for item in entry.verdict.budgets if (used := _used(item)) is not None
    ]
    figure = Figure(figsize=(7.2, 1.1 + 0.3 * max(len(rows), 3)), layout="constrained")
    axes = figure.add_subplot()
    if not rows:
        return _empty(figure, axes, "nothing was estimated")
    for place, (_, item, (low, middle, high)) in enumerate(reversed(rows)):
        colour = COLOURS[item.verdict.value]
        axes.plot([low, high], [place, place], color=colour, linewidth=2.4, solid_capstyle="round", alpha=0.75)
        axes.plot(middle, place, "o", color=colour, markersize=6)
    axes.axvline(100, color=COLOURS["ink"], linewidth=1)
    axes.set_yticks(
        range(len(rows)), [_safe(f"{entry.name}   {named_budget(item)}") for entry, item, _ in reversed(rows)]
    )
    axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"], labelsize=8.5)
    axes.set(xlabel="share of the limit used, %\nbeyond 100: over the limit; clipped at 250", xlim=_span(rows))
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    return figure


def _span(rows: Sequence[tuple[Entry, BudgetVerdict, tuple[float, float, float]]]) -> tuple[float, float]:
    low = min(0.0, *(used[0] for _, _, used in rows))
    high = max(110.0, *(used[2] for _, _, used in rows))
    return max(low, -100.0) - 4, min(high, 250.0) + 4


def _used(item: BudgetVerdict) -> tuple[float, float, float] | None:
    """Lower bound, estimate and upper bound as percentages of the limit, worse to the right."""
    if item.estimate is None or item.limit == 0:
        return None
    values = (
        item.lower if item.lower is not None else -math.inf,
        item.estimate,
        item.upper if item.upper is not None else math.inf,
    )
    if find_rule(item.rule).upper:
        shares = [100 * value / item.limit for value in values]
    else:
        shares = [100 * item.limit / value if value > 0 else math.inf for value in values]
    low, middle, high = sorted(min(max(share, -100.0), 250.0) for share in shares)
    return low, middle, high


def launches(entries: Sequence[Entry]) -> Figure:
    """Candidate / baseline of every launch pair, and its limit where one is declared."""
    timed = [(entry, found) for entry in entries if (found := entry.launches()) is not None]
    figure = Figure(figsize=(7.2, 1.0 + 1.15 * max(len(timed), 1)), layout="constrained")
    if not timed:
        return _empty(figure, figure.add_subplot(), "no latency was measured")
    grid = figure.subplots(len(timed), 1, squeeze=False)
    for axes, (entry, found) in zip(grid[:, 0], timed, strict=True):
        ratios = [math.exp(value) for value in found.log_ratio]
        axes.axhline(1, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
        for item in entry.verdict.budgets:
            if item.metric == "latency.p50" and item.unit == "ratio" and item.against == "baseline":
                axes.axhline(item.limit, color=COLOURS["fail"], linewidth=1)
        axes.plot(range(1, len(ratios) + 1), ratios, "o", color=COLOURS["mark"], markersize=4, alpha=0.85)
        axes.set_title(_safe(entry.name), loc="left", fontsize=9)
        axes.grid(visible=True, axis="y")
        axes.margins(y=0.25)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}×")
    grid[-1, 0].set_xlabel("launch pair   (dashed: the baseline's own speed; red: the limit)")
    return figure


def _empty(figure: Figure, axes: Any, why: str) -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", color=COLOURS["muted"], transform=axes.transAxes)
    return figure


def _safe(text: str) -> str:
    """A label without matplotlib's mathematics."""
    return text.replace("$", r"\$")


PLOTS: dict[str, Plot] = {"pareto": trade_off, "limits": limits, "launches": launches}
"""The one table of pictures, by the names that `content.PICTURES` gives files to."""
