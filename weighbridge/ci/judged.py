"""Projects as they were judged, and what is written of them for others to pick up."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weighbridge.ci import evidence_bundle
from weighbridge.ci.annotations import Annotation
from weighbridge.ci.evidence_bundle import EvidenceBundle
from weighbridge.core import cutting
from weighbridge.core.documents.keyed_report import REPORT, ChangeReport, ProjectReport
from weighbridge.core.errors import ExitCode
from weighbridge.core.files import atomic_write
from weighbridge.core.git import Git

if TYPE_CHECKING:
    from weighbridge.gate.stages import summary


# A certain failure first; then what the author must correct, then what the gate could not do.
_WORST_FIRST = (ExitCode.FAIL, ExitCode.USAGE, ExitCode.UNJUDGED, ExitCode.PASS)


@dataclass(frozen=True)
class JudgedProject:
    """What the gate says of one project."""

    project: str
    """Its folder, relative to the repository's top."""
    exit_code: ExitCode
    report: ProjectReport
    marks: tuple[Annotation, ...] = ()
    checked: summary.CheckedGate | None = None
    """None where nothing was weighed: the change does not touch the project, or its pipeline broke."""
    ran: tuple[str, ...] = ()
    """Stages of the pipeline that ran."""

    @property
    def quoted(self) -> str:
        """What the gate says of it in one line, without any markup."""
        said = re.sub(r"[\\`#]", "", self.report.headline).strip()
        return said if self.project == "." else f"{self.project}: {said}"


def exit_code(judged: list[JudgedProject]) -> ExitCode:
    """The worst of all projects; could-not-judge where there is none."""
    codes = {item.exit_code for item in judged}
    return next((code for code in _WORST_FIRST if code in codes), ExitCode.UNJUDGED)


def write_out(judged: list[JudgedProject], git: Git) -> ChangeReport:
    """Write report and evidence below `.weighbridge/ci` at the repository's top; returns the whole report."""
    folder = git.root / evidence_bundle.FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    report = ChangeReport(projects=[item.report for item in judged])
    weighed = [item for item in judged if item.checked is not None]
    for item in weighed:
        assert item.checked is not None
        root, home = git.root / item.project, folder / "report" / item.project
        for path in sorted((root / "reports").glob("*")):
            if path.suffix in (".png", ".svg", ".csv") and path.is_file():
                home.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, home / path.name)
        item.checked.write(home)
        if item.exit_code is ExitCode.PASS:
            evidence_bundle.pack(root, folder / "evidence" / item.project)
    report.write(folder / "report" / REPORT)
    atomic_write(folder / "report" / "gate.md", markdown(report).encode())
    passed = tuple(item.project for item in weighed if item.exit_code is ExitCode.PASS)
    EvidenceBundle(git.head(), passed).write(folder / "evidence")
    return report


def markdown(report: ChangeReport) -> str:
    """The report as a comment shows it."""
    from weighbridge.gate.report.to_markdown import LONGEST  # noqa: PLC0415  # with all that reports are made of

    return cutting.render(report.projects, cutting.Room(LONGEST))
