"""The zoo's own arithmetic, and what it does where a road does not end in a verdict."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from benchmarks import zoo, zoo_table, zoo_travel
from benchmarks.zoo_checks import SPACE, _edits, _f1, _letters, answers, language, numbers, value
from benchmarks.zoo_roads import reading
from weighbridge.compress.recipe.recipe import read_recipe
from weighbridge.core.documents import Params
from weighbridge.data import Split


def test_the_independent_numbers_are_those_of_their_definitions() -> None:
    """By task: cosine, same class, F1 of labels, one minus the relative error; accuracy where there are labels."""
    first = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    second = np.array([[1.0, 1.0], [3.0, 0.0]], np.float32)
    none, labels = np.zeros((2, 0), np.float32), np.array([0, 1])
    assert numbers("embedding", first, second, none)["agreement.cosine"] == pytest.approx((0.5**0.5 + 0) / 2)
    assert numbers("classification", first, second, none) == {"agreement": 0.5}
    assert numbers("classification", first, second, labels) == {"agreement": 0.5, "accuracy.top1": 0.5}
    assert numbers("multilabel", first, second, none) == {"agreement": pytest.approx((2 / 3 + 0) / 2)}
    near = {"agreement": pytest.approx(1 - 0.25 / first.std())}
    assert numbers("regression", first, first + np.float32(0.25), none) == near
    assert numbers("regression", first, second, none) == {"agreement": 0}
    assert numbers("regression", first, first, second) == {"agreement": 1, "accuracy.mae": 1.5}


def test_the_independent_numbers_of_tokens_pixels_and_boxes() -> None:
    """Padding left out; the labels' classes alone; a box of another class or place is none."""
    scores = np.eye(3, dtype=np.float32)[[[0, 1, 2], [2, 1, 0]]]
    other, labels = scores[:, ::-1], np.array([[0, 1, -100], [2, 2, -100]])
    assert numbers("token", scores, other, labels) == {"agreement": 0.5, "accuracy.tokens": 0.25}
    image, wanted = np.moveaxis(scores, 2, 1)[..., None], np.array([[[0], [1], [1]], [[2], [1], [0]]])
    assert numbers("segmentation", image, image, wanted) == {
        "agreement": 1,
        "accuracy.miou": pytest.approx((1 + 2 / 3 + 1 / 2) / 3),
    }
    box = np.array([0, 0, 10, 10, 0.9, 1.0])
    moved, renamed = box + np.array([6, 0, 6, 0, 0, 0]), box + np.array([0, 0, 0, 0, 0, 1])
    assert _f1([box], [box + np.array([2, 0, 2, 0, 0, 0])]) == 1
    assert _f1([box], [moved]) == _f1([box], [renamed]) == 0
    assert _f1([box, moved], [box]) == pytest.approx(2 / 3)
    assert _f1([], []) == 1


def test_the_independent_numbers_of_texts_and_lines() -> None:
    """Bits, nats and same tokens of logits; letters to change between two lines."""
    even, sure = np.zeros((1, 2, 2), np.float32), np.log(np.array([[[3, 1], [3, 1]]], np.float32))
    found = language(even, sure, np.array([[0, 1]]))
    assert found["lm.nll"] == pytest.approx(-np.log2(3 / 4 * 1 / 4) / 2)
    assert found["lm.kld"] == pytest.approx(-np.log(3 / 4 * 1 / 4) / 2 - np.log(2))
    assert found["lm.same_top"] == 1
    assert language(-sure, sure, np.array([[0, 1]]))["lm.same_top"] == 0
    steps = np.eye(6625)[[0, 5, 5, 0, 5, SPACE, 7, 7]]
    assert list(_letters(steps)) == reading.read(steps) == [5, 5, 7]
    for first, second, edits in (
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("abc", "abc", 0),
        ("ab", "ba", 2),
    ):
        codes = [[ord(letter) for letter in word] for word in (first, second)]
        assert _edits(*(np.array(code) for code in codes)) == reading.distance(*codes) == edits


