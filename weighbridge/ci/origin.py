"""Whose measurements a verdict of `ci gate` rests on: those of this run, or those that `dvc.lock` names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weighbridge.core.documents.report import ProjectReport
from weighbridge.core.git import Git
from weighbridge.core.markdown import escape
from weighbridge.core.project import LOCK


def elsewhere(git: Git, project: str, recipes: Iterable[str], ran: Sequence[str]) -> str:
    """A clause for the headline; empty where every recipe was measured in this run."""
    given = [recipe for recipe in recipes if f"weigh@{recipe}" not in ran]
    if not given:
        return ""
    path = LOCK if project == "." else f"{project}/{LOCK}"
    who = git.attempt("log", "-1", "--format=%h by %an", "--", f":(top,literal){path}").stdout.strip()
    names = ", ".join(given[:3]) + (f" and {len(given) - 3} more" if len(given) > 3 else "")
    return f"not measured in this run: {names} ({LOCK} as of {who or 'no commit'})"


def with_origin(report: ProjectReport, clause: str) -> ProjectReport:
    """The report whose headline says where its measurements come from."""
    return report.model_copy(update={"headline": f"{report.headline}; {escape(clause)}"}) if clause else report
