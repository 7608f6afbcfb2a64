"""What the action says of one stand-alone weighing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weighbridge.ci.annotations import Annotation
from weighbridge.core.documents import RecipeVerdict, Verdict
from weighbridge.core.errors import ExitCode, InputError


@dataclass(frozen=True)
class StandaloneResult:
    """The verdict that the exit code stands for, and the documents beside it where there are any."""

    verdict: Verdict
    report: str
    document: RecipeVerdict | None


def read_result(folder: Path, code: int) -> StandaloneResult:
    """What `weighbridge weigh` left. The exit code decides: documents that disagree with it make an `error`."""
    path, report = folder / "verdict.json", folder / "gate.md"
    if code not in (ExitCode.PASS, ExitCode.FAIL, ExitCode.UNJUDGED) or not path.is_file():
        text = "# Weighbridge: error\n\nNothing was weighed; the step's log says why.\n"
        return StandaloneResult(Verdict.ERROR, text, None)
    document = RecipeVerdict.read(path)
    if document.verdict.exit_code != code:
        raise InputError(f"says {document.verdict}, but the exit code was {code}", where=str(path))
    text = report.read_text(encoding="utf-8", errors="replace") if report.is_file() else f"# {document.verdict}\n"
    return StandaloneResult(document.verdict, text, document)


def annotations_of(result: StandaloneResult) -> list[Annotation]:
    """One annotation for every budget that did not pass."""
    if result.document is None:
        return [Annotation("error", None, 1, "Weighbridge", "nothing was weighed")]
    return [
        Annotation("error" if item.required else "warning", None, 1, f"{item.metric} {item.verdict}", item.reason)
        for item in result.document.budgets
        if item.standing is not Verdict.PASS
    ]
