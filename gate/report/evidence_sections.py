"""Sections on what the verdicts rest on: slices, flipped examples, launches, the device and its noise."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.documents import LOCAL, Device, Flip, Proportions
from weighbridge.core.documents.measurement import recorded_runs
from weighbridge.core.formatting import duration, percent, quantity, span
from weighbridge.gate.report.blocks import Bullets, Code, Inline, Paragraph, Picture, Section, Table
from weighbridge.gate.report.facts import LEAST_FOR_INTERVAL, Entry, sparkline
from weighbridge.gate.statistics.proportions import Pairs

WORST_SLICES = 5
FLIPS = 12
SHOWN_PROMPT = 80
"""Characters of a text's beginning, its last ones."""


def slices_section(entries: Sequence[Entry]) -> Section | None:
    """The slices that lost most, per model."""
    rows = [row for entry in entries for row in _slice_rows(entry)]
    if not rows:
        return None
    header = ("model", "slice", "examples", "baseline", "candidate", "drop", "right before, wrong now")
    lead = Paragraph([f"Per model, the slices of the evaluation set that lost most (at most {WORST_SLICES})."])
    return Section("slices", "Worst slices", [lead, Table(header, rows, frozenset({2, 3, 4, 5, 6}))])


def _slice_rows(entry: Entry) -> list[tuple[Inline, ...]]:
    slices = entry.comparison.slices if entry.comparison else {}
    counted = {name: _pairs(part) for name, part in slices.items() if part.examples}
    hit = [name for name, pairs in counted.items() if pairs.drop > 0 or pairs.only_reference]
    worst = sorted(hit, key=lambda name: (-counted[name].drop, name))[:WORST_SLICES]
    return [
        (
            [Code(entry.name)],
            [Code(name)],
            [f"{counted[name].total:,}"],
            [percent(counted[name].reference_right / counted[name].total, 3)],
            [percent(counted[name].candidate_right / counted[name].total, 3)],
            [quantity(counted[name].drop, "points", 3)],
            [f"{counted[name].only_reference:,}"],
        )
        for name in worst
    ]


def _pairs(part: Proportions) -> Pairs:
    return Pairs(part.both, part.only_reference, part.only_candidate, part.neither)


def flips_section(entries: Sequence[Entry]) -> Section | None:
    """A few examples that the baseline answers rightly and the candidate wrongly."""
    rows = [_flip_row(entry, flip) for entry in entries if entry.comparison for flip in entry.comparison.flips[:FLIPS]]
    if not rows:
        return None
    header = ("model", "example", "right answer", "candidate's answer", "slices")
    lead = Paragraph(["Examples of the evaluation set, by index, that were right before and are wrong now."])
    return Section("flips", "Flipped examples", [lead, Table(header, rows, frozenset({1, 2, 3}))], folded=True)


def _flip_row(entry: Entry, flip: Flip) -> tuple[Inline, ...]:
    return (
        [Code(entry.name)],
        [f"{flip.index:,}"],
        [str(flip.label)],
        [str(flip.candidate)],
        [", ".join(flip.slices) or "–"],
    )


def scores_section(entries: Sequence[Entry]) -> Section | None:
    """Metrics of the user's own: over slices, and the examples that lost most."""
    rows: list[tuple[Inline, ...]] = []
    worse: list[tuple[Inline, ...]] = []
    for entry in (entry for entry in entries if entry.comparison):
        for metric, by_slice in entry.comparison.scores.items() if entry.comparison else ():
            for name, found in by_slice.items():
                values = [f"{found.reference:.4g}"], [f"{found.candidate:.4g}"]
                rows.append(([Code(entry.name)], [Code(metric)], [name], [f"{found.examples:,}"], *values))
        for item in entry.comparison.worsened if entry.comparison else ():
            values = [f"{item.reference:.4g}"], [f"{item.candidate:.4g}"]
            slices = [", ".join(item.slices) or "–"]
            worse.append(([Code(entry.name)], [Code(item.metric)], [f"{item.index:,}"], slices, *values))
    if not rows and not worse:
        return None
    blocks: list[Paragraph | Table] = []
    if rows:
        header = ("model", "metric", "slice", "examples", "baseline", "candidate")
        blocks += [Paragraph(["Over each slice of the evaluation set."]), Table(header, rows, frozenset({3, 4, 5}))]
    if worse:
        header = ("model", "metric", "example", "slices", "baseline", "candidate")
        blocks += [Paragraph(["Examples whose own score got worst."]), Table(header, worse, frozenset({2, 4, 5}))]
    return Section("scores", "Metrics of your own", blocks, folded=True)


