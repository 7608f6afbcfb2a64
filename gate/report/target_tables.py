"""Tables over targets and devices: what a model costs on each, in absolute numbers, and how alike its files answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from weighbridge.core.formatting import percent, quantity
from weighbridge.gate.report.blocks import Block, Code, Inline, Mark, Paragraph, Section, Table
from weighbridge.gate.report.facts import Entry, middle

_HEADER = (
    "model", "verdict", "device", "target", "file size", "latency", "peak memory", "accuracy", "agrees with PyTorch"
)  # fmt: skip
_LEAD = (
    "Absolute values: unlike the ratios above, they compare targets with each other, within one device. "
    "Each runtime's uncompressed model comes first. Agreement: the share of answers that the file gives as the PyTorch "
    "module does, on the same inputs."
)
_PAIRS_HEADER = ("model", "file for", "beside file for", "same answers")
_PAIRS_LEAD = "How alike the files of one recipe answer, each run by its own runtime on the same inputs:"


def targets_section(entries: Sequence[Entry]) -> Section | None:
    """Size, latency, memory and accuracy by device and target; None where there is one of each."""
    places = dict.fromkeys((entry.verdict.device_name, entry.verdict.target) for entry in entries)
    if len(places) < 2:
        return None
    rows: list[tuple[Inline, ...]] = []
    for place in sorted(places):
        found = [entry for entry in entries if (entry.verdict.device_name, entry.verdict.target) == place]
        rows += [_baseline(found[0]), *(_candidate(entry) for entry in found)]
    blocks: list[Block] = [Paragraph([_LEAD]), Table(_HEADER, rows, frozenset({4, 5, 6, 7}))]
    if pairs := list(_pairs(entries)):
        blocks += [Paragraph([_PAIRS_LEAD]), Table(_PAIRS_HEADER, pairs, frozenset({3}))]
    return Section("targets", "Targets and devices", blocks)


def _pairs(entries: Sequence[Entry]) -> Iterator[tuple[Inline, ...]]:
    """Each pair of one recipe's files once, whatever devices they were weighed on."""
    seen: set[tuple[str, frozenset[str]]] = set()
    for entry in entries:
        recipe, target = entry.verdict.recipe or entry.name, entry.verdict.target
        compared = entry.parity.get("targets")
        for other, found in sorted(compared.items()) if isinstance(compared, Mapping) else ():
            pair = (recipe, frozenset({target, other}))
            if pair not in seen and isinstance(found, Mapping):
                seen.add(pair)
                yield [Code(recipe)], [Code(target)], [Code(other)], [_agreement(found)]


def _baseline(entry: Entry) -> tuple[Inline, ...]:
    speed, memory, accuracy = entry.speed, entry.launches("memory.peak"), entry.accuracy
    return (
        ["baseline"],
        ["reference"],
        *_place(entry),
        [quantity(entry.baseline_size, "bytes")],
        [quantity(speed.reference, "seconds") if speed else "–"],
        [quantity(middle(memory.reference), "bytes") if memory else "–"],
        [percent(accuracy[1], 4) if accuracy else "–"],
        ["–"],
    )


def _candidate(entry: Entry) -> tuple[Inline, ...]:
    speed, memory, accuracy = entry.speed, entry.launches("memory.peak"), entry.accuracy
    return (
        [Code(entry.verdict.recipe or entry.name)],
        [Mark(entry.verdict.verdict, " (advisory)" if entry.verdict.advisory else "")],
        *_place(entry),
        [quantity(entry.size, "bytes")],
        [quantity(speed.candidate, "seconds") if speed else "–"],
        [quantity(middle(memory.candidate), "bytes") if memory else "–"],
        [percent(accuracy[0], 4) if accuracy else "–"],
        [_agreement(entry.parity)],
    )


def _place(entry: Entry) -> tuple[Inline, Inline]:
    return [Code(entry.verdict.device_name)], [Code(entry.verdict.target)]


def _agreement(parity: Mapping[str, object]) -> str:
    agreement, difference = parity.get("agreement"), parity.get("largest_difference")
    if not isinstance(agreement, int | float):
        return "–"
    largest = f", outputs within {difference:.2g}" if isinstance(difference, int | float) else ""
    return f"{percent(agreement, 4)}{largest}"
