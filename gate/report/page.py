"""Blocks → one self-contained HTML page: the same content as the markdown, the plots inside, no script, no request."""

from __future__ import annotations

import html
from collections.abc import Mapping

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
from weighbridge.gate.report.style import CSS

_SIGNS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.INCONCLUSIVE: "?", Verdict.ERROR: "!"}


def render(document: Document, drawings: Mapping[str, str], title: str) -> str:
    """The report as a page. `drawings` maps a picture's file name to its `<svg>` element."""
    sign = f'<p class="sign" aria-hidden="true">{_SIGNS[document.verdict]}</p>'
    parts = [f'<header class="{document.verdict.value}">{sign}<h1>{_html(document.headline)}</h1></header>']
    parts += [_block(block, drawings) for block in document.lead]
    parts += [_section(section, drawings) for section in document.sections]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{_html(title)}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


def _section(section: Section, drawings: Mapping[str, str]) -> str:
    body = "\n".join(_block(block, drawings) for block in section.blocks)
    title = _html(section.title)
    if section.folded:
        return f'<details id="{section.key}"><summary>{title}</summary>\n{body}\n</details>'
    heading = f"<h2>{title}</h2>\n" if section.headed else ""
    return f'<section id="{section.key}">\n{heading}{body}\n</section>'


def _block(block: Block, drawings: Mapping[str, str]) -> str:
    match block:
        case Paragraph():
            return f"<p>{_inline(block.spans)}</p>"
        case Bullets():
            items = "\n".join(f"<li>{_inline(item)}</li>" for item in block.items)
            return f"<ul>\n{items}\n</ul>"
        case Table():
            return _table(block)
        case Picture():
            drawing = drawings.get(block.file)
            return f'<figure role="img" aria-label="{_html(block.alt)}">{drawing}</figure>' if drawing else ""
        case Shell():
            return f"<pre><code>{_html(chr(10).join(block.lines))}</code></pre>"


def _table(table: Table) -> str:
    def cells(tag: str, contents: list[str]) -> str:
        numeric = [' class="n"' if column in table.numeric else "" for column in range(len(contents))]
        return "".join(f"<{tag}{kind}>{content}</{tag}>" for kind, content in zip(numeric, contents, strict=True))

    head = cells("th", [_html(name) for name in table.header])
    rows = "\n".join(f"<tr>{cells('td', [_inline(cell) for cell in row])}</tr>" for row in table.rows)
    return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _inline(spans: Inline) -> str:
    return "".join(map(_span, [spans] if isinstance(spans, str) else spans))


def _span(span: Span) -> str:
    match span:
        case Code():
            return f"<code>{_html(span.text)}</code>"
        case Strong():
            return f"<strong>{_html(span.text)}</strong>"
        case Mark():
            word = span.verdict.value
            return f'<span class="mark {word}">{_SIGNS[span.verdict]} {word}</span>{_html(span.suffix)}'
        case _:
            return _html(span)


def _html(text: str) -> str:
    """Text without markup; control and direction-changing characters become spaces."""
    kept = "".join(" " if not (char.isprintable() or char == "\n") else char for char in text)
    return html.escape(kept, quote=True)
