"""Metrics by task, held to scikit-learn and to the definition."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, jaccard_score, roc_auc_score

from weighbridge.core.documents import Absent, Proportions, Resampled, TaskSection
from weighbridge.gate.weighing import accuracy
from weighbridge.gate.weighing.neighbours import PairOrder, recall
from weighbridge.gate.weighing.paired_answers import Answers

RNG = np.random.default_rng(2)


def measured(
    name: str, task: str, ours: NDArray[Any], theirs: NDArray[Any], labels: NDArray[np.int64] | None = None, **keys: Any
) -> Any:
    """The evidence of one metric; `ours` is the reference's output."""
    labels = np.zeros((len(ours), 0), np.float32) if labels is None else labels
    return accuracy.measure(name, Answers([ours], [theirs], labels, task=TaskSection(kind=task), **keys), seed=1)


def test_labels_are_scored_as_scikit_learn_does() -> None:
    """Macro F1 and area under the curve over labels."""
    labels = (RNG.random((300, 4)) < 0.3).astype(np.int64)
    ours = (labels + RNG.standard_normal(labels.shape)).astype(np.float32) - 0.5
    theirs = ours + RNG.standard_normal(ours.shape).astype(np.float32)
    f1, auc = (measured(name, "multilabel", ours, theirs, labels) for name in ("accuracy.f1", "accuracy.auc"))
    assert f1.reference == pytest.approx(f1_score(labels, ours > 0, average="macro"))
    assert f1.candidate == pytest.approx(f1_score(labels, theirs > 0, average="macro"))
    assert auc.candidate == pytest.approx(roc_auc_score(labels, theirs, average="macro"))
    assert f1.candidate < f1.reference


def test_pixels_are_scored_as_scikit_learn_does() -> None:
    """Mean over classes of intersection over union; pixels of -100 left out."""
    labels = RNG.integers(0, 3, (40, 5, 5))
    ours = np.eye(3, dtype=np.float32)[labels].transpose(0, 3, 1, 2) + RNG.standard_normal((40, 3, 5, 5)) * 0.7
    ours = ours.astype(np.float32)
    labels[:, 0] = -100
    found = measured("accuracy.miou", "segmentation", ours, ours, labels)
    counted = labels != -100
    expected = jaccard_score(labels[counted], ours.argmax(1)[counted], average="macro")
    assert found.reference == found.candidate == pytest.approx(expected)
    assert found.candidate_resamples == found.reference_resamples


def test_tokens_are_counted_without_padding() -> None:
    """Accuracy and flips as shares of the tokens that count; sentences are drawn, not tokens."""
    labels = RNG.integers(0, 3, (60, 5))
    ours = np.eye(3, dtype=np.float32)[labels]
    theirs = ours.copy()
    theirs[:, 0] = theirs[:, 0, ::-1]
    labels[:, 3:] = -100
    found, flips = (measured(name, "token", ours, theirs, labels) for name in ("accuracy.tokens", "accuracy.flips"))
    wrong = float((labels[:, 0] != 1).sum()) / (60 * 3)  # class 1 stays in the middle
    assert (found.reference, found.candidate) == (1, pytest.approx(1 - wrong))
    assert (flips.reference, flips.candidate) == (0, pytest.approx(wrong))
    assert isinstance(measured("accuracy.tokens", "token", ours, theirs), Absent)


def test_an_agreement_that_is_yes_or_no_is_counted() -> None:
    """So that a handful of examples, all alike, proves little; everything else is resampled."""
    scores = RNG.standard_normal((50, 3)).astype(np.float32)
    assert measured("agreement", "classification", scores, scores) == Proportions(
        both=50, only_reference=0, only_candidate=0, neither=0
    )
    found = measured("agreement", "regression", scores, scores + 0.1)
    assert isinstance(found, Resampled)
    assert found.reference == 1 > found.candidate > 0.8


def test_the_neighbours_of_an_embedding_are_those_of_brute_force() -> None:
    """Ten nearest by cosine; turned at random, few are found again, and a rotation finds all."""
    first = RNG.standard_normal((80, 12))
    turned = first @ np.linalg.qr(RNG.standard_normal((12, 12)))[0]
    assert recall(first, turned, 0).mean() == 1
    other = first + RNG.standard_normal(first.shape)
    units = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in (first, other)]
    near = [np.argsort(-(unit @ unit.T) - 9 * -np.eye(80), axis=1)[:, :10] for unit in units]
    expected = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
    assert recall(first, other, 0).mean() == pytest.approx(expected)


def test_the_order_of_pairs_is_spearmans() -> None:
    """Over the drawn pairs; a resample counts a pair by both its examples."""
    first = RNG.standard_normal((60, 8))
    order = PairOrder(first, first + RNG.standard_normal(first.shape), 0)
    cosines = []
    for array in (first, first):
        unit = array / np.linalg.norm(array, axis=1, keepdims=True)
        cosines.append((unit[order.first] * unit[order.second]).sum(axis=1))
    assert PairOrder(first, first, 0).value(np.ones(60)) == pytest.approx(1)
    assert 0.3 < order.value(np.ones(60)) < 1
    assert order.value(np.ones(60)) == pytest.approx(spearmanr(*order.ranks).statistic)


def test_one_score_has_slices_and_flips() -> None:
    """A yes-and-no classifier is a classifier in every respect."""
    labels = RNG.integers(0, 2, 200)
    ours = (labels[:, None] * 0.8 + 0.1).astype(np.float32)
    answers = Answers([ours], [1 - ours], labels, task=TaskSection(kind="classification"))
    assert accuracy.measure("accuracy.top1", answers, seed=0).only_reference == 200
    assert accuracy.measure("accuracy.f1", answers, seed=0).reference == 1
    assert set(accuracy.slices(answers)) == {"label 0", "label 1"}
    assert len(accuracy.flips(answers)) == accuracy.SHOWN_FLIPS
    three = replace(answers, labels=np.arange(200) % 3)
    assert "needs labels 0 and 1" in accuracy.measure("accuracy.top1", three, seed=0).reason


def test_a_metric_of_another_task_has_a_reason() -> None:
    """Not an error of the program, and no evidence."""
    scores = RNG.standard_normal((50, 3)).astype(np.float32)
    found = measured("accuracy.miou", "classification", scores, scores, RNG.integers(0, 3, 50))
    assert found == Absent(reason="accuracy.miou belongs to another task; this one is classification")
