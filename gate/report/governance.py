"""Sections on what the change does to the rules: loosened limits, waivers, edits of `params.yaml`."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.documents import BasisItem, PolicyChange, Verdict, WaiverUse
from weighbridge.gate.report.blocks import Block, Code, Inline, Mark, Paragraph, Section, Shell, Span, Table
from weighbridge.gate.report.edits import Edits

_WORST_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)
_SHOWN = 6
"""Models that one row of the table names."""


def policy_section(changes: Sequence[PolicyChange]) -> Section | None:
    """What this change does to the rules that it is judged by, and who accepted it."""
    if not changes:
        return None
    why = (
        "Limits, test set, settings and whatever else decides a verdict are compared with the merge base, so that no "
        "change lowers the bar and passes below it. What needs a waiver and has none fails; a file in "
    )
    lead = Paragraph([why, Code("waivers/"), " then names the first column and says the last."])
    rows = [
        (
            [Code(change.budget)],
            _accepted(change),
            [change.effect or change.kind],
            [change.base or "–"],
            [change.head],
            _under_base(change),
            [Code(f"to: {change.accepts}")] if change.blocks else ["–"],
        )
        for change in sorted(changes, key=lambda change: not change.blocks)
    ]
    header = ("what", "accepted by", "change", "merge base", "here", "by the merge base's limit", "a waiver says")
    return Section("policy", "What this change does to the rules", [lead, Table(header, rows)])


OF_LIMITS = frozenset({"loosened", "removed", "advisory", "resolution", "mode", "device"})
"""Kinds of change that let a limit ask for less."""


def loosened(changes: Sequence[PolicyChange]) -> frozenset[str]:
    """Names of the budgets that ask for less than in the merge base, whether a waiver accepts that or not."""
    return frozenset(change.budget for change in changes if change.kind in OF_LIMITS)


_BASIS_STATES = {"same": "same", "changed": "differs", "unknown": "differs, not compared", "new": "nothing there"}


def basis_section(items: Sequence[BasisItem]) -> Section | None:
    """What the verdict rests on, what differs from the merge base first."""
    if not items:
        return None
    rows = [
        (
            [item.subject],
            [Code(_short(item.digest))],
            [Code(_short(item.base if item.state != "same" else item.digest))],
            [item.effect or _BASIS_STATES.get(item.state, item.state)],
        )
        for item in sorted(items, key=lambda item: item.state == "same")
    ]
    return Section("basis", "What this verdict rests on", [Table(("what", "here", "merge base", "effect"), rows)])


def _short(digest: str | None) -> str:
    """The first digits; all of them are in `verdict.json`."""
    return "–" if digest is None else digest.partition(":")[2][:12]


def _accepted(change: PolicyChange) -> Inline:
    if change.waived_by:
        return [Code(change.waived_by)]
    return [Mark(Verdict.FAIL, ": no waiver")] if change.blocks else ["needs no waiver"]


def _under_base(change: PolicyChange) -> Inline:
    """What the old limit says of each model, the worst first."""
    if not change.under_base:
        return ["–"]
    ranked = sorted(change.under_base.items(), key=lambda item: _WORST_FIRST.index(item[1]))
    shown: list[Span] = []
    for name, verdict in ranked[:_SHOWN]:
        shown += [*([", "] if shown else []), Mark(verdict), " ", Code(name)]
    return [*shown, f" and {len(ranked) - _SHOWN} more"] if len(ranked) > _SHOWN else shown


def waivers_section(waivers: Sequence[WaiverUse]) -> Section | None:
    """Every waiver that was used, with its person, reason and last day."""
    if not waivers:
        return None
    rows = [([Code(use.file)], [use.who], [use.why], [_until(use)], ["; ".join(use.accepts)]) for use in waivers]
    return Section("waivers", "Waivers in use", [Table(("file", "who", "why", "until", "accepts"), rows)])


def _until(use: WaiverUse) -> str:
    return f"{use.expires} (in {use.days_left} days)" if use.expires_soon else use.expires


def params_section(edits: Edits | None) -> Section | None:
    """What changed in `params.yaml`; nothing where there was no merge base to compare with."""
    if edits is None:
        return None
    title = "What changed in params.yaml"
    if not edits:
        return Section("params", title, [Paragraph(["Nothing, against the merge base."])])
    blocks: list[Block] = []
    for name, lines in (edits.steps or {}).items():
        blocks += [Paragraph(["Steps of ", Code(name), ":"]), Shell(lines, "diff")]
    rows = [([Code(edit.key)], [Code(edit.base)], [Code(edit.head)]) for edit in edits.values]
    blocks += [Table(("key", "merge base", "here"), rows)] if rows else []
    return Section("params", title, blocks)
