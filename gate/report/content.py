"""The report as blocks: the verdict first, in words for a reviewer who has never seen this tool."""

from __future__ import annotations

from dataclasses import replace

from weighbridge.core.documents import BudgetVerdict, Verdict
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.formatting import quantity
from weighbridge.gate.report.blocks import (
    Bullets,
    Code,
    Document,
    Inline,
    Mark,
    Paragraph,
    Picture,
    Section,
    Shell,
    Strong,
    Table,
)
from weighbridge.gate.report.evidence_sections import (
    device_section,
    flips_section,
    launches_section,
    scores_section,
    slices_section,
    texts_section,
)
from weighbridge.gate.report.facts import Entry, unbeaten
from weighbridge.gate.report.governance import basis_section, loosened, params_section, policy_section, waivers_section
from weighbridge.gate.report.headline import headline
from weighbridge.gate.report.next_section import next_section, stanzas_section
from weighbridge.gate.report.phrases import exact_value, interval, joined, listed, named_budget
from weighbridge.gate.report.portability_table import portability_section
from weighbridge.gate.report.recipe_cells import accuracy_cell, latency_cell, size_cell
from weighbridge.gate.report.recipe_rows import all_rows, first_rows, place_columns
from weighbridge.gate.report.subject import PICTURES, Report
from weighbridge.gate.report.target_tables import targets_section
from weighbridge.gate.verdict.judge import name_of


def document(report: Report) -> Document:
    """Lay the report out: what a reviewer acts on stands open, the rest is folded; empty parts are left out."""
    parts = [
        first_rows(report),
        next_section(report),
        stanzas_section(report.stanzas),
        all_rows(report),
        _budgets(report),
        _reasons(report),
        policy_section(report.policy_changes),
        waivers_section(report.waivers),
        basis_section(report.basis),
        params_section(report.edits),
        _tradeoff(report),
        targets_section(report.entries),
        portability_section(report.portability),
        slices_section(report.entries),
        flips_section(report.entries),
        scores_section(report.entries),
        texts_section(report.entries),
        launches_section(report.entries, PICTURES["launches"] if report.pictures else None),
        device_section(report.entries, report.calibration),
        _notes(report),
        _legend(report),
        _reproduce(report),
    ]
    lead = [] if report.entries else [Paragraph(["Nothing was weighed, and missing evidence never passes."])]
    return Document(report.verdict, headline(report), lead, [_folded(part) for part in parts if part is not None])


def _folded(section: Section) -> Section:
    return replace(section, folded=section.headed)


def _budgets(report: Report) -> Section | None:
    names = loosened(report.policy_changes)
    rows = [
        _budget_row(entry, item, loosened=name_of(item) in names)
        for entry in report.entries
        for item in entry.verdict.budgets
    ]
    if not rows:
        return None
    picture = [Picture(PICTURES["limits"], "How much of each limit is used")] if report.pictures else []
    header = ("model", "verdict", "budget", "limit", "measured", "interval")
    return Section("budgets", "Limits", [Table(header, rows, frozenset({3, 4, 5})), *picture])


def _budget_row(entry: Entry, item: BudgetVerdict, *, loosened: bool) -> tuple[Inline, ...]:
    rule = find_rule(item.rule)
    unit = rule.shown_unit(item.unit)
    suffix = " (waived)" if item.waived_by else "" if item.required else " (not required)"
    suffix += " (loosened)" if loosened else ""
    return (
        [Code(entry.name)],
        [Mark(item.verdict, suffix)],
        [Code(named_budget(item))],
        [f"{rule.bound} {quantity(item.limit, unit)}"],
        [quantity(item.estimate, unit)],
        [interval(item)],
    )


