"""Pictures of a search, from its results alone: the front with its uncertainty, the history, and what mattered."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from weighbridge.core.files import atomic_write
from weighbridge.gate.report.plots import COLOURS, Plot, png, svg

Results = Mapping[str, Any]
PLACES = {"whole": "mark", "dominated": "muted", "hopeless": "error", "budget": "inconclusive"}
"""How a trial ended → the name of its colour."""


def front_picture(found: Results) -> Figure:
    """Bytes against latency beside the baseline (accuracy where nothing was timed); confirmed recipes with bars."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    timed = any(trial["ratio"] is not None for trial in found["trials"])
    for ended, colour in PLACES.items():
        chosen = [trial for trial in found["trials"] if trial["ended"] == ended]
        points = [(trial["rungs"][-1]["bytes"] / 1000, _height(trial, timed=timed)) for trial in chosen]
        if points:
            across, up = zip(*points, strict=True)
            axes.scatter(across, up, s=18, color=COLOURS[colour], label=_LABELS[ended], alpha=0.8)
    trials = {trial["number"]: trial for trial in found["trials"]}
    for item in found["confirmed"]:
        middle, low, high = _interval(item, timed=timed)
        if item["holds"] and math.isfinite(high):
            place = trials[item["number"]]["rungs"][-1]["bytes"] / 1000
            reach = [[max(middle - low, 0)], [max(high - middle, 0)]]
            axes.errorbar([place], [middle], yerr=reach, fmt="D", color=COLOURS["pass"], capsize=3, markersize=6)
            axes.annotate(f" {item['number']}", (place, middle), color=COLOURS["ink"], fontsize=8)
    axes.scatter([], [], marker="D", color=COLOURS["pass"], label="confirmed, with its interval")
    base = found["baseline"]["bytes"] / 1000
    axes.axvline(base, color=COLOURS["muted"], linestyle=":", linewidth=1)
    axes.annotate(" baseline", (base, 0.95), xycoords=("data", "axes fraction"), color=COLOURS["muted"], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("kB, stored")
    axes.set_ylabel("latency beside the baseline's" if timed else "points of accuracy lost")
    axes.grid(alpha=0.5)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def history_picture(found: Results) -> Figure:
    """The smallest file and the fastest so far that keep the budget on accuracy, trial by trial."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    base = found["baseline"]["bytes"]
    steps: list[tuple[int, float, float]] = []
    smallest, fastest = 1.0, 1.0
    for trial in found["trials"]:
        last = trial["rungs"][-1]
        if trial["ended"] == "whole" and last["drop"] <= found["limit"]:
            smallest = min(smallest, last["bytes"] / base)
            fastest = min(fastest, trial["ratio"] if trial["ratio"] is not None else 1.0)
        steps.append((trial["number"], smallest, fastest))
    if steps:
        numbers, sizes, times = zip(*steps, strict=True)
        axes.step(numbers, sizes, where="post", color=COLOURS["mark"], label="bytes")
        axes.step(numbers, times, where="post", color=COLOURS["fail"], label="latency")
        axes.legend(fontsize=8)
    axes.set_yscale("log")
    axes.set_xlabel("trial")
    axes.set_ylabel("best so far beside the baseline")
    axes.grid(alpha=0.5)
    return figure


def importance_picture(found: Results) -> Figure:
    """How much of the best trials' place each choice explains."""
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    shares = sorted(found["importance"].items(), key=lambda item: item[1])
    if shares:
        names, values = zip(*shares, strict=True)
        axes.barh(names, values, color=COLOURS["mark"])
    else:
        axes.text(0.5, 0.5, "too few trials", ha="center", transform=axes.transAxes, color=COLOURS["muted"])
    axes.set_xlabel("share of what decides (PED-ANOVA)")
    return figure


PICTURES = {"front": front_picture, "history": history_picture, "importance": importance_picture}
_LABELS = {
    "whole": "trained whole",
    "dominated": "stopped: surely worse",
    "hopeless": "stopped: lost too much after some training",
    "budget": "ended: its file exceeds a budget",
}


def write_pictures(folder: Path, found: Results, text: str) -> Path:
    """Each picture as PNG, and one page of all of them with the results as text."""
    parts = []
    for name, plot in PICTURES.items():
        drawn = _drawn(plot, found)
        atomic_write(folder / f"{name}.png", png(drawn, ()))
        parts.append(f"<figure>{svg(drawn, (), name)}</figure>")
    variables = "; ".join(f"--{name}: {colour}" for name, colour in COLOURS.items())
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Search</title>"
        f"<style>:root {{ {variables} }} body {{ font: 15px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; }} "
        "figure { margin: 1rem 0; } pre { overflow-x: auto; }</style>"
        f"<h1>Search for {html.escape(str(found['target']))}</h1>{''.join(parts)}<pre>{html.escape(text)}</pre>\n"
    )
    atomic_write(folder / "search.html", page.encode())
    return folder / "search.html"


def _drawn(plot: Callable[[Results], Figure], found: Results) -> Plot:
    """The picture as what draws a report's entries, of which there are none here."""

    def draw(_: object) -> Figure:
        return plot(found)

    return draw


def _height(trial: Mapping[str, Any], *, timed: bool) -> float:
    if timed:
        return float(trial["ratio"]) if trial["ratio"] is not None else math.nan
    return 100 * float(trial["rungs"][-1]["drop"])


def _interval(item: Mapping[str, Any], *, timed: bool) -> Sequence[float]:
    if timed and item["ratio"] is not None:
        return float(item["ratio"]), float(item["ratio_lower"]), float(item["ratio_upper"])
    if timed:
        return math.nan, math.nan, math.nan
    return 100 * float(item["drop"]), 100 * float(item["lower"]), 100 * float(item["upper"])


__all__ = ["PICTURES", "write_pictures"]
