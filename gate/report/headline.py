"""The first line of a report: the verdict, and the budget or the change of the rules that made it so."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.documents import BudgetVerdict, PolicyChange, Verdict
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.facts.policy_changes import EDITS_GATE
from weighbridge.core.formatting import contrast
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.governance import OF_LIMITS
from weighbridge.gate.report.phrases import named_budget
from weighbridge.gate.report.subject import Report


def headline(report: Report) -> str:
    """The verdict over all in one line that can be quoted."""
    if report.verdict is Verdict.PASS:
        counting = [entry for entry in report.entries if not entry.verdict.advisory]
        edits = any(change.kind in EDITS_GATE for change in report.policy_changes)
        said = "; this change edits the gate itself" if edits else ""
        return f"Pass: {_all(report, len(counting))} within every limit that counts{said}"
    if report.verdict is Verdict.FAIL:
        return _failure(report)
    if elsewhere := _elsewhere(report, Verdict.ERROR):
        return f"Error: does not run on another processor ({elsewhere})"
    word = report.verdict.value.capitalize()
    decisive = [
        found
        for verdict in (report.verdict, Verdict.ERROR, Verdict.INCONCLUSIVE)
        for found in _budgets(report, verdict)
    ]
    if not decisive:
        return "Error: the evidence for this verdict is not valid, so nothing passes; the notes say what to fix"
    return f"{word}: {_undecided(*decisive[0], report)}{_more(len({id(item) for _, item in decisive}) - 1)}"


def measured(item: BudgetVerdict) -> str:
    """`latency.p50 1.395×, at most 0.9×`: the budget, what was measured and the limit."""
    rule = find_rule(item.rule)
    if item.estimate is None:
        return f"{named_budget(item)} not measured"
    value, limit = contrast(item.estimate, item.limit, rule.shown_unit(item.unit))
    drop = " drop" if rule.scale == "drop" else ""
    return f"{named_budget(item)}{drop} {value}, {rule.bound} {limit}"


def unwaived(changes: list[PolicyChange]) -> str:
    """The changes that no waiver accepts, as a clause; empty where there is none."""
    if not changes:
        return ""
    first = changes[0]
    what = first.effect or f"{first.budget} changed"
    if first.kind in OF_LIMITS:
        done = {"removed": "was removed", "advisory": "was made advisory"}.get(first.kind, "was loosened")
        values = f" ({first.base} → {first.head})" if first.kind == "loosened" else ""
        what = f"{first.budget} {done}{values}"
    return f"{what}{',' if ',' in what else ''} without a waiver{_more(len(changes) - 1)}"


def _failure(report: Report) -> str:
    """Everything that failed: limits, answers elsewhere, and changes of the rules that no waiver accepts."""
    failed = list(_budgets(report, Verdict.FAIL))
    said = [f"{_named(failed[0][0], report)}{measured(failed[0][1])}{_more(len(failed) - 1)}"] if failed else []
    refused = [(name, item) for name, item in report.refused.items() if not item.advisory]
    if refused:
        name, item = refused[0]
        said.append(
            f"{name} could not be {'built' if item.stage == 'compress' else 'weighed'}{_more(len(refused) - 1)}"
        )
    elsewhere = _elsewhere(report, Verdict.FAIL)
    said += [f"answers differ on another processor ({elsewhere})"] if elsewhere else []
    lacking = unwaived([change for change in report.policy_changes if change.blocks])
    said += [lacking] if lacking else []
    return f"Fail: {'; '.join(said) or 'a required limit does not hold'}"


def _undecided(entry: Entry, item: BudgetVerdict, report: Report) -> str:
    if item.verdict is Verdict.ERROR:
        return f"{_named(entry, report)}{named_budget(item)} could not be measured or computed, so nothing passes"
    return f"{_named(entry, report)}{measured(item)}: neither within the limit nor beyond it was shown"


def _budgets(report: Report, verdict: Verdict) -> Iterator[tuple[Entry, BudgetVerdict]]:
    """The required budgets of recipes that count and that stand so."""
    for entry in report.entries:
        for item in entry.verdict.budgets:
            if item.required and not entry.verdict.advisory and item.standing is verdict:
                yield entry, item


def _named(entry: Entry, report: Report) -> str:
    return f"{entry.name}: " if report.many else ""


def _more(number: int) -> str:
    return f", and {number} more" if number > 0 else ""


def _elsewhere(report: Report, verdict: Verdict) -> str:
    """The artifacts that count and have that verdict on another processor."""
    found = [item for item in report.portability if item.verdict is verdict and not item.advisory]
    return ", ".join(dict.fromkeys(item.artifact for item in found))


def _all(report: Report, total: int) -> str:
    """`all 3 compressed models are`, `the candidate is`."""
    if total == 1:
        return "the compressed model is" if report.many else "the candidate is"
    return f"{'both' if total == 2 else f'all {total}'} compressed models are"
