"""The verdict for a terminal: one line per budget, what did not pass and why, and one line to quote at the end."""

from __future__ import annotations

from weighbridge.core.columns import columns
from weighbridge.core.documents import BudgetVerdict, GateVerdict, PolicyChange, Verdict
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.formatting import quantity
from weighbridge.gate.report.blocks import Code, Inline, Mark, Strong
from weighbridge.gate.report.governance import loosened
from weighbridge.gate.report.headline import headline
from weighbridge.gate.report.subject import Report
from weighbridge.gate.verdict.judge import name_of

NARROW = 60
"""Columns that the table fits where nothing says how many there are: a log on a phone."""


def table(verdict: GateVerdict, report: Report, width: int | None = None) -> str:
    """The whole verdict as text; its last line says it all."""
    names = loosened(verdict.policy_changes)
    rows = [
        {
            "recipe": name,
            "verdict": _word(item, names),
            "budget": f"{item.metric} vs {item.against}" if item.against == "stable" else item.metric,
            "measured": quantity(item.estimate, find_rule(item.rule).shown_unit(item.unit)),
            "limit": quantity(item.limit, find_rule(item.rule).shown_unit(item.unit)),
        }
        for name, recipe in verdict.recipes.items()
        for item in recipe.budgets
    ]
    parts = [
        columns(rows, width or NARROW),
        "",
        *_reasons(verdict),
        *_portable(verdict),
        *(_policy(change) for change in verdict.policy_changes),
        *verdict.notes,
        *_recipes(verdict),
        *_next(report),
        "the report is in reports/gate.md",
        quoted(verdict.model, report),
    ]
    return "\n".join([*parts, ""])


def quoted(name: str, report: Report) -> str:
    """One line that says what was judged, a model or a file, and what came of it."""
    return f"gate: {report.verdict.value}: {name}: {headline(report).partition(': ')[2]}"


def _word(item: BudgetVerdict, names: frozenset[str]) -> str:
    said = item.verdict.value
    said += " (waived)" if item.waived_by else "" if item.required else " (advisory)"
    return said + (" (loosened)" if name_of(item) in names else "")


def _reasons(verdict: GateVerdict) -> list[str]:
    return [
        f"{name}: {name_of(item)}: {item.reason}"
        for name, recipe in verdict.recipes.items()
        for item in recipe.budgets
        if item.standing is not Verdict.PASS
    ]


def _portable(verdict: GateVerdict) -> list[str]:
    return [
        f"{item.artifact} on {item.processor}: {item.verdict or 'not compared'}: {item.reason}"
        for item in verdict.portability
    ]


def _recipes(verdict: GateVerdict) -> list[str]:
    whole = [
        f"{name}: {recipe.verdict.value}{' (advisory)' if recipe.advisory else ''}"
        for name, recipe in verdict.recipes.items()
    ]
    return whole + [
        f"{name}: {item.verdict.value} ({item.stage} refused it{'; advisory' if item.advisory else ''}): {item.reason}"
        for name, item in verdict.refused.items()
    ]


def _next(report: Report) -> list[str]:
    """What to do, and the waivers that are ready, as they are written."""
    if not report.next_steps:
        return []
    said = "".join(_plain(step) for step in report.next_steps)
    return [f"next: {said}", *(stanza.rstrip() for stanza in report.stanzas)]


def _plain(spans: Inline) -> str:
    return "".join(
        span.text if isinstance(span, Code | Strong) else span.verdict.value if isinstance(span, Mark) else span
        for span in spans
    )


def _policy(change: PolicyChange) -> str:
    standing = "needs no waiver"
    if change.waived_by:
        standing = f"accepted by {change.waived_by}"
    elif change.blocks:
        standing = f"no waiver accepts it: `to: {change.accepts}`"
    return f"policy: {change.budget} {change.kind}: {change.base} → {change.head} ({standing})"
