"""What a report is made of. Text is plain here; each renderer escapes it for its own language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.core.documents import Verdict


@dataclass(frozen=True)
class Code:
    """A name, path or value, set in the fixed-width face."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Emphasis."""

    text: str


@dataclass(frozen=True)
class Mark:
    """A verdict as a word with its sign."""

    verdict: Verdict
    suffix: str = ""


Span = str | Code | Strong | Mark
Inline = Sequence[Span]


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    spans: Inline


@dataclass(frozen=True)
class Bullets:
    """A list without order."""

    items: Sequence[Inline]


@dataclass(frozen=True)
class Table:
    """Rows under a header; `numeric` columns are set flush right."""

    header: Sequence[str]
    rows: Sequence[Sequence[Inline]]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A plot: a file beside the markdown, drawn inside the page."""

    file: str
    alt: str


@dataclass(frozen=True)
class Shell:
    """Lines to copy: commands, or a file."""

    lines: Sequence[str]
    language: str = "sh"


Block = Paragraph | Bullets | Table | Picture | Shell


@dataclass(frozen=True)
class Section:
    """A titled part. `key` names it in the order in which an overlong report is cut."""

    key: str
    title: str
    blocks: Sequence[Block]
    folded: bool = False
    """Closed until a reader opens it."""
    headed: bool = True
    """Whether the title stands above it; what a report begins with needs none."""


@dataclass(frozen=True)
class Document:
    """A whole report: the verdict stands in `headline` and `lead`, before every section."""

    verdict: Verdict
    headline: str
    lead: Sequence[Block]
    sections: Sequence[Section]
