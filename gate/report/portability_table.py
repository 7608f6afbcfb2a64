"""How artifacts answer on other processors than the one that weighed them."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.documents import Portability
from weighbridge.gate.report.blocks import Code, Inline, Mark, Paragraph, Section, Table

_LEAD = (
    "The same file on the same examples, here and on another processor that an emulator shows: answers that are "
    "further apart than rounding explains fail the gate."
)


def portability_section(found: Sequence[Portability]) -> Section | None:
    """One row for each artifact and processor, also where nothing was compared; None where it was not asked for."""
    if not found:
        return None
    rows = [([Code(item.artifact)], _verdict(item), [item.processor], [item.tool], [item.reason]) for item in found]
    return Section(
        "portability",
        "Other processors",
        [Paragraph([_LEAD]), Table(("model", "verdict", "processor", "shown by", "what was found"), rows)],
    )


def _verdict(item: Portability) -> Inline:
    if item.verdict is None:
        return ["not compared"]
    return [Mark(item.verdict, " (advisory)" if item.advisory else "")]
