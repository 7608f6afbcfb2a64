"""The table of recipes: where each stands, and by what."""

from __future__ import annotations

from weighbridge.core.documents import Verdict
from weighbridge.core.facts.isa import widest
from weighbridge.gate.report.blocks import Block, Code, Inline, Mark, Paragraph, Section, Span, Table
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.recipe_cells import (
    accuracy_cell,
    asks_less,
    decisive,
    latency_cell,
    size_cell,
    standing,
    with_changes,
)
from weighbridge.gate.report.reference_points import accuracy_change, latency_change, size_change
from weighbridge.gate.report.subject import Report

_WORST_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)


def place_columns(report: Report) -> list[Span]:
    """Device classes with the instruction sets that every ratio was taken with."""
    found = {entry.verdict.device: widest(entry.measurement.device.isa) for entry in report.entries}
    return [Code(f"{name} ({sets})") for name, sets in found.items()]


MOST_ROWS = 4
"""Of the first table: with headline, table and what follows, a reader sees it all at once."""
_HEADER = ("recipe", "verdict", "size", "latency", "accuracy", "why")
_NUMERIC = frozenset({2, 3, 4})


def first_rows(report: Report) -> Section | None:
    """The recipes that changed or do not pass; None where nothing was weighed."""
    if not report.entries and not report.refused:
        return None
    rows = _chosen(report)
    rows = rows[: len(rows) - hidden(report)]
    none = Paragraph(["No recipe differs from the merge base, and none fails."])
    shown: list[Block] = [Table(_HEADER, rows, _NUMERIC) if rows else none]
    return Section("recipes", "Verdicts", shown, headed=False)


def hidden(report: Report) -> int:
    """How many rows that changed or do not pass the first table has no room for."""
    return 0 if report.changed is None else max(0, len(_chosen(report)) - MOST_ROWS)


def all_rows(report: Report) -> Section | None:
    """Every recipe, where the first table does not have them all."""
    rows = [*(_row(entry, report) for entry in report.entries), *_refused_rows(report)]
    if len(rows) == len(_chosen(report)) - hidden(report):
        return None
    return Section("all", "All recipes", [Table(_HEADER, rows, _NUMERIC)])


def _chosen(report: Report) -> list[tuple[Inline, ...]]:
    """Rows of what changed or does not pass, the worst first; of everything where that is not known."""
    found = [
        entry
        for entry in report.entries
        if report.changed is None
        or (entry.verdict.recipe or entry.name) in report.changed
        or entry.verdict.verdict is not Verdict.PASS
        or asks_less(entry, report)
    ]
    if report.changed is not None:
        found.sort(key=lambda entry: (entry.verdict.advisory, _WORST_FIRST.index(entry.verdict.verdict)))
    refused = _refused_rows(report)
    rows = [_row(entry, report) for entry in found]
    return [*rows, *refused] if report.changed is None else [*refused, *rows]


def _row(entry: Entry, report: Report) -> tuple[Inline, ...]:
    return (
        [Code(entry.name)],
        [Mark(entry.verdict.verdict, standing(entry, report))],
        [with_changes(size_cell(entry), entry, report, size_change)],
        [with_changes(latency_cell(entry), entry, report, latency_change)],
        [with_changes(accuracy_cell(entry), entry, report, accuracy_change)],
        decisive(entry),
    )


def _refused_rows(report: Report) -> list[tuple[Inline, ...]]:
    return [
        (
            [Code(name)],
            [Mark(item.verdict, " (advisory)" if item.advisory else "")],
            ["–"],
            ["–"],
            ["–"],
            ["not built" if item.stage == "compress" else "not weighed"],
        )
        for name, item in report.refused.items()
    ]
