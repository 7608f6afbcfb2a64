"""`benchmarks/targets.py`: its bar can be missed, rows compare each file with one baseline; and the pictures."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.plots import deep_compression, targets
from benchmarks.targeting.files import Built, through_openvino
from benchmarks.targets import Taken, row, shown, ssh_bar
from tests.gate.models import linear
from weighbridge.gate.measure.model_files import read_model


@pytest.mark.parametrize(("ssh", "met"), [(12.9, True), (13.1, False)])
def test_the_bar_on_ssh_can_be_missed(ssh: float, met: bool) -> None:
    """Medians of the rounds, so that one slow round decides nothing."""
    found = ssh_bar({"local": [10.0, 10.0, 90.0], "ssh": [ssh, ssh, 1.0]})
    assert (found["value"], found["met"], found["rounds"]) == (pytest.approx(ssh / 10), met, 3)


@pytest.fixture
def built(tmp_path: Path) -> list[Built]:
    """The fp32 ONNX file and one of another form."""
    path = linear(tmp_path / "m.onnx")
    return [
        Built("onnxruntime", form, read_model(path, name), {})
        for form, name in (("float", "baseline"), ("int8", "onnxruntime/int8"))
    ]


def test_a_row_compares_the_file_with_the_baseline(built: list[Built]) -> None:
    """Twenty of a hundred examples are wrong now; a launch takes 0.8 times as long."""
    right = {item.name: np.ones(100, bool) for item in built}
    right[built[1].name][:20] = False
    taken = Taken(logs=[float(np.log(0.8))] * 12, peaks=[60e6] * 12, over=[10e6] * 12)
    found = row(built[1], right, taken)
    assert found["accuracy_drop"] == pytest.approx(0.2)
    assert found["accuracy_drop_interval"][0] > 0.1
    assert found["latency_ratio_to_fp32_onnx"] == pytest.approx(0.8)
    assert shown({"network": "n", **found})["drop, points"].startswith("+20.00 [")


def test_openvino_reads_the_same_files_under_names_of_its_own(built: list[Built]) -> None:
    """No row of the project's own targets is replaced."""
    beside = through_openvino(built)
    assert [item.name for item in beside] == ["openvino/float", "openvino/int8"]
    assert [item.model.name for item in beside] == ["openvino/float", "openvino/int8"]
    assert [item.model.digest for item in beside] == [item.model.digest for item in built]


def test_the_picture_has_a_point_for_every_file_of_every_network(built: list[Built]) -> None:
    """A panel a network, and nothing drawn twice."""
    taken = Taken(logs=[0.1, -0.1] * 6, peaks=[60e6] * 12, over=[10e6] * 12)
    right = {item.name: np.ones(100, bool) for item in built}
    rows = [{"network": name, **row(item, right, taken)} for name in ("one", "two") for item in built]
    panels = targets(rows).axes
    assert [panel.get_title() for panel in panels] == ["one", "two"]
    for panel in panels:
        assert [entry.get_label() for entry in panel.containers] == ["onnxruntime, float", "onnxruntime, int8"]


def test_the_curve_of_a_net_goes_by_how_much_smaller_its_files_are() -> None:
    """Points against that net's own fp32 file; a net without one is not drawn."""
    rows = [
        {"net": "one", "bits": bits, "ratio": ratio, "top1": top1}
        for bits, ratio, top1 in ((3, 50.0, 0.89), (32, 1.0, 0.90), (4, 20.0, 0.905))
    ]
    axes = deep_compression([*rows, {"net": "two", "bits": 3, "ratio": 9.0, "top1": 0.5}], {"one": 40, "two": 39}, 0.5)
    line = next(line for line in axes.axes[0].lines if line.get_label() == "one")
    np.testing.assert_allclose(line.get_xydata(), [(1, 0), (20, 0.5), (50, -1)], atol=1e-9)
    assert "two" not in {line.get_label() for line in axes.axes[0].lines}
