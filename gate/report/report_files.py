"""Files of a report: markdown, HTML, plots and their data."""

from __future__ import annotations

from weighbridge.core.files import pretty_json
from weighbridge.gate.report import page, tables, to_markdown
from weighbridge.gate.report.content import document
from weighbridge.gate.report.subject import PICTURES, Report


def html_page(report: Report) -> str:
    """The report as one HTML page with its plots inside."""
    from weighbridge.gate.report import plots  # noqa: PLC0415  # judging needs no matplotlib

    drawings = {PICTURES[name]: plots.svg(plot, report.entries, name) for name, plot in plots.PLOTS.items()}
    title = f"Weighbridge: {report.model or 'weighing'}: {report.verdict.value}"
    return page.render(document(report), drawings, title)


def report_files(report: Report) -> dict[str, bytes]:
    """Everything under `reports/` but the verdict itself."""
    from weighbridge.gate.report import plots  # noqa: PLC0415  # judging needs no matplotlib

    files = {PICTURES[name]: plots.png(plot, report.entries) for name, plot in plots.PLOTS.items()}
    texts = {
        "gate.md": to_markdown.render(document(report)),
        "gate.html": html_page(report),
        "metrics.json": pretty_json(tables.metrics(report.entries, report.verdict)),
        "pareto.csv": tables.trade_off_csv(report.entries),
        "limits.csv": tables.limits_csv(report.entries),
        "launches.csv": tables.launches_csv(report.entries),
    }
    return files | {name: content.encode() for name, content in texts.items()}
