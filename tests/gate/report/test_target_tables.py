"""One page over targets and devices: absolute values, each baseline first, nothing compared across machines."""

from collections.abc import Callable

import pytest

from tests.gate.evidence import BUDGETS, DEVICE, comparison, digest, launches, measurement
from weighbridge.core.documents import Device, Verdict
from weighbridge.gate.report.content import document
from weighbridge.gate.report.facts import Entry, unbeaten
from weighbridge.gate.report.subject import Report
from weighbridge.gate.report.target_tables import targets_section
from weighbridge.gate.report.to_markdown import render
from weighbridge.gate.verdict.judge import judge

PI = DEVICE.model_copy(update={"name": "pi", "device_class": "pi5", "fingerprint": digest("pi")})
PARITY = {"agreement": 0.996, "largest_difference": 0.03125, "examples": 256}


BESIDE = {"agreement": 0.98, "largest_difference": 0.0625, "examples": 256}


def entry(target: str, device: Device = DEVICE, *, ratio: float = 0.8, base: float = 1e-3, size: int = 400) -> Entry:
    """One candidate, judged."""
    timed = comparison(candidate_bytes=size, latency_p50=launches(ratio, pairs=16, base=base))
    found = measurement(timed, recipe="slim", device=device, candidate_bytes=size).model_copy(update={"target": target})
    name = f"slim/{target}" + ("" if device is DEVICE else f"@{device.name}")
    others = {other: BESIDE for other in ("onnxruntime", "litert") if other != target}
    return Entry(name, judge(found, BUDGETS), found, {**PARITY, "targets": others})


def several() -> list[Entry]:
    """Two targets here, one of them on a second machine as well."""
    return [entry("onnxruntime"), entry("litert", base=5e-4, ratio=0.85, size=300), entry("litert", PI, base=4e-3)]


def test_targets_stand_beside_each_other_by_device() -> None:
    """Each place begins with its own baseline; values are absolute."""
    section = targets_section(several())
    rows = [[str(getattr(cell[0], "text", cell[0])) for cell in row] for row in section.blocks[1].rows]
    assert [[*row[2:4], row[0]] for row in rows] == [
        ["local", "litert", "baseline"],
        ["local", "litert", "slim"],
        ["local", "onnxruntime", "baseline"],
        ["local", "onnxruntime", "slim"],
        ["pi", "litert", "baseline"],
        ["pi", "litert", "slim"],
    ]
    assert rows[1][4] == "300 B"
    assert rows[1][8] == "99.6%, outputs within 0.031"
    assert rows[0][8] == "–"


def test_files_of_one_recipe_are_compared_with_each_other() -> None:
    """Each pair once, though one of the two was weighed on two machines."""
    table = targets_section(several()).blocks[3]
    rows = [[str(getattr(cell[0], "text", cell[0])) for cell in row] for row in table.rows]
    assert rows == [["slim", "onnxruntime", "litert", "98%, outputs within 0.062"]]


@pytest.mark.parametrize("targets", [None, "litert", {"litert": 1.0}])
def test_pairs_that_nobody_compared_have_no_table(targets: str | dict[str, float] | None) -> None:
    """A manifest of another program's making is read for what it has."""
    found = [Entry(e.name, e.verdict, e.measurement, {**PARITY, "targets": targets}) for e in several()]
    assert len(targets_section(found).blocks) == 2


def test_one_target_on_one_device_needs_no_such_table() -> None:
    """The table of verdicts says it all."""
    assert targets_section([entry("onnxruntime"), entry("onnxruntime")]) is None


def test_models_are_compared_on_their_own_device_only() -> None:
    """A slow machine's model is not beaten by a fast machine's; on one machine times decide across targets."""
    found = several()
    assert unbeaten(found) == ["slim/litert", "slim/litert@pi"]
    only_ratios = [entry("onnxruntime", base=5e-3, ratio=0.5), entry("litert", base=1e-3, ratio=0.9)]
    assert unbeaten(only_ratios) == ["slim/litert"]


def test_the_whole_report_of_several_places(golden: Callable[[str, str], None]) -> None:
    """Devices are named, each with its machine; the baseline is that of each target."""
    golden("targets.md", render(document(Report(Verdict.PASS, several(), model="net"))))


@pytest.mark.parametrize("parity", [{}, {"agreement": "all"}, {"agreement": None}])
def test_an_agreement_that_nobody_measured_is_a_dash(parity: dict[str, str | None]) -> None:
    """Never a number that was not taken."""
    found = [entry("onnxruntime"), entry("litert")]
    found[1] = Entry(found[1].name, found[1].verdict, found[1].measurement, parity)
    assert targets_section(found).blocks[1].rows[1][8] == ["–"]
