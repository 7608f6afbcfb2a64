"""Phrases that several sections of a report share."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.documents import BudgetVerdict
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.formatting import quantity, span
from weighbridge.gate.report.blocks import Code, Span
from weighbridge.gate.report.facts import Entry


def interval(item: BudgetVerdict) -> str:
    """The bounds of a budget's estimate as people read them."""
    if item.estimate is None:
        return "–"
    if item.lower == item.upper == item.estimate:
        return "exact"
    return span(item.lower, item.upper, find_rule(item.rule).shown_unit(item.unit))


def named_budget(item: BudgetVerdict) -> str:
    """`latency.p50 against stable`: short, and telling within a table that shows the limit."""
    return item.metric if item.against in (None, "baseline") else f"{item.metric} against {item.against}"


def joined(spans: Sequence[Span]) -> list[Span]:
    """Spans in one sentence: `a and b and c`."""
    found: list[Span] = []
    for item in spans:
        found += [" and ", item] if found else [item]
    return found


def listed(names: Sequence[str], most: int = 6) -> list[Span]:
    """Names separated by commas, the first `most` of them and how many more."""
    spans: list[Span] = []
    for name in names[:most]:
        spans += [", ", Code(name)] if spans else [Code(name)]
    return [*spans, f" and {len(names) - most} more"] if len(names) > most else spans


def exact_value(entry: Entry, metric: str, unit: str) -> str:
    """A quantity of the candidate that was counted rather than sampled; a dash where there is none."""
    found = entry.exact(metric)
    return quantity(found.candidate, unit) if found else "–"


def counted(number: int, thing: str) -> str:
    """`1 limit`, `2 limits`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")
