"""The report that a run uploaded: read within limits, neutralised section by section, cut to what may be shown.

Every character may have been chosen by a pull request. The time taken is linear in what is read.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from weighbridge.ci.sanitize import neutralise, one_name, plain
from weighbridge.core import cutting
from weighbridge.core.documents.keyed_report import REPORT, ChangeReport, ProjectReport, ReportSection
from weighbridge.core.errors import InputError

LARGEST_UPLOAD = 4 * 2**20
"""Bytes of a report that are read at all."""
MARKDOWN = "gate.md"
"""What gates before `report.json` wrote: read where that is missing."""
_LONGEST_HEADLINE = 1000
_LONGEST_TITLE = 80
_ACTIVE = re.compile(r"(?i)www\.|[^\w ,.()]")  # what could make a title more than words


def read_report(folder: Path) -> list[ProjectReport] | None:
    """The report among what a run uploaded; None where there is none.

    Only regular files directly in the folder are read, never through a symbolic link. A report that is too large or
    is not of our form is shown as text. Bytes that are not UTF-8 are replaced.
    """
    data = _read(folder / REPORT)
    if data is not None and len(data) <= LARGEST_UPLOAD:
        try:
            return ChangeReport.model_validate_json(data).projects
        except ValidationError:
            pass  # made by something else than our gate: what it says still stands in its text
    text = _read(folder / MARKDOWN)
    if text is None and data is None:
        return None
    said = (text if text is not None else data or b"")[:LARGEST_UPLOAD].decode("utf-8", errors="replace")
    section = ReportSection(key="text", title="the report", text=said)
    return [ProjectReport(headline="", sections=[section])] if said.strip() else None


def shown(projects: Sequence[ProjectReport], room: cutting.Room) -> str:
    """The report as harmless Markdown of at most `room.longest`."""
    # Cut once before it is neutralised, so that a huge report costs no more than what can be shown of it.
    bounded = cutting.fit([_bounded(project) for project in projects], replace(room, longest=2 * room.longest))
    harmless = [_neutral(project) for project in bounded.projects]
    return cutting.fit(harmless, room, bounded.left_out).text(room)


def _read(path: Path) -> bytes | None:
    """The first bytes of a regular file, one more than are allowed; None where there is none."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as file:
            return file.read(LARGEST_UPLOAD + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _bounded(project: ProjectReport) -> ProjectReport:
    """A report whose one-line parts are single lines, and short."""
    sections = [
        section.model_copy(update={"title": _ACTIVE.sub(" ", section.title[:_LONGEST_TITLE])})
        for section in project.sections
    ]
    headline = project.headline.lstrip()[:_LONGEST_HEADLINE].partition("\n")[0]
    return project.model_copy(update={"project": one_name(project.project), "headline": headline, "sections": sections})


def _neutral(project: ProjectReport) -> ProjectReport:
    """A report without anything that acts; foldings are closed where they were opened."""
    sections = [
        section.model_copy(update={"text": cutting.first_lines(neutralise(section.text)).strip("\n")})
        for section in project.sections
    ]
    headline = neutralise(project.headline).strip()
    return project.model_copy(
        update={
            "headline": headline if "\n" not in headline else plain(project.headline),
            "lead": cutting.first_lines(neutralise(project.lead)).strip("\n"),
            "sections": sections,
        }
    )
