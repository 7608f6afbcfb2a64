from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.gate.models import CLASSES, FEATURES, HONEST, adapter, artifact, examples, linear, save, weights
from weighbridge.core.errors import MeasurementError
from weighbridge.core.ragged import Ragged
from weighbridge.data import Split
from weighbridge.gate.measure import evaluation
from weighbridge.gate.measure.evaluation import (
    LARGE_BATCH,
    MANY,
    Manner,
    answer,
    answers_of,
    check_repeatable,
    repeated,
)
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.frames import pack_arrays, unpack_arrays

OPEN = Manner(Feeding((), None))


def test_answers_are_those_of_the_file(tmp_path: Path) -> None:
    """Every example is answered, in order, whatever the batch."""
    split = examples(MANY + 5)
    (scores,), note = answer(artifact(linear(tmp_path / "m.onnx")), split, [0], OPEN)
    assert np.allclose(scores, split.inputs["x"] @ weights(), atol=1e-5)
    assert str(LARGE_BATCH) in note


@pytest.mark.parametrize("count", [1, 6, 7, 8, 13])
def test_a_batch_that_the_shapes_fix_is_filled_up_and_cut(tmp_path: Path, count: int) -> None:
    """A model of batch 7 answers any number of examples."""
    split = examples(count)
    (scores,), _ = answer(
        artifact(linear(tmp_path / "m.onnx", batch=7)), split, [0], Manner(Feeding((), 7), batch_size=7)
    )
    assert np.allclose(scores, split.inputs["x"] @ weights(), atol=1e-5)


def test_answers_that_depend_on_the_batch_are_taken_at_the_deployed_one(tmp_path: Path) -> None:
    """Scales taken from the whole batch, as dynamic quantization takes them, must not leak into the accuracy."""
    nodes = [
        helper.make_node("Abs", ["raw"], ["abs"]),
        helper.make_node("ReduceMax", ["abs"], ["max"], keepdims=0),
        helper.make_node("Div", ["raw", "max"], ["scores"]),
    ]
    path = linear(tmp_path / "m.onnx", extra=nodes)
    split = examples(MANY + 2)
    (scores,), note = answer(artifact(path), split, [0], OPEN)
    assert np.allclose(np.abs(scores).max(axis=1), 1.0)
    assert "answers differently" in note


def test_a_slow_model_is_not_taken_for_a_hung_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a large batch would come near the time-out, a smaller one is tried, or none."""
    split = examples(MANY + 2)
    path = artifact(linear(tmp_path / "m.onnx"))
    for share, said in ((0.0, "a larger one takes too long"), (0.2, f"evaluated at batch {LARGE_BATCH}")):
        monkeypatch.setattr(evaluation, "SLOW_SHARE", share)
        assert said in answer(path, split, [0], OPEN)[1]


@pytest.mark.parametrize(("seconds", "large"), [(0.0001, LARGE_BATCH), (0.01, 32), (0.5, 1)])
def test_a_large_batch_fits_into_a_fifth_of_the_time_out(
    monkeypatch: pytest.MonkeyPatch, seconds: float, large: int
) -> None:
    """By what one example takes."""
    now = iter([0.0, seconds])
    monkeypatch.setattr(evaluation.time, "monotonic", lambda: next(now))  # type: ignore[attr-defined]
    monkeypatch.setattr(evaluation, "answers_of", lambda *_: [])
    worker = SimpleNamespace(timeout=2.0)
    assert evaluation._large_batch(worker, examples(1), Feeding((), None), [0], 1) == large


def test_inputs_without_an_axis_for_examples_go_one_by_one(tmp_path: Path) -> None:
    """A scalar input beside a batched one: every example gets its own scalar."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "t"], ["y"]), helper.make_node("MatMul", ["y", "w"], ["scores"])],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES]),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights(), "w")],
    )
    base = examples(20)
    factor = np.arange(1, 21, dtype=np.float32)
    split = Split({**base.inputs, "t": factor}, base.labels)
    (scores,), _ = answer(artifact(save(tmp_path / "m.onnx", graph)), split, [0], Manner(Feeding(("t",), None)))
    assert np.allclose(scores, (base.inputs["x"] * factor[:, None]) @ weights(), atol=1e-4)


FAULTS = {
    "random": ("return [x + np.random.default_rng().random(x.shape)]", "its answers differ between runs: of 128"),
    "another in each process": ("return [x + os.getpid() % 1000]", "its answers differ between runs: of 128"),
    "remembered": ("return [x + self.calls]", "its answers differ between runs"),
    "constant": ("return [np.ones((len(x), 3), np.float32)]", "ignores its input"),
    "NaN for some": ("return [np.where(x[:, :1] > 0, np.nan, x)]", "NaN or infinite"),
    "infinite": ("return [np.full((len(x), 3), np.inf)]", "answers contain NaN or infinite"),
    "complex": ("return [x * 1j]", "neither numbers nor text"),
    "bytes": ("return [np.full((len(x), 3), b'cat')]", "neither numbers nor text"),
    "other rows": ("return [np.cumsum(x, axis=1)[:-1]]", "has not one row per example|answered"),
    "changing types": (
        "return [np.cumsum(x, axis=1).astype('f8' if self.calls % 2 else 'f4')]",
        "outputs changed between calls",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_answers_that_are_none_are_faults(tmp_path: Path, name: str) -> None:
    """Constant, NaN, infinite, wordy or missing answers never become an accuracy."""
    run, said = FAULTS[name]
    weighed = artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, run))
    with pytest.raises(MeasurementError, match=said):
        answer(weighed, examples(200), [0], OPEN)


