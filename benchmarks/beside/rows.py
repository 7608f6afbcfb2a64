"""Rows, bars and the table: pure functions of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.beside.process import Spent

MARGIN = 1.0
"""Points of accuracy that the headline rows may lose."""

WORKS: dict[str, tuple[str, ...]] = {
    "static int8": ("ort-static", "nncf-static", "static-int8", "qat-int8"),
    "static int8, full range": ("ort-static-full-range", "static-int8-full-range"),
    "static int8, fused operators": ("ort-static-qoperator", "static-int8-qoperator"),
    "dynamic int8": ("ort-dynamic", "dynamic-int8"),
    "half precision": ("ort-fp16", "fp16"),
    "4-bit weights": ("ort-matmulnbits", "int4-matmulnbits", "weight-int4"),
    "half of the channels": ("torch-pruning-50", "structured-50"),
    "half of the channels, int8": ("torch-pruning-50-int8", "structured-50-int8"),
}
"""Which rows do the same work. Recipes of ours that stand nowhere here are the best ones, and come last."""
BEST = "our best"

TARGETS = {
    "smallest_ratio": 40.0,
    "fastest_ratio": 0.40,
    "overhead_wall_static_int8": 1.15,
    "overhead_memory_static_int8": 1.2,
    "overhead_wall_structured": 1.15,
    "overhead_memory_structured": 1.2,
}
"""The first is to be reached from below, all others from above."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its bounds; a bound that so few launches cannot give is None."""

    estimate: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class Figures:
    """What was measured of one file, and of the step that made it."""

    bytes: int
    gzip: int
    zstd: int
    top1: float
    """Share of the test images, 0 to 1."""
    latency: Interval
    """As a ratio to the fp32 baseline."""
    spent: Spent


@dataclass(frozen=True)
class Row:
    """One tool or recipe: its figures, or why there are none."""

    name: str
    tool: str
    ours: bool
    figures: Figures | None = None
    error: str = ""

    def __post_init__(self) -> None:
        if (self.figures is None) == (not self.error):
            raise ValueError(f"{self.name}: a row has figures, or says why not")


@dataclass(frozen=True)
class Baseline:
    """The fp32 file that everything is compared with."""

    bytes: int
    gzip: int
    zstd: int
    top1: float

    def drop(self, figures: Figures) -> float:
        """Points of accuracy that a file lost."""
        return 100 * (self.top1 - figures.top1)