def test_a_stream_begins_with_what_the_data_has(tmp_path: Path) -> None:
    """Zeros where it has nothing; a new group begins anew."""
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [node("Add", ["x", "state"], ["sum"]), node("Identity", ["sum"], ["next"])]
    ports = [info(name, TensorProto.FLOAT, ["n", 1]) for name in ("x", "state", "sum", "next")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ports[:2], ports[2:]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    ones, groups = np.ones((4, 1), np.float32), np.array([0, 0, 1, 1])
    for start, expected in ((None, [1, 2, 1, 2]), (np.full((4, 1), 5, np.float32), [6, 7, 6, 7])):
        inputs = {"x": ones} | ({} if start is None else {"state": start})
        found = answers(tmp_path / "m.onnx", Split(inputs, np.zeros(4), groups=groups), "sum", {"state": "next"})
        assert found.ravel().tolist() == expected


def test_counts_become_the_candidates_share() -> None:
    """Of all examples; other evidence has its value."""
    counts = {"kind": "proportions", "both": 6, "only_reference": 2, "only_candidate": 1, "neither": 1}
    assert value(counts) == 0.7
    assert value({"kind": "resampled", "candidate": 0.25}) == 0.25
    assert value({"kind": "absent", "reason": "no labels"}) is None


def test_a_file_is_found_within_an_archive_of_an_archive() -> None:
    """A zip in a zip, and a tar."""
    inner, outer, tape = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("weights", b"w")
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("model.zip", inner.getvalue())
    with tarfile.open(fileobj=tape, mode="w:gz") as archive:
        member = tarfile.TarInfo("source/model.zip")
        member.size = len(inner.getvalue())
        archive.addfile(member, io.BytesIO(inner.getvalue()))
    for file, path in ((outer, "model.zip!weights"), (tape, "source/model.zip!weights")):
        out = io.BytesIO()
        zoo_travel._member(file, path, out)
        assert out.getvalue() == b"w"


def test_the_stages_of_a_project_follow_its_inputs(tmp_path: Path) -> None:
    """Those that feed a model; stages made from a list have them inside."""
    path = tmp_path / "dvc.yaml"
    built = {"foreach": "${targets}", "do": {"params": ["model"], "deps": ["model.onnx"]}}
    stages = {"prepare": {"params": ["data"]}, "baseline": built, "compress": deepcopy(built)}
    path.write_text(yaml.safe_dump({"stages": stages}))
    zoo_travel.add_to_stages(path, ["inputs"], {"compress": ["smaller.onnx"]})
    stages = yaml.safe_load(path.read_text())["stages"]
    assert stages["compress"]["do"]["deps"] == ["model.onnx", "smaller.onnx"]
    assert stages["baseline"]["do"]["deps"] == ["model.onnx"]
    assert stages["baseline"]["do"]["params"] == ["model", "inputs"]
    assert stages["prepare"]["params"] == ["data"]


def test_the_params_of_every_road_are_valid(tmp_path: Path) -> None:
    """And so are their recipes, with limits on latency and without."""
    for road in zoo_table.ROADS:
        for latency in (False, True):
            path = tmp_path / "params.yaml"
            path.write_text(yaml.safe_dump(zoo_travel.params(road, latency=latency)))
            found = Params.read(path)
            for name in found.recipes:
                read_recipe(found, name)
            limited = any(budget.metric.startswith("latency.") for budget in found.budgets)
            assert limited is (latency and bool(road.timed))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({"verdict": "fail", "recipes": {"a": {"verdict": "fail", "size_ratio": 0.5, "equal": True}}}, 0),
        ({"verdict": "pass", "recipes": {"a": {"verdict": "pass", "size_ratio": 0.5, "equal": False}}}, 1),
        ({"verdict": None, "stages": {}}, 1),
    ],
)
def test_a_road_needs_a_verdict_and_equal_numbers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: dict[str, Any],
    code: int,
) -> None:
    """A verdict of fail is one; a number that the check does not give is a miss, and so is none."""
    monkeypatch.setattr(zoo, "travelled", lambda *_, **__: found)
    monkeypatch.setattr(sys, "argv", ["zoo.py", "--json", str(tmp_path / "z.json"), "--only", "pitch"])
    with pytest.raises(SystemExit) as ended:
        zoo.main()
    assert ended.value.code == code
    assert ("UNEQUAL" in capsys.readouterr().out) is any(not row["equal"] for row in found.get("recipes", {}).values())
    written = json.loads((tmp_path / "z.json").read_text())
    assert written["rows"] == [{"road": "pitch", **found}]
    assert all(bar["met"] for bar in written["bars"].values()) is (code == 0)


def _minilm(size: float, lost: float, latency: float | None) -> list[dict[str, Any]]:
    budgets = {LOST: [0.02, lost, 0, 0]} | ({} if latency is None else {LATENCY: [0.6, latency, 0, 0]})
    row = {"equal": True, "size_ratio": size, "budgets": budgets}
    return [{"road": "reviews", "verdict": "pass", "recipes": {"words-w4": row}}]


LOST = "accuracy.top1 max_drop"
LATENCY = "latency.p50 max_ratio"


@pytest.fixture(autouse=True)
def without_olive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tool's environment takes minutes to install."""
    monkeypatch.setattr(zoo, "install_olive", lambda _: None)


@pytest.mark.parametrize(
    ("rows", "missed"),
    [
        (_minilm(0.25, 0.003, 0.6), set()),
        (_minilm(0.26, -0.01, 0.6), {"MiniLM, times smaller"}),
        (_minilm(0.2, 0.004, 0.61), {"MiniLM, points lost", "MiniLM, latency ratio at 32 tokens"}),
        (_minilm(0.2, 0, None), {"MiniLM, latency ratio at 32 tokens"}),
        (
            [{"road": "reviews", "verdict": "fail", "refused": {"words-w4": "why"}}],
            {*zoo.TIMED, "MiniLM, times smaller", "MiniLM, points lost"},
        ),
    ],
)
def test_a_bar_is_missed_where_its_number_is_short_of_it_or_was_not_measured(
    rows: list[dict[str, Any]], missed: set[str]
) -> None:
    """Roads that were not travelled have no bar; latency has one where it was asked for."""
    found = zoo.bars(rows, latency=True)
    assert {name for name, bar in found.items() if not bar["met"]} == missed
    assert not any(name.startswith("MobileNet") for name in found)
    assert set(found) - set(zoo.bars(rows, latency=False)) == set(zoo.TIMED)


def test_a_package_that_cannot_be_had_is_a_row_and_a_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a traceback."""

    def refused(*_: object) -> NoReturn:
        raise subprocess.CalledProcessError(1, ["pip"], stderr=b"ERROR: no matching distribution")

    monkeypatch.setattr(zoo_travel, "fetched", refused)
    monkeypatch.setattr(sys, "argv", ["zoo.py", "--json", str(tmp_path / "z.json"), "--only", "pitch"])
    with pytest.raises(SystemExit) as ended:
        zoo.main()
    assert ended.value.code == 1
    assert "no matching distribution" in capsys.readouterr().out
