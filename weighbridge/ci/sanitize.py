"""Text that a pull request wrote, made harmless before it stands in a comment under a trusted name.

A report reaches `report.yml` from a job that ran the pull request's own code, so that every character of it may be
chosen to hurt: HTML, mentions that notify people, references that write into other issues, links, images that
track readers, commands to bots, hidden markers of our own. What stays is plain Markdown: headings, tables, lists,
emphasis and code.
"""

from __future__ import annotations

import re
import unicodedata

BREAK = "\u200b"
"""Zero-width space: keeps two characters from meaning something together, and shows nothing."""

_PLAIN_LANGUAGES = frozenset({"bash", "console", "diff", "json", "python", "sh", "text", "yaml"})
# Without backtracking: a line of any length takes linear time.
_FENCE = re.compile(r"^ {0,3}(`{3,}+|~{3,}+)[ \t]*+([^`\s]*+)[^`]*+$")
# The only HTML that our own report uses; each alone on its line, without attributes.
_FOLDING = re.compile(r"</?details>|(?P<open><details>)?<summary>(?P<title>[^<>]*)</summary>")
_IMAGE = re.compile(r"!\[([^\[\]]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_LINK = re.compile(r"\[([^\[\]]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_ENTITY = re.compile(r"&(?!(?:lt|gt|amp|quot);)(?=[#A-Za-z])")
_BREAKS = (
    (re.compile(r"(``(?=`)|~~(?=~))"), f"\\1{BREAK}"),  # code blocks in lists and quotations: diagrams, maps
    (re.compile(r"<"), f"<{BREAK}"),  # tags, comments, autolinks
    (re.compile(r"@"), f"@{BREAK}"),  # mentions, e-mail addresses, owner/repository@commit
    (re.compile(r"#(?=\w)"), f"#{BREAK}"),  # references to issues
    (re.compile(r"(?i)\b(GH)-(?=\d)"), f"\\1{BREAK}-"),
    (re.compile(r"(?i)\b(https?|ftp|mailto|xmpp|javascript|data|vbscript):"), f"\\1{BREAK}:"),
    (re.compile(r"://"), f":{BREAK}//"),
    (re.compile(r"(?i)\b(www)\."), f"\\1{BREAK}."),
    (re.compile(r"\](?=[(\[:])"), f"]{BREAK}"),  # links, reference links and their definitions, footnotes
    (re.compile(r"\$(?=[$`\w({\\])"), f"${BREAK}"),  # formulas, which can be drawn over the page
    (re.compile(r"(?m)^(\s*(?:[-*+]|\d+[.)])\s+\[)(?=[ xX]\])"), f"\\1{BREAK}"),  # check boxes
    (re.compile(r"(?m)^(\s*)(?=/|::|##\[)"), f"\\1{BREAK}"),  # commands to bots and to the runner
)


def neutralise(text: str) -> str:
    """Markdown of unknown origin → Markdown that formats, and does nothing else.

    Code blocks are fenced anew, longer than any run of backticks inside, with a language from a short list; outside
    of them everything that HTML, a mention, a reference, a link, an image, an entity or a bot's command needs is
    broken apart. Idempotent in effect: what was broken stays broken.
    """
    lines = _plain_characters(text).split("\n")
    made: list[str] = []
    position = 0
    while position < len(lines):
        opening = _FENCE.match(lines[position])
        if opening is None:
            made.append(_prose(lines[position]))
            position += 1
            continue
        code, position = _code_until(lines, position + 1, opening[1])
        # Between empty lines, or it could stand inside a block of HTML, where it would be no code.
        before = [""] if made and made[-1].strip() else []
        after = [""] if position < len(lines) and lines[position].strip() else []
        made += [*before, *_fenced(code, opening[2]), *after]
    return "\n".join(made).strip("\n") + "\n"


def plain(text: str, limit: int = 200) -> str:
    """One line of unknown origin as plain text for a sentence or a table cell: no Markdown at all."""
    line = " ".join(_plain_characters(text).split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return _break_apart(re.sub(r"([\\`*_{}\[\]()|~!])", r"\\\1", line))


def one_name(text: str, limit: int = 100) -> str:
    """A name of unknown origin for a code span: one line, and nothing that could end the span."""
    return " ".join(_plain_characters(text[: 4 * limit]).replace("`", "'").split())[:limit]


def _plain_characters(text: str) -> str:
    """Without control, format and private characters (which hide or reorder text), lines ended by a newline."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    kept = (
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Co", "Cs", "Cn")
    )
    return "".join(kept)


def _code_until(lines: list[str], position: int, fence: str) -> tuple[list[str], int]:
    """The lines of a code block, and the position after its end; one that is never closed ends with the text."""
    closing = re.compile(rf"^ {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
    for end in range(position, len(lines)):
        if closing.match(lines[end]):
            return lines[position:end], end + 1
    return lines[position:], len(lines)


def _fenced(code: list[str], language: str) -> list[str]:
    longest = max((len(run) for line in code for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    known = language if language in _PLAIN_LANGUAGES else ""
    return [f"{fence}{known}", *code, fence]


def _prose(line: str) -> str:
    return _folding(line.strip()) or _sentence(line)


def _folding(line: str) -> str | None:
    match = _FOLDING.fullmatch(line)
    if match is None:
        return None
    title = match["title"]
    return line if title is None else f"{match['open'] or ''}<summary>{_sentence(title)}</summary>"


def _sentence(line: str) -> str:
    return _break_apart(_LINK.sub(r"\1", _IMAGE.sub(r"(picture: \1)", line)))


def _break_apart(line: str) -> str:
    line = _ENTITY.sub(f"&{BREAK}", line)
    for pattern, replacement in _BREAKS:
        line = pattern.sub(replacement, line)
    return line
