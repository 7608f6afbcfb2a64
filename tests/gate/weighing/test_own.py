"""Metrics of the user's own, and examples that belong together."""

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.core.documents import Budget, Resampled
from weighbridge.core.errors import MeasurementError
from weighbridge.gate.verdict.budget_changes import changes
from weighbridge.gate.weighing import accuracy, bootstrap, own
from weighbridge.gate.weighing.paired_answers import Answers

RNG = np.random.default_rng(0)
LABELS = RNG.standard_normal(300)
OURS = (LABELS + 0.1 * RNG.standard_normal(300)).astype(np.float32)
THEIRS = (OURS + 0.2).astype(np.float32)


def errors(outputs: list[NDArray[Any]], labels: NDArray[Any]) -> NDArray[Any]:
    """One number for each example: its absolute error."""
    return np.abs(outputs[0] - labels)


def mean_error(outputs: list[NDArray[Any]], labels: NDArray[Any]) -> float:
    """One number for all."""
    return float(errors(outputs, labels).mean())


def answers(**keys: dict[str, str]) -> Answers:
    slices = {"low": LABELS < 0, "high": LABELS >= 0}
    return Answers([OURS], [THEIRS], LABELS, slices, **keys)


def test_one_number_for_each_example_is_the_mean_and_its_resamples() -> None:
    """The same evidence as the mean of all, from one call for each model."""
    called = []

    def counted(outputs: list[NDArray[Any]], labels: NDArray[Any]) -> NDArray[Any]:
        called.append(len(labels))
        return errors(outputs, labels)

    each = accuracy.measure("mine:each", answers(), seed=3, user=counted)
    whole = accuracy.measure("mine:whole", answers(), seed=3, user=mean_error)
    assert called == [300, 300]
    assert each.candidate == pytest.approx(whole.candidate)
    np.testing.assert_allclose(each.candidate_resamples, whole.candidate_resamples, rtol=1e-5)


def test_a_users_metric_has_slices_and_the_examples_that_lost_most() -> None:
    """Direction comes from the budget: of an error, lower is better."""
    by_slice = own.slice_scores("mine:e", answers(), mean_error)
    assert set(by_slice) == {"low", "high"}
    assert by_slice["low"].candidate == pytest.approx(np.abs(THEIRS - LABELS)[LABELS < 0].mean())
    lost = own.worsened("mine:e", answers(better={"mine:e": "lower"}), errors)
    loss = np.abs(THEIRS - LABELS) - np.abs(OURS - LABELS)
    assert lost[0].index == loss.argmax()
    assert lost[0].candidate - lost[0].reference == pytest.approx(loss.max())
    assert own.worsened("mine:e", answers(), errors)[0].index == loss.argmin()
    assert own.worsened("mine:e", answers(), mean_error) == []


def test_a_metric_that_hangs_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that names it, in bounded time."""
    monkeypatch.setattr(own, "CALL_SECONDS", 0.2)
    with pytest.raises(MeasurementError, match=r"took longer than 0\.2 s for one call"):
        accuracy.measure("mine:slow", answers(), seed=0, user=lambda outputs, labels: time.sleep(60))


def test_numbers_for_other_than_each_example_are_a_fault() -> None:
    """Neither one nor one each."""
    with pytest.raises(MeasurementError, match=r"answered numbers of shape \(2,\) for 300 examples"):
        accuracy.measure("mine:two", answers(), seed=0, user=lambda outputs, labels: np.zeros(2))


def test_a_budget_says_which_way_is_better() -> None:
    """A drop needs higher; turning the direction round is a policy change."""
    lower = Budget(metric="mine:e", max_ratio=1.1, better="lower")
    assert lower.quantity.better == "lower"
    assert Budget(metric="mine:e", max_drop=0.1).quantity.better == "higher"
    with pytest.raises(ValueError, match="needs a metric where higher is better"):
        Budget(metric="mine:e", max_drop=0.1, better="lower")
    with pytest.raises(ValueError, match="'better' is for a metric of your own"):
        Budget(metric="accuracy.mae", max_ratio=1.1, better="lower")
    (change,) = changes([lower], [Budget(metric="mine:e", max_ratio=1.1)])
    assert change.kind == "direction"


def test_groups_are_drawn_whole() -> None:
    """Fifty copies of six examples: an interval over single ones would be seven times too narrow."""
    right = np.repeat(RNG.random(6) < 0.5, 50)
    right[:50], right[50:100] = True, False
    output = np.eye(2, dtype=np.float32)[right.astype(int)]
    labels = np.ones(300, np.int64)
    groups = np.repeat(np.array(["a", "b", "c", "d", "e", "f"]), 50)
    always = np.tile(np.float32([0, 1]), (300, 1))
    single = accuracy.measure(
        "mine:r", Answers([always], [output], labels), seed=0, user=lambda o, _: o[0][:, 1].mean()
    )
    found = accuracy.measure("accuracy.top1", Answers([always], [output], labels, groups=groups), seed=0)
    assert isinstance(found, Resampled)
    assert (found.groups, found.examples, found.reference) == (6, 300, 1)
    assert found.candidate == single.candidate == right.mean()
    wide, narrow = np.std(found.candidate_resamples), np.std(single.candidate_resamples)
    assert 5 < wide / narrow < 9
    flips = accuracy.measure("accuracy.flips", Answers([always], [output], labels, groups=groups), seed=0)
    assert (flips.reference, flips.candidate) == (0, pytest.approx(1 - right.mean()))


def test_a_group_comes_with_all_its_examples() -> None:
    """Of any sizes, in any order, by text or number; each example once where each group is chosen once."""
    clusters = bootstrap.Clusters.of(np.array([7, 3, 7, 9, 3, 7]))
    assert [list(part) for part in clusters.members] == [[1, 4], [0, 2, 5], [3]]
    assert sorted(clusters.examples(np.arange(3))) == list(range(6))
    assert list(clusters.examples(np.array([2, 2]))) == [3, 3]
