from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.gate.models import save
from weighbridge.core.documents import InputSection, Measurement, RecipeVerdict, TaskSection, Verdict
from weighbridge.core.errors import InputError
from weighbridge.data import Split, write_npz
from weighbridge.gate.measure.worker_inputs import feeds
from weighbridge.gate.stages.standalone import StandaloneRequest, run

RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 3)).astype(np.float32)


def network(path: Path, *, pooled: bool, matrix: NDArray[np.float32] = W, extra: int = 0) -> Path:
    """`x` (n, t, 4) → scores (n, 3) of the mean over t where `pooled`, else (n, t, 3)."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["all"])]
    stored = [numpy_helper.from_array(matrix, "w"), numpy_helper.from_array(np.array([1]), "axis")]
    nodes.append(
        helper.make_node("ReduceMean", ["all", "axis"], ["scores"], keepdims=0)
        if pooled
        else helper.make_node("Identity", ["all"], ["scores"])
    )
    info = helper.make_tensor_value_info
    shape = ["n", 3] if pooled else ["n", "t", 3]
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, ["n", "t", 4])], [info("scores", TensorProto.FLOAT, shape)], stored
    )
    return save(path, graph, padding=extra, opset=18)


def examples(count: int = 120, longest: int = 9) -> list[Any]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((rng.integers(1, longest), 4)).astype(np.float32) for _ in range(count)]


@pytest.fixture
def weigh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RecipeVerdict, Measurement]]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)

    def judged(
        split: Split, budgets: list[str], **changes: TaskSection | dict[str, InputSection]
    ) -> tuple[RecipeVerdict, Measurement]:
        write_npz(tmp_path / "eval.npz", split)
        (tmp_path / "budgets.yaml").write_text("budgets:\n" + "".join(f"- {budget}\n" for budget in budgets))
        request = StandaloneRequest(
            tmp_path / "a.onnx",
            tmp_path / "b.onnx",
            "eval.npz",
            budgets=tmp_path / "budgets.yaml",
            out=tmp_path / "out",
            **changes,
        )
        verdict, _ = run(request)
        return verdict, Measurement.read(tmp_path / "out" / "measurement.json")

    return judged


def test_classes_of_examples_that_differ_in_length(
    weigh: Callable[..., tuple[RecipeVerdict, Measurement]], tmp_path: Path
) -> None:
    """Each is answered as it is: a mean over a padded one would be another. Timing says what it goes through."""
    network(tmp_path / "a.onnx", pooled=True, extra=100)
    network(tmp_path / "b.onnx", pooled=True, matrix=W * 2)
    x = examples()
    labels = np.array([(one @ W).mean(axis=0).argmax() for one in x])
    budgets = [
        "{metric: accuracy.top1, min: 1.0, mode: exact}",
        "{metric: latency.p50, max_ratio: 50, resolution: 0.9}",
    ]
    verdict, measured = weigh(Split({"x": x}, labels), budgets)
    answered, timed = verdict.budgets
    assert answered.verdict == Verdict.PASS, measured.faults
    assert timed.estimate is not None  # a verdict on time would need a quiet machine
    assert timed.estimate < 50, measured.faults
    said = " ".join(measured.comparisons[0].controls.notes)
    assert "Examples of 'x' differ in length (1 to 8): batches have one length each, without padding" in said
    assert "Timed are up to 32 batches" in said


def test_tokens_of_texts_that_differ_in_length(
    weigh: Callable[..., tuple[RecipeVerdict, Measurement]], tmp_path: Path
) -> None:
    """Labels in a list, answers of each text's own length; what is behind a text's end never counts as agreement."""
    network(tmp_path / "a.onnx", pooled=False)
    network(tmp_path / "b.onnx", pooled=False, matrix=-W)
    x = examples()
    split = Split({"x": x}, [(one @ W).argmax(axis=1) for one in x])
    budgets = ["{metric: accuracy.tokens, max_drop: 0.05, mode: exact}", "{metric: agreement, min: 0.0, mode: exact}"]
    verdict, _ = weigh(split, budgets, task=TaskSection(kind="token"))
    tokens, agreement = verdict.budgets
    assert tokens.verdict is Verdict.FAIL
    own = [((one @ W).argmax(axis=1), (one @ -W).argmax(axis=1)) for one in x]
    assert agreement.estimate == pytest.approx(np.mean(np.concatenate([ours == theirs for ours, theirs in own])))
    with pytest.raises(InputError, match="the answers differ in length between examples"):
        weigh(Split({"x": x}), ["{metric: agreement, min: 0.5}"], task=TaskSection(kind="regression"))


def test_timed_batches_have_one_length_and_are_filled_with_their_own() -> None:
    """A batch of two lengths would need padding; the last one of a length repeats its examples."""
    shapes = {"x": [[2, 1], [3, 1], [2, 1], [2, 1]]}
    flat = np.arange(9, dtype=np.float32)
    cut = [feed["x"][:, :, 0].tolist() for feed in feeds({"x": flat}, 2, [], {"shapes": shapes})]
    assert cut == [[[0, 1], [5, 6]], [[2, 3, 4], [2, 3, 4]], [[7, 8], [7, 8]]]


@pytest.mark.parametrize("rule", ["mean", "max", "all"])
def test_an_example_of_several_rows_gets_one_answer(
    weigh: Callable[..., tuple[RecipeVerdict, Measurement]], tmp_path: Path, rule: str
) -> None:
    """Rows are fed together; the example's answer is the mean or the largest of theirs, or all of them."""
    network(tmp_path / "a.onnx", pooled=True, extra=100)
    network(tmp_path / "b.onnx", pooled=True, matrix=W * 2)
    x = [RNG.standard_normal((2 if rule == "all" else rows, 3, 4)).astype(np.float32) for rows in [1, 2, 4, 2] * 10]
    scores = [(one @ W).mean(axis=1) for one in x]
    said = {"inputs": {"x": InputSection(rows=rule)}}
    if rule == "all":
        verdict, measured = weigh(
            Split({"x": x}),
            ["{metric: agreement, min: 0.999, mode: exact}"],
            task=TaskSection(kind="embedding"),
            **said,
        )
    else:
        labels = np.array([getattr(one, rule)(axis=0).argmax() for one in scores])
        verdict, measured = weigh(Split({"x": x}, labels), ["{metric: accuracy.top1, min: 1.0, mode: exact}"], **said)
    assert measured.faults == []
    assert verdict.verdict is Verdict.PASS, verdict.budgets[0].reason
    assert measured.examples == 40


def test_a_mean_of_classes_is_refused(weigh: Callable[..., tuple[RecipeVerdict, Measurement]], tmp_path: Path) -> None:
    """The mean of integers is no class: the fault says what to take."""
    graph = helper.make_graph(
        [helper.make_node("ArgMax", ["x"], ["class"], axis=1, keepdims=0)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("class", TensorProto.INT64, ["n"])],
    )
    save(tmp_path / "a.onnx", graph)
    save(tmp_path / "b.onnx", graph, padding=1)
    x = RNG.standard_normal((20, 3, 4)).astype(np.float32)
    budgets = ["{metric: accuracy.top1, max_drop: 0.1}"]
    verdict, measured = weigh(Split({"x": x}, np.zeros(20, int)), budgets, inputs={"x": InputSection(rows="mean")})
    assert verdict.verdict is Verdict.ERROR
    assert "rows: max" in measured.faults[0]
