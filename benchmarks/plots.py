"""Pictures of what the benchmarks print, for people who would rather look: functions from rows to figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

mpl.use("Agg")

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, told apart with every kind of colour vision."""
MARKERS = {"float": "o", "int8": "s", "qat-int8": "^"}
SIZES = {"float": 7, "int8": 10, "qat-int8": 6}
"""Of markers, in points."""

Rows = Sequence[Mapping[str, Any]]
CONTENDERS = {
    "ours": "ours",
    "random": "random search",
    "olive": "Olive's search",
    "hand": "recipes made by hand",
}
"""Contender of the hypervolume → its name in the picture."""


def deep_compression(rows: Rows, references: Mapping[str, float], margin: float) -> Figure:
    """Accuracy (points against fp32) over how many times smaller the file is; one line a net.

    `references` are other people's ratios by net, `margin` the points that may be lost.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for (net, reference), colour in zip(references.items(), COLOURS, strict=False):
        own = [row for row in rows if row["net"] == net]
        base = next((row["top1"] for row in own if row["bits"] == 32), None)
        if base is None:
            continue
        points = sorted((row["ratio"], 100 * (row["top1"] - base)) for row in own)
        axes.plot(*zip(*points, strict=True), color=colour, marker="o", label=net)
        axes.axvline(reference, color=colour, linestyle=":", linewidth=1)
        axes.annotate(
            f" {reference:.0f}×, Deep Compression on MNIST",
            (reference, 0.02 if colour == COLOURS[0] else 0.09),
            xycoords=("data", "axes fraction"),
            color=colour,
            fontsize=8,
        )
    axes.axhline(-margin, color="grey", linestyle="--", linewidth=1, label=f"−{margin:g} points")
    axes.set_xlabel("stored fp32 file / stored file")
    axes.set_ylabel("top-1, points against fp32")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def targets(rows: Rows) -> Figure:
    """Latency over stored bytes, one panel a network: a colour for each target, a shape for each form."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    names = list(dict.fromkeys(row["target"] for row in rows))
    colours = dict(zip(names, itertools.cycle(COLOURS), strict=False))
    figure = Figure(figsize=(4.2 * len(networks), 4.0), layout="constrained")
    panels = figure.subplots(1, len(networks), squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        for row in rows:
            if row["network"] == network:
                _point(axes, row, colours[row["target"]])
        axes.axhline(1, color="grey", linestyle="--", linewidth=1)
        axes.set(title=network, xlabel="kB", ylabel="latency / fp32 ONNX", yscale="log")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 4]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def search(rows: Rows) -> Figure:
    """Hypervolume so far over minutes, one step line a search, a colour for each contender.

    What was confirmed in the end is a cross with the seed beside it; a level for a contender without a clock.
    """
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = dict(zip(CONTENDERS, COLOURS, strict=False))
    for row in rows:
        colour, name = colours[row["contender"]], CONTENDERS[row["contender"]]
        if not row["anytime"]:
            axes.axhline(row["hypervolume"], color=colour, linestyle=":", label=name)
            continue
        seconds, values = zip((0.0, 0.0), *row["anytime"], (60 * row["minutes"], row["anytime"][-1][1]), strict=True)
        axes.step([moment / 60 for moment in seconds], values, where="post", color=colour, label=name)
        place = (row["minutes"], row["hypervolume"])
        axes.plot(*place, marker="x", color=colour, linestyle="", clip_on=False)
        axes.annotate(str(row["seed"]), place, (6, -3), textcoords="offset points", color=colour, fontsize=8)
    axes.set(ylabel="hypervolume so far,\nlog bytes × log latency", ylim=0)
    axes.set(xlabel="minutes (×: what was confirmed, with its seed)")
    axes.grid(alpha=0.3)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), fontsize=8, loc="outside right upper")
    return figure


def _point(axes: Axes, row: Mapping[str, Any], colour: str) -> None:
    """One file with its interval; forms of equal size and speed stay visible through each other."""
    low, high = row["latency_ratio_interval"]
    middle = row["latency_ratio_to_fp32_onnx"]
    axes.errorbar(
        row["bytes"] / 1000,
        middle,
        yerr=None if low is None or high is None else [[max(0.0, middle - low)], [max(0.0, high - middle)]],
        color=colour,
        marker=MARKERS[row["form"]],
        markersize=SIZES[row["form"]],
        fillstyle="none",
        linestyle="",
        capsize=2,
        label=f"{row['target']}, {row['form']}",
    )


def save(figure: Figure, path: Path) -> None:
    """Write a picture; the ending chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
