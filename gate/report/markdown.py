"""Blocks → GitHub markdown. Whatever came from outside is escaped; an overlong report is cut in a declared order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from weighbridge.core.documents import Verdict
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

CUT_ORDER = (
    "flips",
    "slices",
    "launches",
    "notes",
    "tradeoff",
    "device",
    "params",
    "reproduce",
    "reasons",
    "waivers",
    "policy",
    "budgets",
    "recipes",
)
"""What goes first when a report is too long: samples first. The headline and the lead are never cut."""

SIGNS = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "❔", Verdict.ERROR: "⛔"}

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
_WORD_JOINER = "\u2060"


def render(document: Document, longest: int = LONGEST) -> str:
    """The report as markdown, of at most `longest` characters."""
    top = "\n\n".join([f"## {SIGNS[document.verdict]} {escape(document.headline)}", *map(_block, document.lead)])
    parts = {section.key: _section(section) for section in document.sections}
    left_out: list[str] = []
    for key in CUT_ORDER:
        if len(_join(top, parts.values(), left_out)) <= longest:
            break
        if key in parts:
            title = next(section.title for section in document.sections if section.key == key)
            left_out.append(title)
            del parts[key]
    text = _join(top, parts.values(), left_out)
    return text if len(text) <= longest else _cut(text, longest)


def escape(text: str) -> str:
    """Text that cannot become markup, a mention, a link or a second line."""
    text = _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", text)).replace("&", "&amp;").replace("\\<", "&lt;")
    text = text.replace("\\>", "&gt;").replace("@", f"@{_WORD_JOINER}").replace("://", f":{_WORD_JOINER}//")
    return re.sub(r"(?i)\bwww\.", f"www{_WORD_JOINER}.", text).strip()


def _join(top: str, parts: Iterable[str], left_out: Sequence[str]) -> str:
    notice = []
    if left_out:
        names = ", ".join(escape(title).lower() for title in left_out)
        notice = [f"*Left out here, because this text would be too long: {names}. The full report is `gate.html`.*"]
    return "\n\n".join([top, *parts, *notice]) + "\n"


def _cut(text: str, longest: int) -> str:
    notice = "\n\n*Cut here, because this text would be too long. The full report is `gate.html`.*\n"
    return text[: longest - len(notice)].rsplit("\n", 1)[0] + notice


def _section(section: Section) -> str:
    body = "\n\n".join(map(_block, section.blocks))
    if section.folded:
        return f"<details><summary>{escape(section.title)}</summary>\n\n{body}\n\n</details>"
    return f"### {escape(section.title)}\n\n{body}"


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
            return "\n".join(["```sh", *(_CONTROL.sub(" ", line).replace("```", "") for line in block.lines), "```"])


def _table(table: Table) -> str:
    rule = ["---:" if column in table.numeric else "---" for column in range(len(table.header))]
    rows = [[escape(name) for name in table.header], rule, *([_inline(cell) for cell in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _inline(spans: Inline) -> str:
    return "".join(map(_span, [spans] if isinstance(spans, str) else spans))


def _span(span: Span) -> str:
    match span:
        case Code():
            return f"`{_code(span.text)}`"
        case Strong():
            return f"**{escape(span.text)}**"
        case Mark():
            return f"{SIGNS[span.verdict]} {span.verdict.value}{_escape_inside(span.suffix)}"
        case _:
            return _escape_inside(span)


def _escape_inside(text: str) -> str:
    """Escape a piece of running text and keep the spaces at its ends."""
    lead, trail = text[: len(text) - len(text.lstrip(" "))], text[len(text.rstrip(" ")) :]
    return f"{lead}{escape(text)}{trail}" if text.strip() else " " * bool(text)


def _code(text: str) -> str:
    """Within backticks only backticks, pipes (of tables) and line ends can do harm."""
    return _CONTROL.sub(" ", text).replace("`", "'").replace("|", "\\|").strip() or " "