def _reasons(report: Report) -> Section | None:
    """Every budget that did not pass; those of one model that share a reason stand together."""
    grouped: dict[tuple[str, Verdict, str], list[str]] = {}
    for entry in report.entries:
        for item in entry.verdict.budgets:
            if item.verdict is not Verdict.PASS:
                grouped.setdefault((entry.name, item.verdict, item.reason), []).append(named_budget(item))
    items: list[Inline] = [
        [Mark(verdict), " ", Code(name), " ", *listed(budgets), f": {reason}"]
        for (name, verdict, reason), budgets in grouped.items()
    ]
    items += [[Mark(item.verdict), " ", Code(name), f": {item.reason}"] for name, item in report.refused.items()]
    return Section("reasons", "Why", [Bullets(items)]) if items else None


def _tradeoff(report: Report) -> Section | None:
    if len(report.entries) < 2:
        return None
    front = unbeaten(report.entries)
    rows = [
        (
            [Code(entry.name)],
            [size_cell(entry)],
            [exact_value(entry, "size.gzip", "bytes")],
            [exact_value(entry, "params", "count")],
            [exact_value(entry, "macs", "count")],
            [accuracy_cell(entry)],
            [latency_cell(entry)],
            ["yes" if entry.name in front else "no"],
        )
        for entry in report.entries
    ]
    header = ("model", "file size", "after gzip", "parameters", "MACs", "accuracy", "latency", "unbeaten")
    picture = [Picture(PICTURES["pareto"], "File size against accuracy, colour by latency")] if report.pictures else []
    note = Paragraph(["Unbeaten: no other model here is at least as small, as fast and as accurate at once."])
    return Section("tradeoff", "What each model costs", [*picture, Table(header, rows, frozenset(range(1, 7))), note])


def _notes(report: Report) -> Section | None:
    items: list[Inline] = [[note] for note in report.notes]
    items += [
        [Code(entry.name), f": {note}"]
        for entry in report.entries
        for note in (*entry.verdict.notes, *(entry.comparison.controls.notes if entry.comparison else ()))
    ]
    return Section("notes", "Notes", [Bullets(items)]) if items else None


_RATES = {
    Verdict.PASS: "the interval is within the limit. A true value beyond it passes in at most 5% of runs.",
    Verdict.FAIL: (
        "the interval is beyond the limit. Of all limits on speed and memory that truly hold, any fails in at most "
        "1% of runs; likewise for accuracy."
    ),
    Verdict.INCONCLUSIVE: "the interval covers the limit, so neither was shown. It never counts as a pass.",
    Verdict.ERROR: "it could not be measured or computed. It never counts as a pass.",
}
_INTERVALS = (
    "Intervals: the bounds are those that decide, one at the error rate of pass, the other at that of fail. Latencies "
    "are compared in pairs of freshly started processes that take turns within milliseconds; × is times the "
    "baseline's value."
)


def _what(report: Report) -> list[Paragraph]:
    """What was done, for somebody who has never seen this tool."""
    if not report.entries:
        return []
    what: list[str | Code | Strong] = ["A candidate model was"]
    if report.model is not None:
        ways = "one way" if len(report.entries) == 1 else f"{len(report.entries)} ways"
        what = ["The model ", Code(report.model), f" was compressed in {ways}, and each result was"]
    sizes = dict.fromkeys(quantity(entry.baseline_size, "bytes") for entry in report.entries)
    baseline = "the baseline" if len(sizes) == 1 else "the baseline of each target"
    beside = f" weighed beside the uncompressed model ({baseline}, {', '.join(sizes)}) on "
    places = joined(place_columns(report))
    how = (
        ": how large the file is, how fast it answers, how often it is right. "
        "A model passes only if every measurement is within its required limit."
    )
    return [Paragraph([*what, beside, *places, how])]


def _legend(report: Report) -> Section:
    items: list[Inline] = [[Mark(verdict), f": {meaning}"] for verdict, meaning in _RATES.items()]
    return Section("legend", "How to read this", [*_what(report), Bullets([*items, [_INTERVALS]])])


def _reproduce(report: Report) -> Section | None:
    if not report.reproduce:
        return None
    return Section("reproduce", "Reproduce this", [Shell(report.reproduce)])
