"""What follows the first table: what it was compared with, what to do next, and how to get this verdict again."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.gate.report.blocks import Block, Bullets, Code, Inline, Paragraph, Section, Shell, Strong
from weighbridge.gate.report.recipe_rows import hidden
from weighbridge.gate.report.subject import Report


def next_section(report: Report) -> Section | None:
    """A few lines, each with its own word in front; None where there is nothing to say."""
    items: list[Inline] = []
    more = hidden(report)
    if report.points or more:
        said = [
            *(point.said for point in report.points),
            *([f"{more} more that changed or do not pass"] if more else []),
        ]
        where = " are under all recipes" if more else ""
        items.append([Strong("Compared with" if report.points else "And"), f" {'; '.join(said)}{where}."])
    if report.next_steps:
        items.append([Strong("Next"), ": ", *(span for step in report.next_steps for span in step)])
    if report.command:
        items.append([Strong("Again"), ": ", Code(report.command)])
    return Section("next", "What to do next", [Bullets(items)], headed=False) if items else None


def stanzas_section(stanzas: Sequence[str]) -> Section | None:
    """Waivers that are ready to be signed."""
    if not stanzas:
        return None
    blocks: list[Block] = [Paragraph(["A file in ", Code("waivers/"), " with your name and reason accepts it."])]
    blocks += [Shell(stanza.rstrip("\n").split("\n"), "yaml") for stanza in stanzas]
    several = f"{len(stanzas)} waivers, ready" if len(stanzas) > 1 else "A waiver, ready"
    return Section("ready", f"{several} to be signed", blocks)
