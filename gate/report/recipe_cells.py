"""Cells of the table of recipes: size, latency and accuracy with their changes, and what decided."""

from __future__ import annotations

from collections.abc import Callable

from weighbridge.core.documents import Verdict
from weighbridge.core.formatting import percent, quantity
from weighbridge.gate.report.blocks import Inline
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.governance import loosened
from weighbridge.gate.report.headline import measured
from weighbridge.gate.report.phrases import counted
from weighbridge.gate.report.reference_points import ABSENT, ReferencePoint
from weighbridge.gate.report.subject import Report
from weighbridge.gate.verdict.judge import name_of

NOT_MEASURED = "not measured"


def with_changes(cell: str, entry: Entry, report: Report, change: Callable[[Entry, ReferencePoint], str]) -> str:
    """`400 B (0.4×); base −3.1%, stable same`."""
    found = [(point.name, change(entry, point)) for point in report.points if point.figures]
    said = [f"{name} {changed}" for name, changed in found if changed != ABSENT or cell != NOT_MEASURED]
    return f"{cell}; {', '.join(said)}" if said else cell


def standing(entry: Entry, report: Report) -> str:
    """What a recipe's verdict is not without saying."""
    said = ["advisory"] if entry.verdict.advisory else []
    said += ["a limit was loosened"] if asks_less(entry, report) else []
    removed = [change.budget for change in report.policy_changes if change.kind == "removed"]
    said += ["a limit was removed"] if any(not budget.startswith("device ") for budget in removed) else []
    return f" ({', '.join(said)})" if said else ""


def asks_less(entry: Entry, report: Report) -> bool:
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


def decisive(entry: Entry) -> Inline:
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