def test_a_second_process_answers_whole_batches_from_the_whole_data_set() -> None:
    """A batch may shape its answers, so that it is repeated as it was; few examples are all repeated."""
    assert list(repeated(3, 8)) == [0, 1, 2]
    assert list(repeated(5, 1)) == [0, 1, 2, 3, 4]
    chosen = repeated(1003, 4)
    assert len(chosen) == 128
    assert list(chosen[:4]) == [0, 1, 2, 3]
    assert list(chosen[-4:]) == [996, 997, 998, 999]
    assert (chosen.reshape(-1, 4) % 4 == np.arange(4)).all()


def test_rounding_and_batches_are_no_other_answers(tmp_path: Path) -> None:
    """What lies within rounding is one answer; an integer is the same or it is not."""
    scores = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    check_repeatable([scores], [scores * np.float32(1 + 1e-6)], "candidate")
    with pytest.raises(MeasurementError, match=r"of 4 examples .* 1 got other values of output 0 \(by up to 0.5\)"):
        check_repeatable([scores], [scores + np.eye(4, 3, -3, np.float32) / 2], "candidate")
    with pytest.raises(MeasurementError, match="got other values of output 1"):
        check_repeatable([scores, np.arange(4)], [scores, np.arange(4)[::-1]], "candidate")
    lines = Ragged.of([np.full((length, 2), length, np.float32) for length in (3, 1, 2)])
    check_repeatable([lines], [lines.changed(lambda values: values * np.float32(1 + 1e-6))], "candidate")
    with pytest.raises(MeasurementError, match=r"of 3 examples .* 1 got other values of output 0 \(by up to 1\)"):
        check_repeatable([lines], [lines.changed(lambda values: np.where(values == 1, 2, values))], "candidate")
    with pytest.raises(MeasurementError, match=r"output 0 has \(3, 2\), in a second process \(1, 2\)"):
        check_repeatable([lines], [lines[np.array([1, 0, 2])]], "candidate")
    shaped = "return [x / np.abs(x).max()]"
    weighed = artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, shaped))
    answer(weighed, examples(203), [0], Manner(Feeding((), None), 8))


def test_the_same_examples_may_be_answered_the_same(tmp_path: Path) -> None:
    """Constant answers to constant inputs are no fault."""
    split = Split({"x": np.ones((20, FEATURES), np.float32)}, np.zeros(20, np.int64))
    weighed = artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, HONEST))
    (scores,), _ = answer(weighed, split, [0], OPEN)
    assert len(scores) == 20


class Stranger:
    """A worker elsewhere that answers `evaluate` with what it was given."""

    name, timeout = "pi", 60.0

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, *_: object, **__: object) -> tuple[dict[str, list[dict[str, Any]]], bytes]:
        arrays = self.replies.pop(0)
        if arrays is None:
            return {}, b""
        described, payload = pack_arrays(arrays)
        return {"arrays": described}, payload


class Summing(Stranger):
    """Answers the sum of each example, and counts what it infers, filled up or not."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def ask(self, *said: Any, **request: Any) -> tuple[dict[str, list[dict[str, Any]]], bytes]:
        given = unpack_arrays(request["arrays"], said[1])["x"]
        self.batches += [request["batch"]] * (len(given) // request["batch"])
        sums = given.reshape(len(given), -1).sum(axis=1, keepdims=True)
        described, body = pack_arrays({"0": sums[: len(given) - request["padding"]]})
        return {"arrays": described}, body


def test_few_examples_of_one_length_fill_no_large_batch() -> None:
    """Twelve lengths of three examples each are 36 inferences at batch 128 too, where padding would make 1,536 of them;
    a batch that shapes fix stays as it is.
    """
    split = Split({"x": [np.full((1 + index % 12, 2), index, np.float32) for index in range(36)]}, np.arange(36))
    wanted = [2 * index * (1 + index % 12) for index in range(36)]
    for least, batches in ((1, [3] * 12), (4, [4] * 12), (None, [128] * 12)):
        worker = Summing()
        found = answers_of(worker, split.inputs, Feeding((), None), [0], LARGE_BATCH, least=least)
        assert found[0][:, 0].tolist() == wanted
        assert worker.batches == batches
    worker = Summing()
    answers_of(worker, split.inputs, Feeding((), None), [0], 2, least=1)
    assert worker.batches == [2, 1] * 12


STRANGE = {
    "nothing": ([None], "answered nothing for output 0"),
    "another output": ([{"1": np.ones((1, 3))}], "answered nothing for output 0"),
    "a scalar": ([{"0": np.float64(1)}], "answered nothing for output 0"),
    "one shape, then another": ([{"0": np.ones((1, 3))}, {"0": np.ones((1, 4))}], "differing shapes"),
    "too many": ([{"0": np.ones((2, 3))}, {"0": np.ones((1, 3))}], "3.* of 2 examples"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_a_stranger_answers_is_looked_at(tmp_path: Path, name: str) -> None:
    """A device that is not ours answers anything: each is a fault that names it, and no traceback."""
    replies, said = STRANGE[name]
    file = artifact(linear(tmp_path / "m.onnx", batch=1))
    with pytest.raises(MeasurementError, match=said) as caught:
        answer(file, examples(2), [0], Manner(Feeding((), 1)), lambda *_: Stranger(*replies))
    assert caught.value.where == "pi"
