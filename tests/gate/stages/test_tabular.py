import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tabular import KINDS, labelled, rows, tabular
from weighbridge.core.documents import InputSection, Measurement, RecipeVerdict, Verdict
from weighbridge.core.errors import InputError
from weighbridge.data import Split, read_npz, write_npz
from weighbridge.gate.stages.standalone import StandaloneRequest, run

MISSING = {"size": InputSection(missing=True)}
BUDGETS = """budgets:
- {metric: size.bytes, max_ratio: 1.0}
- {metric: accuracy.top1, max_drop: 0.2, mode: exact}
- {metric: accuracy.auc, min: 0.9, mode: exact}
- {metric: latency.p50, max_ratio: 50, resolution: 0.9}
"""


@pytest.fixture
def weigh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RecipeVerdict, Measurement]]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    tabular(tmp_path / "a.onnx", padding=100)
    tabular(tmp_path / "b.onnx", noise=0.2)
    write_npz(tmp_path / "eval.npz", labelled(tmp_path / "a.onnx", rows()))
    (tmp_path / "budgets.yaml").write_text(BUDGETS)

    def judged(**changes: Any) -> tuple[RecipeVerdict, Measurement]:
        asked = {"budgets": tmp_path / "budgets.yaml", "output": "scores", "inputs": MISSING, **changes}
        asked["out"] = tmp_path / "out" / str(asked["output"])
        verdict, _ = run(StandaloneRequest(tmp_path / "a.onnx", tmp_path / "b.onnx", "eval.npz", **asked))
        return verdict, Measurement.read(asked["out"] / "measurement.json")

    return judged


def test_a_text_label_and_its_maps_of_scores_are_weighed_alike(
    weigh: Callable[..., tuple[RecipeVerdict, Measurement]], tmp_path: Path
) -> None:
    """The label's text and the class of the highest score, by its name, are the same answers; maps are timed too."""
    by_scores, measured = weigh()
    assert [item.verdict for item in by_scores.budgets] == [Verdict.PASS] * 4
    assert measured.faults == []
    top1 = measured.comparisons[0].metrics["accuracy.top1"]
    assert (top1.both + top1.only_reference, top1.only_candidate) == (measured.examples, 0)
    assert 0 < top1.only_reference < 40
    (tmp_path / "budgets.yaml").write_text("budgets: [{metric: accuracy.top1, max_drop: 0.2, mode: exact}]")
    _, by_label = weigh(output=None)
    assert by_label.comparisons[0].metrics["accuracy.top1"] == top1
    flip = by_label.comparisons[0].flips[0]
    assert {flip.label, flip.candidate} < set(KINDS)
    assert set(by_label.comparisons[0].slices) == {f"label {kind}" for kind in KINDS}


def test_missing_values_must_be_declared(weigh: Callable[..., tuple[RecipeVerdict, Measurement]]) -> None:
    """NaN in an input says what to declare; infinity and NaN in labels are refused with or without it."""
    with pytest.raises(InputError, match="'size' contains NaN") as caught:
        weigh(inputs={})
    assert "inputs: {size: {missing: true}}" in str(caught.value)
    with pytest.raises(InputError, match="'x' contains infinite"):
        Split({"x": np.array([[np.inf]])}, np.zeros(1, np.int64))
    with pytest.raises(InputError, match="'labels' contains NaN"):
        Split({"x": np.ones((1, 1))}, np.array([np.nan]))


def test_maps_of_other_classes_are_refused(
    weigh: Callable[..., tuple[RecipeVerdict, Measurement]], tmp_path: Path
) -> None:
    """The same output of other classes answers another question."""
    tabular(tmp_path / "b.onnx", kinds=("red", "green", "black"))
    with pytest.raises(InputError, match="'scores' has the classes black, green, red; in the baseline they are blue"):
        weigh()


def test_labels_of_another_kind_end_in_a_reason(
    weigh: Callable[..., tuple[RecipeVerdict, Measurement]], tmp_path: Path
) -> None:
    """Numbers are no names of classes; text that names none of them is not silently wrong."""
    given = read_npz(tmp_path / "eval.npz")
    write_npz(tmp_path / "eval.npz", Split(given.inputs, np.zeros(200, np.int64)))
    verdict, _ = weigh()
    assert verdict.verdict is Verdict.ERROR
    assert "text, the labels are numbers" in str(verdict.to_json())
    write_npz(tmp_path / "eval.npz", Split(given.inputs, np.full(200, "RED")))
    (tmp_path / "budgets.yaml").write_text("budgets: [{metric: accuracy.top1, max_drop: 0.2, mode: exact}]")
    verdict, _ = weigh()
    assert verdict.verdict is Verdict.ERROR
    assert "no label is one of the model's classes (blue, green, red)" in json.dumps(verdict.to_json())


def test_text_in_npz_is_unicode_never_an_object(tmp_path: Path) -> None:
    """What is written is read again with the same digest; pickled text is refused."""
    split = labelled(tabular(tmp_path / "a.onnx"), rows(20))
    write_npz(tmp_path / "a.npz", split)
    assert read_npz(tmp_path / "a.npz").digest() == split.digest()
    with pytest.raises(InputError, match=r"Python objects.*astype\(str\)"):
        Split({"city": np.array([["a"]], object)}, np.zeros(1, np.int64))
    np.savez(tmp_path / "b.npz", city=np.array([["a"]], object))
    with pytest.raises(InputError, match="pickled objects"):
        read_npz(tmp_path / "b.npz")
