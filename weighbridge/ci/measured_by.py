"""Whose measurements a verdict of `ci gate` rests on: this run's, those that `dvc.lock` names, or an earlier run's that
it continues, as where DVC restored one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from weighbridge.core.documents import Measurement, Params
from weighbridge.core.documents.keyed_report import ProjectReport
from weighbridge.core.documents.measurement import recorded_runs
from weighbridge.core.escaping import escape
from weighbridge.core.git import Git
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


def continued(root: Path, params: Params, ran: Sequence[str], run: str) -> str:
    """A clause for the headline where a measurement of this run goes on from one that another run had begun: its
    launches count as evidence too. Empty where this run measured everything.
    """
    found: dict[str, list[str]] = {}
    for candidate in params.candidates():
        path = root / candidate.measurement
        if f"weigh@{candidate.recipe}" not in ran or not path.is_file():
            continue
        for other in recorded_runs(Measurement.read(path)):
            if other["run"] != run:
                found.setdefault(f"{other['by']}, {other['at']}", []).append(candidate.name)
    said = [f"{', '.join(names[:3])} (measured by {who})" for who, names in list(found.items())[:3]]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"continues an earlier measurement: {'; '.join(said)}{more}" if said else ""


def with_origin(report: ProjectReport, clause: str) -> ProjectReport:
    """The report whose headline says where its measurements come from."""
    return report.model_copy(update={"headline": f"{report.headline}; {escape(clause)}"}) if clause else report