def work_of(name: str) -> str:
    """The work that a row does."""
    return next((work for work, names in WORKS.items() if name in names), BEST)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Like beside like: by work, then as the work lists them, then as given."""
    works = [*WORKS, BEST]

    def place(row: Row) -> tuple[int, int]:
        work = work_of(row.name)
        return works.index(work), WORKS[work].index(row.name) if work in WORKS else 0

    return sorted(rows, key=place)


def bars(
    baseline: Baseline, rows: Sequence[Row], overheads: Mapping[str, Mapping[str, float] | str]
) -> dict[str, dict[str, Any]]:
    """Each bar's value, target and whether it is met. What was not measured has no value, says why, and is not met.

    `overheads` maps `static_int8` and `structured` to `wall` and `memory` ratios, or to why there are none.
    """
    near = [
        (row.name, row.figures)
        for row in rows
        if row.ours and row.figures is not None and baseline.drop(row.figures) <= MARGIN + 1e-9
    ]
    found = {"smallest_ratio": _smallest(baseline, near), "fastest_ratio": _fastest(baseline, near)}
    for kind in ("static_int8", "structured"):
        measured = overheads.get(kind, "was not asked for")
        for what in ("wall", "memory"):
            name = f"overhead_{what}_{kind}"
            if isinstance(measured, str):
                found[name] = _absent(name, measured)
            else:
                found[name] = _bar(
                    name, measured[what], **{key: value for key, value in measured.items() if key == "cpu"}
                )
    return found


def _smallest(baseline: Baseline, near: Sequence[tuple[str, Figures]]) -> dict[str, Any]:
    if not near:
        return _absent("smallest_ratio", f"no recipe of ours within {MARGIN} point")
    name, best = min(near, key=lambda item: item[1].bytes)
    return _bar("smallest_ratio", baseline.bytes / best.bytes, recipe=name, drop_points=round(baseline.drop(best), 2))


def _fastest(baseline: Baseline, near: Sequence[tuple[str, Figures]]) -> dict[str, Any]:
    if not near:
        return _absent("fastest_ratio", f"no recipe of ours within {MARGIN} point")
    name, best = min(near, key=lambda item: item[1].latency.estimate)
    bounds = [best.latency.lower, best.latency.upper]
    drop = round(baseline.drop(best), 2)
    return _bar("fastest_ratio", best.latency.estimate, recipe=name, drop_points=drop, bounds=bounds)


def _bar(name: str, value: float, **details: Any) -> dict[str, Any]:
    target = TARGETS[name]
    met = value >= target if name == "smallest_ratio" else value <= target
    return {"value": value, "target": target, "met": bool(met), **details}


def _absent(name: str, why: str) -> dict[str, Any]:
    return {"value": None, "target": TARGETS[name], "met": False, "why": why}


def table(baseline: Baseline, rows: Sequence[Row]) -> str:
    """Markdown: the baseline, then like beside like; a row without figures says why."""
    lines = [
        "| work | tool or recipe | bytes | smaller | gzip | zstd | top-1 | points | latency | step, s | peak, MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        _line("", "fp32 baseline", *_sizes(baseline, baseline), f"{baseline.top1:.2%}", "", "1", "", ""),
    ]
    lines += [_row_line(baseline, row) for row in in_order(rows)]
    return "\n".join(lines)


def _row_line(baseline: Baseline, row: Row) -> str:
    title = f"**{row.tool}**" if row.ours else row.tool
    found = row.figures
    if found is None:
        return _line(work_of(row.name), title, f"error: {_plain(row.error)}", *[""] * 8)
    return _line(
        work_of(row.name),
        title,
        *_sizes(baseline, found),
        f"{found.top1:.2%}",
        _points(-baseline.drop(found)),
        _interval(found.latency),
        f"{found.spent.seconds:.1f}",
        f"{found.spent.peak_bytes / 1e6:.0f}",
    )


def _sizes(baseline: Baseline, found: Baseline | Figures) -> list[str]:
    return [f"{found.bytes:,}", f"{baseline.bytes / found.bytes:.1f}×", f"{found.gzip:,}", f"{found.zstd:,}"]


def _points(change: float) -> str:
    """Signed, two places; what rounds to nothing has no minus."""
    return f"{round(change, 2) + 0.0:+.2f}".replace("-", "−")


def _interval(found: Interval) -> str:
    if found.lower is None or found.upper is None:
        return f"{found.estimate:.3f}"
    return f"{found.estimate:.3f} [{found.lower:.3f}, {found.upper:.3f}]"


def _plain(text: str) -> str:
    """Text that does not break a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def bars_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: each bar with its target."""
    lines = ["| bar | value | target | met | |", "| --- | ---: | ---: | --- | --- |"]
    for name, bar in found.items():
        value = "–" if bar["value"] is None else f"{bar['value']:.3f}"
        sign = "≥" if name == "smallest_ratio" else "≤"
        note = bar.get("why") or bar.get("recipe") or ""
        lines.append(_line(name, value, f"{sign} {bar['target']:g}", "yes" if bar["met"] else "NO", note))
    return "\n".join(lines)


def as_json(baseline: Baseline, row: Row) -> dict[str, Any]:
    """One row for programs: plain numbers, bytes and seconds."""
    facts: dict[str, Any] = {"name": row.name, "work": work_of(row.name), "tool": row.tool, "ours": row.ours}
    found = row.figures
    if found is None:
        return {**facts, "error": row.error}
    return {
        **facts,
        "bytes": found.bytes,
        "ratio": baseline.bytes / found.bytes,
        "gzip": found.gzip,
        "zstd": found.zstd,
        "top1": found.top1,
        "drop_points": baseline.drop(found),
        "latency_ratio": found.latency.estimate,
        "latency_bounds": [found.latency.lower, found.latency.upper],
        "seconds": found.spent.seconds,
        "cpu_seconds": found.spent.cpu_seconds,
        "peak_bytes": found.spent.peak_bytes,
    }
