"""The report on one weighing: two files, no pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.core.documents import Measurement, RecipeVerdict
from weighbridge.gate.report import page, plots, to_markdown
from weighbridge.gate.report.content import document
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.subject import PICTURES, Report


@dataclass(frozen=True)
class Rendered:
    """One report in both forms."""

    markdown: str
    html: str


def render(
    verdict: RecipeVerdict,
    measurement: Measurement,
    *,
    name: str = "candidate",
    reproduce: Sequence[str] = (),
    calibration: Sequence[str] = (),
) -> Rendered:
    """The report on one candidate. `name` is how it calls the candidate; `reproduce` are commands to show."""
    entry = Entry(name, verdict, measurement)
    report = Report(verdict.verdict, [entry], reproduce=reproduce, calibration=calibration)
    drawn = Report(verdict.verdict, [entry], reproduce=reproduce, calibration=calibration, pictures=True)
    drawings = {PICTURES[key]: plots.svg(plots.PLOTS[key], [entry], key) for key in ("limits", "launches")}
    title = f"Weighbridge: {name}: {verdict.verdict.value}"
    return Rendered(to_markdown.render(document(report)), page.render(document(drawn), drawings, title))
