import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.gate.measure.test_feeding_declared import recurrent
from tests.gate.models import examples, linear, save, weights
from weighbridge import cli
from weighbridge.data import Split, write_npz

ACCURACY = "budgets:\n- {metric: accuracy.top1, max_drop: 0.05}\n- {metric: size.bytes, max: 20kB}\n"


@pytest.fixture
def weigh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`weighbridge weigh …` in a folder with two models and examples; gives exit code, standard output, error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    linear(tmp_path / "baseline.onnx", padding=100)
    linear(tmp_path / "candidate.onnx", weights() * np.float32(2))
    write_npz(tmp_path / "eval.npz", examples(400))
    (tmp_path / "budgets.yaml").write_text(ACCURACY)

    def run(
        *words: str, candidate: str = "candidate.onnx", data: str = "eval.npz"
    ) -> tuple[str | int | None, Any, Any]:
        command = ["weighbridge", "weigh", "baseline.onnx", candidate, "--data", data, "--out", "out", *words]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capfd.readouterr()
        return caught.value.code, said.out, said.err

    return run


def test_a_pass_leaves_a_folder_with_everything_it_rests_on(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """Exit 0; measurement, verdict and report beside each other, speaking of the same digests."""
    code, out, _ = weigh("--budgets", "budgets.yaml", "--quiet")
    assert code == 0
    assert "accuracy.top1" in out
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    measurement = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert verdict["verdict"] == "pass"
    assert verdict["candidate"]["digest"] == measurement["candidate"]["digest"]
    assert {"metric", "against", "limit", "unit", "estimate", "lower", "upper", "verdict", "reason", "required"} <= set(
        verdict["budgets"][0]
    )
    report = (tmp_path / "out" / "gate.md").read_text()
    assert "--budgets budgets.yaml" in report
    assert (tmp_path / "out" / "gate.html").read_text().startswith("<!doctype html>")


def test_a_worse_model_fails(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """Exit 1."""
    linear(tmp_path / "candidate.onnx", -weights())
    assert weigh("--budgets", "budgets.yaml", "-q")[0] == 1


def test_without_budgets_the_default_ones_are_named(weigh: Callable[..., Any]) -> None:
    """Too little time for the latency: exit 3, and the output says what was asked of the candidate."""
    code, out, _ = weigh("--time-limit", "3", "-q")
    assert code == 3
    assert "latency.p50 max_ratio 1.05" in out
    assert "inconclusive" in out


def test_weighing_again_continues(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """The second run adds launches to the first one's."""
    lengths = []
    for _ in range(2):
        weigh("--time-limit", "3", "-q")
        measurement = json.loads((tmp_path / "out" / "measurement.json").read_text())
        lengths.append(len(measurement["comparisons"][0]["metrics"]["latency.p50"]["numbers"]))
    assert lengths[1] > lengths[0] >= 1


def test_a_measurement_that_git_tracks_is_not_continued(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """What a pull request brought decides nothing, and the report says that it was there."""
    weigh("--time-limit", "3", "-q")
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    before = json.loads((tmp_path / "out/measurement.json").read_text())
    subprocess.run(["git", "add", "-f", "out/measurement.json"], cwd=tmp_path, check=True)
    weigh("--budgets", "budgets.yaml", "-q")
    after = json.loads((tmp_path / "out/measurement.json").read_text())
    assert "latency.p50" in before["comparisons"][0]["metrics"]
    assert "latency.p50" not in after["comparisons"][0]["metrics"]
    assert "is tracked by Git and may come with the change" in (tmp_path / "out/gate.md").read_text()


def test_a_users_metric_and_the_same_file(
    weigh: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--metric module:callable`; identical bytes pass without a launch."""
    code = "def share(outputs, labels):\n    return (outputs[0].argmax(1) == labels).mean()\n"
    (tmp_path / "mymetric.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, _ = weigh("--metric", "mymetric:share", "-q", candidate="baseline.onnx")
    assert code == 0
    assert "mymetric:share" in out


def test_progress_goes_to_standard_error(weigh: Callable[..., Any]) -> None:
    """Standard output holds the verdict alone."""
    _, out, err = weigh("--budgets", "budgets.yaml")
    assert "accuracy: 2/2" in err
    assert "accuracy: 2/2" not in out


def two_outputs(path: Path, matrix: NDArray[Any]) -> Path:
    """`boxes` first, `scores` second."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"]), helper.make_node("Identity", ["x"], ["boxes"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 4]),
         helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(matrix, "w")],
    )  # fmt: skip
    return save(path, graph)


def test_the_judged_output_can_be_named(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """The first output holds boxes; the classes are in the second."""
    two_outputs(tmp_path / "baseline.onnx", weights())
    two_outputs(tmp_path / "candidate.onnx", weights() * np.float32(2))
    (tmp_path / "budgets.yaml").write_text("budgets:\n- {metric: accuracy.top1, min: 0.9}\n")
    assert weigh("--budgets", "budgets.yaml", "-q", "--output", "scores")[0] == 0
    assert weigh("--budgets", "budgets.yaml", "-q", "--output", "boxes")[0] == 1
    assert weigh("--budgets", "budgets.yaml", "-q")[0] == 1


WORSE = {
    "lost": (["scores"], "output 'boxes' is missing"),
    "renamed": (["boxes", "logits"], "output 'scores' is missing; output 'logits' is new"),
    "in another order": (["scores", "boxes"], "its outputs are in another order"),
}


@pytest.mark.parametrize("name", WORSE)
def test_a_candidate_with_other_outputs_is_refused(weigh: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """What a caller takes from the baseline it must find in the candidate."""
    names, said = WORSE[name]
    two_outputs(tmp_path / "baseline.onnx", weights())
    model = onnx.load(str(two_outputs(tmp_path / "candidate.onnx", weights())))
    known = {value.name: value for value in model.graph.output}
    del model.graph.output[:]
    known["logits"] = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    model.graph.output.extend([known[output] for output in names])
    if "logits" in names:
        model.graph.node[0].output[0] = "logits"
    (tmp_path / "candidate.onnx").write_bytes(model.SerializeToString())
    code, _, err = weigh("-q", "--output", "boxes")
    assert code == 2
    assert f"candidate.onnx: {said}" in err


@pytest.mark.parametrize("baseline", ["the honest one", "the same file"])
def test_a_file_that_answers_at_random_never_passes(weigh: Callable[..., Any], tmp_path: Path, baseline: str) -> None:
    """Dropout that was left on: the same bytes on both sides are no reason to pass either."""
    noise = [
        helper.make_node("RandomUniformLike", ["raw"], ["u"]),
        helper.make_node("Add", ["raw", "u"], ["scores"]),
    ]
    linear(tmp_path / "candidate.onnx", extra=noise)
    if baseline == "the same file":
        linear(tmp_path / "baseline.onnx", extra=noise)
    code, out, _ = weigh("--budgets", "budgets.yaml", "-q")
    assert code == 3
    assert "its answers differ between runs: of 128 examples answered in two processes, 128 got other values" in out


@pytest.mark.parametrize("kind", [np.int64, np.bool_, np.float32])
def test_the_opposite_of_one_sigmoid_never_passes(
    weigh: Callable[..., Any], tmp_path: Path, kind: type[np.int64] | type[np.bool] | type[np.float32]
) -> None:
    """One probability per example is no score per class: the opposite of every answer must not look the same."""
    matrix = weights()[:, :1]
    for name, sign in (("baseline", 1), ("candidate", -1)):
        linear(
            tmp_path / f"{name}.onnx",
            matrix * np.float32(sign),
            extra=[helper.make_node("Sigmoid", ["raw"], ["scores"])],
        )
    x = examples(400).inputs["x"]
    np.savez(tmp_path / "eval.npz", x=x, labels=((x @ matrix)[:, 0] > 0).astype(kind))
    assert weigh("--budgets", "budgets.yaml", "-q")[0] in (1, 2, 3)


X = examples(20).inputs["x"]
Y = np.zeros(20, np.int64)
BAD = {
    "no labels": ({"x": X}, "the examples have no labels"),
    "labels of another length": ({"x": X, "labels": Y[:5]}, "examples"),
    "empty": ({"x": X[:0], "labels": Y[:0]}, "empty"),
    "pickled": ({"x": X, "labels": Y.astype(object)}, "pickled objects"),
    "no such input": ({"z": X, "labels": Y}, "not an input of the model"),
    "input missing": ({"labels": Y}, "no input array"),
    "wrong type": ({"x": X.astype(np.float64), "labels": Y}, "float64; the model takes float32"),
    "wrong shape": ({"x": X[:, :3], "labels": Y}, "shape"),
    "NaN": ({"x": X * np.nan, "labels": Y}, "NaN"),
    "too many classes": ({"x": X, "labels": Y + 7}, "the model has 3 classes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_examples_are_one_clear_line(weigh: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """Exit 2, one line, nothing written."""
    arrays, said = BAD[name]
    np.savez(tmp_path / "eval.npz", **arrays)
    code, _, err = weigh("--budgets", "budgets.yaml", "-q")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


MODELS = {
    "missing": (lambda path: path.unlink(), "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "no ONNX": (lambda path: path.write_bytes(b"PK\3\4 something else"), "ONNX"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "ONNX"),
    "other input": (lambda path: linear(path, name="z"), "its inputs are z"),
    "fixed batch": (lambda path: linear(path, batch=2), "shape"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_bad_candidate_is_one_clear_line(weigh: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """Corrupt, missing and incomparable files never reach a runtime."""
    spoil, said = MODELS[name]
    spoil(tmp_path / "candidate.onnx")
    code, _, err = weigh("--budgets", "budgets.yaml", "-q")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert "candidate.onnx" in err
    assert not (tmp_path / "out").exists()


def test_bad_arguments_are_usage_errors(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """Unknown metrics, outputs, factories and budget keys; exit 2."""
    (tmp_path / "wrong.yaml").write_text("budgets:\n- {metric: latency.p5, max_ratio: 1}\n")
    for words, said in (
        (["--metric", "acuracy.top1"], "did you mean 'accuracy.top1'"),
        (["--metric", "nowhere:score"], "does not import"),
        (["--output", "logits"], "no output 'logits'"),
        (["--budgets", "wrong.yaml"], "did you mean"),
        (["--budgets", "none.yaml"], "cannot be read"),
        (["--seed", "99999999999"], "arguments: seed"),
    ):
        code, _, err = weigh(*words, "-q")
        assert code == 2, err
        assert said in err
    assert weigh("-q", data="nowhere:load")[0] == 2


def test_a_stable_reference_is_named_as_missing(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """Exit 3: never a pass by default."""
    (tmp_path / "stable.yaml").write_text("budgets:\n- {metric: size.bytes, max_ratio: 2, against: stable}\n")
    code, out, _ = weigh("--budgets", "stable.yaml", "-q")
    assert code == 3
    assert "stable" in out


def test_an_earlier_measurement_that_is_broken_is_refused(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """A spoilt file does not quietly restart the error budget."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "measurement.json").write_text('{"schema_version": 1}')
    code, _, err = weigh("--budgets", "budgets.yaml", "-q")
    assert code == 2
    assert "measurement.json" in err


def test_a_full_disk_leaves_no_half_of_a_verdict(
    weigh: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old files stay, whole; one line names the file."""
    weigh("--budgets", "budgets.yaml", "-q")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("weighbridge.core.files._sync", full)
    code, _, err = weigh("--budgets", "budgets.yaml", "-q")
    assert code == 2
    assert "No space left on device" in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def _one_score(path: Path, sign: int) -> None:
    """`x` (n, 4) → one sigmoid (n, 1)."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["raw"]), helper.make_node("Sigmoid", ["raw"], ["score"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.float32(sign) * np.ones((4, 1), np.float32), "w")],
    )
    save(path, graph)


def test_one_sigmoid_is_a_classifier_where_the_task_says_so(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """Judged at 0.5: the opposite answers fail, doubled ones pass; without the task the error names it."""
    x = examples(300).inputs["x"]
    write_npz(tmp_path / "yes.npz", Split({"x": x}, (x.sum(1) > 0).astype(np.int64)))
    _one_score(tmp_path / "baseline.onnx", 1)
    for sign, expected in ((2, 0), (-1, 1)):
        _one_score(tmp_path / "candidate.onnx", sign)
        words = ("--budgets", "budgets.yaml", "--task", "classification", "-q")
        assert weigh(*words, data="yes.npz")[0] == expected
    code, out, _ = weigh("--budgets", "budgets.yaml", "-q", data="yes.npz")
    assert code == 3
    assert "say `task: classification` where one score means yes and no" in out


def test_embeddings_are_weighed_without_labels(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """Agreement with the baseline alone; a network that turns each vector elsewhere fails."""
    matrix = np.random.default_rng(5).standard_normal((4, 16)).astype(np.float32)
    write_npz(tmp_path / "texts.npz", Split(examples(200).inputs))
    (tmp_path / "alike.yaml").write_text(
        "budgets:\n- {metric: agreement.cosine, min: 0.98}\n- {metric: agreement.recall, min: 0.8}\n"
    )
    linear(tmp_path / "baseline.onnx", matrix)
    noise = np.random.default_rng(6).standard_normal(matrix.shape).astype(np.float32)
    for change, expected in ((0.02, 0), (1.0, 1)):
        linear(tmp_path / "candidate.onnx", matrix + np.float32(change) * noise)
        words = ("--task", "embedding", "--budgets", "alike.yaml", "-q")
        assert weigh(*words, data="texts.npz")[0] == expected
    report = (tmp_path / "out" / "gate.md").read_text()
    assert "--task embedding" in report


def test_a_task_that_does_not_exist_is_refused_with_a_suggestion(weigh: Callable[..., Any]) -> None:
    """So is a key that belongs to another task."""
    for text, problem in (
        ("embeding", "unknown task 'embeding' (did you mean 'embedding'?)"),
        ("{kind: token, boxes: b}", "'boxes' belongs to the task detection; this one is token"),
        ("custom", "the task custom needs 'agreement'"),
    ):
        code, _, err = weigh("--task", text, "-q")
        assert code == 2
        assert problem in err


def test_a_state_whose_batch_axis_shapes_do_not_tell_is_declared(weigh: Callable[..., Any], tmp_path: Path) -> None:
    """Exit 2 names the input; declared on one line or in a file, each example has its own state."""
    recurrent(tmp_path / "baseline.onnx")
    recurrent(tmp_path / "candidate.onnx")
    rng = np.random.default_rng(0)
    x, state = (rng.standard_normal(shape).astype(np.float32) for shape in ((200, 3), (200, 2, 3)))
    labels = (x + state.sum(1)).argmax(1)
    write_npz(tmp_path / "states.npz", Split({"x": x, "state": state}, labels))
    (tmp_path / "inputs.yaml").write_text("inputs: {state: {batch_axis: 1}}\n")
    (tmp_path / "right.yaml").write_text("budgets: [{metric: accuracy.top1, min: 0.97, mode: exact}]\n")
    words = ("--budgets", "right.yaml", "-q")
    code, _, err = weigh(*words, data="states.npz")
    assert code == 2
    assert "the first axis of input 'state' (2, n, 3) is fixed at 2" in err
    for told in ("{state: {batch_axis: 1}}", "inputs.yaml"):
        assert weigh(*words, "--inputs", told, data="states.npz")[0] == 0
    code, _, err = weigh(*words, "--inputs", "{state: {axis: 1}}", data="states.npz")
    assert code == 2
    assert "axis" in err
