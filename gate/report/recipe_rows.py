"""The table of recipes: where each stands, and by what."""

from __future__ import annotations

from weighbridge.core.documents import Verdict
from weighbridge.core.facts.isa import widest
from weighbridge.core.formatting import percent, quantity
from weighbridge.gate.report.blocks import (
    Code,
    Inline,
    Mark,
    Section,
    Span,
    Table,
)
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.governance import (
    loosened,
)
from weighbridge.gate.report.phrases import counted, listed, named_budget
from weighbridge.gate.report.subject import Report
from weighbridge.gate.verdict.judge import name_of


def place_columns(report: Report) -> list[Span]:
    """Device classes with the instruction sets that every ratio was taken with."""
    found = {entry.verdict.device: widest(entry.measurement.device.isa) for entry in report.entries}
    return [Code(f"{name} ({sets})") for name, sets in found.items()]


def recipe_rows(report: Report) -> Section | None:
    """The section with one row for each recipe and device; None where nothing was weighed."""
    if not report.entries and not report.refused:
        return None
    header = ("model", "verdict", "file size", "latency", "accuracy", "what decided")
    rows = [
        (
            [Code(entry.name)],
            [Mark(entry.verdict.verdict, _standing(entry, report))],
            [size_cell(entry)],
            [latency_cell(entry)],
            [accuracy_cell(entry)],
            _decisive(entry),
        )
        for entry in report.entries
    ]
    rows += [
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
    return Section("recipes", "Verdicts", [Table(header, rows, frozenset({2, 3, 4}))])


def _standing(entry: Entry, report: Report) -> str:
    """What a recipe's verdict is not without saying."""
    names = loosened(report.policy_changes)
    said = ["advisory"] if entry.verdict.advisory else []
    said += ["a limit was loosened"] if any(name_of(item) in names for item in entry.verdict.budgets) else []
    removed = [change.budget for change in report.policy_changes if change.kind == "removed"]
    said += ["a limit was removed"] if any(not budget.startswith("device ") for budget in removed) else []
    return f" ({', '.join(said)})" if said else ""


def size_cell(entry: Entry) -> str:
    """Bytes, and their ratio to the baseline's."""
    return f"{quantity(entry.size, 'bytes')} ({quantity(entry.size / entry.baseline_size, 'ratio', 3)})"


def latency_cell(entry: Entry) -> str:
    """Median latency, and its ratio to the baseline's."""
    speed = entry.speed
    return f"{quantity(speed.candidate, 'seconds')} ({quantity(speed.ratio, 'ratio', 3)})" if speed else "not measured"


def accuracy_cell(entry: Entry) -> str:
    """Accuracy, and its difference to the baseline's in points."""
    found = entry.accuracy
    if found is None:
        return "not measured"
    change = found[0] - found[1]
    sign = "+" if change > 0 else ""
    return f"{percent(found[0], 4)} ({sign}{quantity(change, 'points', 3)})"


def _decisive(entry: Entry) -> Inline:
    """The budgets that made the verdict what it is."""
    verdict = entry.verdict.verdict
    if verdict is Verdict.PASS:
        waived = sum(item.waived_by is not None for item in entry.verdict.budgets)
        return [f"{counted(waived, 'failed limit')} waived" if waived else "every required limit holds"]
    names = [named_budget(item) for item in entry.verdict.budgets if item.required and item.standing is verdict]
    return listed(names, 4) if names else ["no required limit applies"]
