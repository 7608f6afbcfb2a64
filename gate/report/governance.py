"""Sections on what the change does to the rules: loosened limits, waivers, edits of `params.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.core.documents import PolicyChange, Verdict, WaiverUse
from weighbridge.gate.report.blocks import Code, Inline, Mark, Paragraph, Section, Span, Table

_WORST_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)
_SHOWN = 6
"""Models that one row of the table names."""


@dataclass(frozen=True)
class Edit:
    """One value of `params.yaml` that differs from the merge base."""

    key: str
    base: str
    head: str


def policy_section(changes: Sequence[PolicyChange]) -> Section | None:
    """What asks for less than the merge base does, and who accepted it."""
    if not changes:
        return None
    why = (
        "Limits are compared with those of the merge base, so that nobody can raise a limit and jump under it in one "
        "change. Each line below asks for less than before and needs a waiver in "
    )
    lead = Paragraph([why, Code("waivers/"), "."])
    rows = [
        (
            [Code(change.budget)],
            [change.kind],
            [change.base],
            [change.head],
            _under_base(change),
            _accepted(change),
        )
        for change in changes
    ]
    table = Table(("budget", "change", "merge base", "here", "by the merge base's limit", "accepted by"), rows)
    return Section("policy", "Loosened limits", [lead, table])


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


def params_section(edits: Sequence[Edit] | None) -> Section | None:
    """What changed in `params.yaml`; nothing where there was no merge base to compare with."""
    if edits is None:
        return None
    if not edits:
        return Section("params", "What changed in params.yaml", [Paragraph(["Nothing, against the merge base."])])
    rows = [([Code(edit.key)], [Code(edit.base)], [Code(edit.head)]) for edit in edits]
    return Section("params", "What changed in params.yaml", [Table(("key", "merge base", "here"), rows)])
