"""The report on a change as keyed sections of Markdown, so that whoever shows it can leave whole sections out."""

from __future__ import annotations

from weighbridge.core.documents.base import SCHEMA_VERSION, Recorded

REPORT = "report.json"
"""The file's name, beside `gate.md`."""


class ReportSection(Recorded):
    """One titled part of a report."""

    key: str
    """Which section it is; see `weighbridge.core.cutting.CUT_ORDER`."""
    title: str
    text: str
    """Markdown, heading included."""


class ProjectReport(Recorded):
    """What the gate says of one project."""

    project: str = "."
    """Its folder, relative to the repository's top."""
    headline: str
    """The verdict in one line of Markdown, as a heading."""
    lead: str = ""
    """Markdown: what was compared with what."""
    sections: list[ReportSection] = []


class ChangeReport(Recorded):
    """What the gate says of a change."""

    schema_version: int = SCHEMA_VERSION
    projects: list[ProjectReport]