def texts_section(entries: Sequence[Entry]) -> Section | None:
    """Texts that a language model and its baseline continue, side by side."""
    rows: list[tuple[Inline, ...]] = [
        (
            [Code(entry.name)],
            [f"…{_one_line(text.prompt)[-SHOWN_PROMPT:]}"],
            [_one_line(text.reference)],
            [_one_line(text.candidate)],
            [f"{text.same} of {text.tokens}"],
        )
        for entry in entries
        for text in (entry.comparison.texts if entry.comparison else ())
    ]
    if not rows:
        return None
    header = ("model", "text of the test set", "baseline goes on", "candidate goes on", "same tokens")
    meaning = (
        "Both take the likeliest token each time. Where one differs, another text follows: how likely the right tokens "
        "are is what the limits hold."
    )
    lead = Paragraph([meaning])
    return Section("texts", "Texts, continued by both", [lead, Table(header, rows, frozenset({4}))], folded=True)


def _one_line(text: str) -> str:
    """A text within a cell; ends of lines stay visible."""
    return " ⏎ ".join(line.strip() for line in text.split("\n"))


def launches_section(entries: Sequence[Entry], picture: str | None) -> Section | None:
    """How launches scatter: a line of heights per model, and the picture."""
    rows: list[tuple[Inline, ...]] = []
    for entry in entries:
        found, speed = entry.launches(), entry.speed
        if found is None or speed is None:
            continue
        rows.append(
            (
                [Code(entry.name)],
                [sparkline(found.log_ratio)],
                [f"{speed.pairs}"],
                [quantity(speed.ratio, "ratio")],
                [span(speed.lower, speed.upper, "ratio") if speed.pairs >= LEAST_FOR_INTERVAL else "too few launches"],
                [percent(speed.sd)],
            )
        )
    if not rows:
        return None
    header = ("model", "ratio per launch", "launch pairs", "latency ratio", "90% interval", "spread (sd)")
    meaning = (
        "Each launch pair starts both models in fresh processes and lets them take turns; "
        "a height is one pair's candidate / baseline."
    )
    lead = Paragraph([meaning])
    drawn = [Picture(picture, "Candidate / baseline per launch pair")] if picture else []
    return Section("launches", "Launches", [lead, *drawn, Table(header, rows, frozenset({2, 3, 4, 5}))])


def device_section(entries: Sequence[Entry], calibration: Sequence[str]) -> Section | None:
    """Where it was weighed, how noisy it was, and what it can resolve."""
    if not entries:
        return None
    devices = {entry.measurement.device.fingerprint: entry.measurement.device for entry in entries}
    items = [item for device in devices.values() for item in _machine(device)]
    items += [_noise(entry) for entry in entries if entry.speed is not None]
    items += [[Code(entry.name), f": {said}"] for entry in entries if (said := _measured_by(entry))]
    items += [[sentence] for sentence in calibration]
    if len(devices) > 1:
        items.append([f"the models were weighed on {len(devices)} machines: ratios compare across them, times do not"])
        return Section("device", "The machines and their noise", [Bullets(items)])
    return Section("device", "The machine and its noise", [Bullets(items)])


def _machine(device: Device) -> list[Inline]:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(device.runtimes.items()))
    named: Inline = [] if device.name in (LOCAL, device.device_class) else [Code(device.name), ", class "]
    what = f": {device.cpu}, {device.cores} cores, {quantity(device.memory_bytes, 'bytes', 3)}"
    return [
        [*named, Code(device.device_class), what],
        [f"{device.system}; {', '.join(device.isa) or 'no instruction sets recorded'}"],
        [versions or "no runtime recorded"],
        ["fingerprint ", Code(device.fingerprint[:19])],
    ]


def _measured_by(entry: Entry) -> str:
    """Who measured and when; empty where the measurement does not say."""
    said = [f"by {run['by']}, {run['at']}" for run in recorded_runs(entry.measurement)]
    return f"measured {'; '.join(said[-3:])}" if said else ""


def _noise(entry: Entry) -> Inline:
    speed, band = entry.speed, entry.null_band
    assert speed is not None
    dropped = entry.comparison.controls.dropped if entry.comparison else 0.0
    control = "too few launches compared the baseline with itself to bound it"
    if band is not None:
        control = f"the baseline against itself read {span(*band, 'ratio')}"
    took = duration(entry.measurement.protocol.elapsed_seconds)
    disturbed = f"{percent(dropped)} of the bursts were disturbed by other work and dropped"
    return [
        Code(entry.name),
        f": launches scattered by {percent(speed.sd)}; {control}; {disturbed}; weighing took {took}",
    ]
