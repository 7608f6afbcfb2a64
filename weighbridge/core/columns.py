"""Tables of plain text that fit a width: cells are wrapped, and where even that is too wide, rows are stacked."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

_GAP = 2
_HEAD = 2


def columns(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Rows under their keys, of at most `width` characters a line; None: as wide as it takes."""
    if not rows:
        return ""
    header = list(rows[0])
    cells = [[_text(row.get(name)) for name in header] for row in rows]
    # tabulate gives a header two characters more than it has.
    widest = [max(len(name) + _HEAD, *(len(row[place]) for row in cells)) for place, name in enumerate(header)]
    room = None if width is None else width - _GAP * (len(header) - 1)
    if room is None or sum(widest) <= room:
        return _table(header, cells)
    least = [
        max(len(name) + _HEAD, *(len(piece) for row in cells for piece in _pieces(row[place])))
        for place, name in enumerate(header)
    ]
    if sum(least) > room:
        return _stacked(header, cells, width or 0)
    fitted = _shrunk(widest, least, room)
    wrapped = [["\n".join(_wrapped(cell, wide)) for cell, wide in zip(row, fitted, strict=True)] for row in cells]
    return _table(header, wrapped)


def _shrunk(widest: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths that fit, taken from the widest first."""
    fitted = list(widest)
    while sum(fitted) > room:
        place = max(range(len(fitted)), key=lambda index: fitted[index] if fitted[index] > least[index] else -1)
        fitted[place] -= 1
    return fitted


def _wrapped(cell: str, width: int) -> list[str]:
    """A cell's lines; no piece of it is longer than that."""
    lines = [""]
    for piece in _pieces(cell):
        if len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _pieces(cell: str) -> list[str]:
    """What a cell may be broken into, nothing of it lost: words, and names behind their dots, dashes and slashes."""
    return re.findall(r"[^\s._/-]*(?:[._/-]+|\s+|$)", cell)


def _stacked(header: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> str:
    """Each row as lines of its own, `key: value`."""
    rows = (
        "\n".join(
            textwrap.fill(f"{name}: {cell}", width, subsequent_indent="  ", break_on_hyphens=False)
            for name, cell in zip(header, row, strict=True)
            if cell
        )
        for row in cells
    )
    return "\n\n".join(rows)


def _table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    return tabulate(cells, headers=header, tablefmt="simple", disable_numparse=True)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
