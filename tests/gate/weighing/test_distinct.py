from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.gate.models import examples, linear, weights
from weighbridge.core.documents import Budget, Measurement, RecipeVerdict, Weighing
from weighbridge.data import Split
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing import accuracy
from weighbridge.gate.weighing.distinct import distinct, remarks, tied
from weighbridge.gate.weighing.job import Source, read_job
from weighbridge.gate.weighing.paired_answers import Answers
from weighbridge.gate.weighing.weigh import weigh

CLASSES = np.eye(3, dtype=np.float32)


def test_copies_of_an_input_are_one_example() -> None:
    """All arrays of an example together make its input; equal in one of them is not equal."""
    x = np.array([[1, 2], [3, 4], [1, 2], [1, 2]], np.float32)
    t = np.array([5, 5, 5, 6], np.int64)
    found = distinct(Split({"x": x, "t": t}, np.array([0, 1, 0, 2])))
    assert list(found.first) == [0, 1, 3]
    assert list(found.group) == [0, 1, 0, 2]
    assert found.relabelled == 0
    assert len(distinct(Split({"x": x}, np.array([0, 1, 0, 2])))) == 2
    assert distinct(Split({"x": x}, np.array([0, 1, 0, 2]))).relabelled == 1


def test_answers_are_counted_once_in_every_slice_that_a_copy_is_in() -> None:
    """Counts and slices are over inputs; a flipped example keeps its place in the whole data set."""
    x = np.array([[1], [2], [1], [3]], np.float32)
    labels = np.array([0, 1, 0, 2])
    masks = {"late": np.array([False, False, True, True]), "early": np.array([True, True, False, False])}
    whole = Answers([CLASSES[labels]], [CLASSES[[0, 1, 0, 1]]], labels, masks)
    once = distinct(Split({"x": x}, labels, masks)).of(whole)
    found = accuracy.measure("accuracy.top1", once, seed=0)
    assert (found.both, found.only_reference, found.examples) == (2, 1, 3)
    assert {name: part.examples for name, part in accuracy.slices(once).items()} == {"late": 2, "early": 2}
    assert [(flip.index, flip.label, flip.candidate) for flip in accuracy.flips(once)] == [(3, 2, 1)]


def test_without_copies_nothing_is_copied() -> None:
    """The usual case costs one pass of hashing."""
    split = examples(50)
    whole = Answers([split.labels], [split.labels], split.labels)
    assert distinct(split).of(whole) is whole


@pytest.fixture
def weighed(tmp_path: Path) -> Callable[..., tuple[Measurement, RecipeVerdict]]:
    """A measurement of the linear model against one with the given weights, over a split."""

    def run(split: Split, candidate: NDArray[Any] | None = None) -> tuple[Measurement, RecipeVerdict]:
        linear(tmp_path / "baseline.onnx", padding=10)
        linear(tmp_path / "candidate.onnx", weights() * np.float32(2) if candidate is None else candidate)
        budgets = [Budget(metric="accuracy.top1", max_drop=0.05), Budget(metric="accuracy.flips", max=0.1)]
        source = Source(tmp_path / "baseline.onnx", tmp_path / "candidate.onnx", split, "eval.npz")
        job = read_job(source, budgets, describe({}), Weighing())
        found = weigh(job)
        return found, judge(found, budgets)

    return run


def test_five_examples_a_hundred_times_decide_nothing(
    weighed: Callable[..., tuple[Measurement, RecipeVerdict]],
) -> None:
    """As many different examples pass; copies are no evidence."""
    found, verdict = weighed(examples(500))
    assert (found.examples, verdict.verdict, found.comparisons[0].controls.notes) == (500, "pass", [])
    found, verdict = weighed(examples(5).take(np.arange(500) % 5))
    assert (found.examples, verdict.verdict) == (5, "inconclusive")
    assert found.comparisons[0].controls.notes == [
        "495 of the 500 test examples repeat the input of another one; each input counts once, which leaves 5 examples."
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_a_tiny_test_set_decides_nothing(weighed: Callable[..., tuple[Measurement, RecipeVerdict]], count: int) -> None:
    """Inconclusive, and the reason says how many examples would decide."""
    _, verdict = weighed(examples(count))
    assert verdict.verdict == "inconclusive"
    assert all("examples" in item.reason for item in verdict.budgets)


def test_labels_of_one_class_and_ties_are_said(weighed: Callable[..., tuple[Measurement, RecipeVerdict]]) -> None:
    """A model that always answers the lowest class looks perfect on a set of that class."""
    whole = examples(2000)
    found, _ = weighed(whole.take(whole.labels == 0), np.zeros((4, 3), np.float32) + np.float32(0.5))
    one, ties = found.comparisons[0].controls.notes
    assert one.startswith("The test set has one class: all labels are 0")
    assert f"The candidate answers {found.examples:,} of {found.examples:,} test examples by a tie" in ties


def test_other_labels_of_one_input_are_said() -> None:
    """The first label counts; how many differ is said."""
    x = np.zeros((3, 1), np.float32)
    split = Split({"x": x}, np.array([0, 1, 1]))
    once = distinct(split).of(Answers([CLASSES], [CLASSES], split.labels))
    assert "with the first of its labels (2 differ)" in remarks(distinct(split), once, "baseline")[0]


def test_only_scores_tie() -> None:
    """One value per example is no choice between classes."""
    assert tied(np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])) == 1
    assert tied(np.ones((5, 1))) == 0
    assert tied(np.ones(5)) == 0
    assert tied(np.ones((5, 2, 2))) == 0
