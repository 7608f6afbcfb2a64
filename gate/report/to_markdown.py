"""Blocks → GitHub markdown. Whatever came from outside is escaped; `weighbridge.core.cutting` keeps it short enough."""

from __future__ import annotations

from weighbridge.core import cutting
from weighbridge.core.documents import Verdict
from weighbridge.core.documents.keyed_report import ProjectReport, ReportSection
from weighbridge.core.escaping import CONTROL, code, escape
from weighbridge.gate.report.blocks import (
    Block,
    Bullets,
    Code,
    Document,
    Inline,
    Mark,
    Paragraph,
    Picture,
    Section,
    Shell,
    Span,
    Strong,
    Table,
)

LONGEST = 60_000
"""Characters. GitHub refuses comments beyond 65,536."""

SIGNS = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "❔", Verdict.ERROR: "⛔"}


def render(document: Document, longest: int = LONGEST) -> str:
    """The report as markdown, of at most `longest` characters."""
    return cutting.render([sections(document)], cutting.Room(longest))


def sections(document: Document, project: str = ".") -> ProjectReport:
    """The report as keyed sections of markdown, for a text that shows several projects."""
    return ProjectReport(
        project=project,
        headline=f"## {SIGNS[document.verdict]} {escape(document.headline)}",
        lead="\n\n".join(map(_block, document.lead)),
        sections=[
            ReportSection(key=section.key, title=escape(section.title), text=_section(section))
            for section in document.sections
        ],
    )


def _section(section: Section) -> str:
    body = "\n\n".join(map(_block, section.blocks))
    if section.folded:
        return f"<details><summary>{escape(section.title)}</summary>\n\n{body}\n\n</details>"
    return f"### {escape(section.title)}\n\n{body}" if section.headed else body


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return _inline(block.spans)
        case Bullets():
            return "\n".join(f"- {_inline(item)}" for item in block.items)
        case Table():
            return _table(block)
        case Picture():
            return f"![{escape(block.alt)}]({block.file})"
        case Shell():
            return "\n".join(
                [f"```{block.language}", *(CONTROL.sub(" ", line).replace("```", "") for line in block.lines), "```"]
            )


def _table(table: Table) -> str:
    rule = ["---:" if column in table.numeric else "---" for column in range(len(table.header))]
    rows = [[escape(name) for name in table.header], rule, *([_inline(cell) for cell in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _inline(spans: Inline) -> str:
    return "".join(map(_span, [spans] if isinstance(spans, str) else spans))


def _span(span: Span) -> str:
    match span:
        case Code():
            return code(span.text)
        case Strong():
            return f"**{escape(span.text)}**"
        case Mark():
            return f"{SIGNS[span.verdict]} {span.verdict.value}{_inside(span.suffix)}"
        case _:
            return _inside(span)


def _inside(text: str) -> str:
    """Escape a piece of running text and keep the spaces at its ends."""
    lead, trail = text[: len(text) - len(text.lstrip(" "))], text[len(text.rstrip(" ")) :]
    return f"{lead}{escape(text)}{trail}" if text.strip() else " " * bool(text)
