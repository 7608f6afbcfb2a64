"""Somebody's text in Markdown (CommonMark with GitHub's extensions): it reads as it was written and does nothing."""

from __future__ import annotations

import re

WORD_JOINER = "\u2060"
"""Keeps two characters from meaning something together, and shows nothing."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
"""Control characters, and those that hide text or change its direction."""

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$])")
# At the start of a line these would make a list, a rule or an underlined heading.
_LINE_START = re.compile(r"^(?:([-+](?=[-\s]|$)|=)|(\d{1,9})([.)])(?=\s|$))")


def escape(text: str) -> str:
    """Text as one line that cannot become markup, HTML, a mention, a link or a block of another kind."""
    plain = " ".join(CONTROL.sub(" ", text).split())
    plain = _SPECIAL.sub(r"\\\1", plain).replace("&", "&amp;").replace("\\<", "&lt;").replace("\\>", "&gt;")
    plain = plain.replace("@", f"@{WORD_JOINER}").replace("://", f":{WORD_JOINER}//")
    plain = re.sub(r"(?i)\bwww\.", f"www{WORD_JOINER}.", plain)
    return _LINE_START.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", plain)


def code(text: str) -> str:
    """Text as a code span that cannot be closed from within, in a table cell too."""
    plain = " ".join(CONTROL.sub(" ", text).split()).replace("|", "\N{FULLWIDTH VERTICAL LINE}") or " "
    fence = "`" * (_longest_run(plain) + 1)
    pad = " " if "`" in plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def fenced(text: str, language: str) -> str:
    """A code block that cannot be closed from within."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
