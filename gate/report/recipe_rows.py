"""The table of recipes: where each stands, and by what."""

from __future__ import annotations

from collections.abc import Callable

from weighbridge.core.documents import Verdict
from weighbridge.core.facts.isa import widest
from weighbridge.core.formatting import percent, quantity
from weighbridge.gate.report.blocks import Block, Code, Inline, Mark, Paragraph, Section, Span, Table
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.governance import loosened
from weighbridge.gate.report.headline import measured
from weighbridge.gate.report.phrases import counted
from weighbridge.gate.report.reference_points import (
    ABSENT,
    ReferencePoint,
    accuracy_change,
    latency_change,
    size_change,
)
from weighbridge.gate.report.subject import Report
from weighbridge.gate.verdict.judge import name_of

_WORST_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)


def place_columns(report: Report) -> list[Span]:
    """Device classes with the instruction sets that every ratio was taken with."""
    found = {entry.verdict.device: widest(entry.measurement.device.isa) for entry in report.entries}
    return [Code(f"{name} ({sets})") for name, sets in found.items()]


NOT_MEASURED = "not measured"
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
        or _loosened(entry, report)
    ]
    if report.changed is not None:
        found.sort(key=lambda entry: (entry.verdict.advisory, _WORST_FIRST.index(entry.verdict.verdict)))
    refused = _refused_rows(report)
    rows = [_row(entry, report) for entry in found]
    return [*rows, *refused] if report.changed is None else [*refused, *rows]


def _row(entry: Entry, report: Report) -> tuple[Inline, ...]:
    return (
        [Code(entry.name)],
        [Mark(entry.verdict.verdict, _standing(entry, report))],
        [_with_changes(size_cell(entry), entry, report, size_change)],
        [_with_changes(latency_cell(entry), entry, report, latency_change)],
        [_with_changes(accuracy_cell(entry), entry, report, accuracy_change)],
        _decisive(entry),
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


def _with_changes(cell: str, entry: Entry, report: Report, change: Callable[[Entry, ReferencePoint], str]) -> str:
    """`400 B (0.4×); base −3.1%, stable same`."""
    found = [(point.name, change(entry, point)) for point in report.points if point.figures]
    said = [f"{name} {changed}" for name, changed in found if changed != ABSENT or cell != NOT_MEASURED]
    return f"{cell}; {', '.join(said)}" if said else cell


def _standing(entry: Entry, report: Report) -> str:
    """What a recipe's verdict is not without saying."""
    said = ["advisory"] if entry.verdict.advisory else []
    said += ["a limit was loosened"] if _loosened(entry, report) else []
    removed = [change.budget for change in report.policy_changes if change.kind == "removed"]
    said += ["a limit was removed"] if any(not budget.startswith("device ") for budget in removed) else []
    return f" ({', '.join(said)})" if said else ""


def _loosened(entry: Entry, report: Report) -> bool:
    """Whether one of its limits asks for less than at the merge base."""
    names = loosened(report.policy_changes)
    return any(name_of(item) in names for item in entry.verdict.budgets)


def size_cell(entry: Entry) -> str:
    """Bytes, and their ratio to the baseline's."""
    return f"{quantity(entry.size, 'bytes')} ({quantity(entry.size / entry.baseline_size, 'ratio', 3)})"


def latency_cell(entry: Entry) -> str:
    """Median latency, and its ratio to the baseline's."""
    speed = entry.speed
    return f"{quantity(speed.candidate, 'seconds')} ({quantity(speed.ratio, 'ratio', 3)})" if speed else NOT_MEASURED


def accuracy_cell(entry: Entry) -> str:
    """Accuracy, and its difference to the baseline's in points."""
    found = entry.accuracy
    if found is None:
        return NOT_MEASURED
    change = found[0] - found[1]
    sign = "+" if change > 0 else ""
    return f"{percent(found[0], 4)} ({sign}{quantity(change, 'points', 3)})"


def _decisive(entry: Entry) -> Inline:
    """The budgets that made the verdict what it is."""
    verdict = entry.verdict.verdict
    if verdict is Verdict.PASS:
        waived = sum(item.waived_by is not None for item in entry.verdict.budgets)
        return [f"{counted(waived, 'failed limit')} waived" if waived else "every required limit holds"]
    found = [item for item in entry.verdict.budgets if item.required and item.standing is verdict]
    if not found:
        return ["no required limit applies"]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"{measured(found[0])}{more}"]
