"""The report as blocks: the verdict first, in words for a reviewer who has never seen this tool."""

from __future__ import annotations

from weighbridge.core.documents import BudgetVerdict, Verdict
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.facts.policy_changes import EDITS_GATE
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
from weighbridge.gate.report.evidence import (
    device_section,
    flips_section,
    launches_section,
    scores_section,
    slices_section,
)
from weighbridge.gate.report.facts import Entry, unbeaten
from weighbridge.gate.report.governance import (
    basis_section,
    loosened,
    params_section,
    policy_section,
    unwaived,
    waivers_section,
)
from weighbridge.gate.report.phrases import counted, exact_value, interval, joined, listed, named_budget
from weighbridge.gate.report.portability import portability_section
from weighbridge.gate.report.recipe_rows import accuracy_cell, latency_cell, place_columns, recipe_rows, size_cell
from weighbridge.gate.report.subject import PICTURES, Report
from weighbridge.gate.report.targets import targets_section
from weighbridge.gate.verdict.judge import name_of


def document(report: Report) -> Document:
    """Lay the report out; empty parts are left out."""
    parts = [
        recipe_rows(report),
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
        launches_section(report.entries, PICTURES["launches"] if report.pictures else None),
        device_section(report.entries, report.calibration),
        _notes(report),
        _legend(),
        _reproduce(report),
    ]
    return Document(report.verdict, _headline(report), _lead(report), [part for part in parts if part is not None])


def _headline(report: Report) -> str:
    counting = [entry.verdict.verdict for entry in report.entries if not entry.verdict.advisory]
    failed = counting.count(Verdict.FAIL)
    unjudged = counting.count(Verdict.INCONCLUSIVE) + counting.count(Verdict.ERROR)
    if report.verdict is Verdict.PASS:
        edits = any(change.kind in EDITS_GATE for change in report.policy_changes)
        said = "; this change edits the gate itself" if edits else ""
        return f"Pass: {_share(report, len(counting), len(counting))} within every limit that counts{said}"
    if report.verdict is Verdict.FAIL:
        return _failure(report, failed, len(counting))
    if elsewhere := _elsewhere(report, Verdict.ERROR):
        return f"Error: does not run on another processor ({elsewhere})"
    if not unjudged:
        return "Error: the evidence for this verdict is not valid, so nothing passes; the notes say what to fix"
    subject = _share(report, unjudged, len(counting)).rsplit(" ", 1)[0]
    if report.verdict is Verdict.ERROR:
        return f"Error: {subject} could not be measured or computed, so nothing passes"
    return f"Inconclusive: {subject} could not be shown to be within every limit, nor beyond one"


def _failure(report: Report, failed: int, counting: int) -> str:
    """Everything that failed: limits, answers elsewhere, and changes of the rules that no waiver accepts."""
    elsewhere = _elsewhere(report, Verdict.FAIL)
    said = [f"{_share(report, failed, counting)} beyond a limit"] if failed else []
    refused = [item for item in report.refused.values() if not item.advisory]
    said += [f"{counted(len(refused), 'recipe')} could not be built or weighed"] if refused else []
    said += [f"answers differ on another processor ({elsewhere})"] if elsewhere else []
    lacking = unwaived(report.policy_changes)
    said += [lacking] if lacking else []
    return f"Fail: {', and '.join(said) or 'a required limit does not hold'}"


def _elsewhere(report: Report, verdict: Verdict) -> str:
    """The artifacts that count and have that verdict on another processor."""
    found = [item for item in report.portability if item.verdict is verdict and not item.advisory]
    return ", ".join(dict.fromkeys(item.artifact for item in found))


def _share(report: Report, some: int, total: int) -> str:
    """`2 of 3 compressed models are`, `all 3 compressed models are`, `the candidate is`."""
    if total == 1:
        return "the compressed model is" if report.many else "the candidate is"
    which = ("both" if total == 2 else f"all {total}") if some == total else f"{some} of {total}"
    return f"{which} compressed models {'is' if some == 1 else 'are'}"


def _lead(report: Report) -> list[Paragraph]:
    if not report.entries:
        return [Paragraph(["Nothing was weighed, and missing evidence never passes."])]
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
    header = ("model", "budget", "limit", "measured", "interval", "verdict")
    return Section("budgets", "Limits", [Table(header, rows, frozenset({2, 3, 4})), *picture])


def _budget_row(entry: Entry, item: BudgetVerdict, *, loosened: bool) -> tuple[Inline, ...]:
    rule = find_rule(item.rule)
    unit = rule.shown_unit(item.unit)
    suffix = " (waived)" if item.waived_by else "" if item.required else " (not required)"
    suffix += " (loosened)" if loosened else ""
    return (
        [Code(entry.name)],
        [Code(named_budget(item))],
        [f"{rule.bound} {quantity(item.limit, unit)}"],
        [quantity(item.estimate, unit)],
        [interval(item)],
        [Mark(item.verdict, suffix)],
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


def _legend() -> Section:
    items: list[Inline] = [[Mark(verdict), f": {meaning}"] for verdict, meaning in _RATES.items()]
    return Section("legend", "How to read this", [Bullets([*items, [_INTERVALS]])], folded=True)


def _reproduce(report: Report) -> Section | None:
    if not report.reproduce:
        return None
    return Section("reproduce", "Reproduce this", [Shell(report.reproduce)])
