import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from weighbridge.core.documents import Absent, Proportions, Resampled
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.gate.weighing import accuracy, bootstrap, resampled_metrics
from weighbridge.gate.weighing.paired_answers import Answers


def answers(count: int = 120, classes: int = 4, noise: float = 1.0, seed: int = 0, **rest: dict[str, Any]) -> Answers:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    reference = np.eye(classes)[labels] + 0.5 * rng.standard_normal((count, classes))
    return Answers([reference], [reference + noise * rng.standard_normal((count, classes))], labels, **rest)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_top1_counts_every_example_once(seed: int) -> None:
    """The four counts are the 2×2 table, and swapping the models swaps two of them."""
    data = answers(seed=seed)
    found = accuracy.measure("accuracy.top1", data, seed=0)
    swapped = accuracy.measure("accuracy.top1", Answers(data.candidate, data.reference, data.labels), seed=0)
    assert isinstance(found, Proportions)
    assert isinstance(swapped, Proportions)
    assert found.examples == 120
    ours = data.reference[0].argmax(axis=1) == data.labels
    theirs = data.candidate[0].argmax(axis=1) == data.labels
    assert found.both + found.only_reference == ours.sum()
    assert found.both + found.only_candidate == theirs.sum()
    assert (found.only_reference, found.only_candidate) == (swapped.only_candidate, swapped.only_reference)


def test_top5_looks_at_the_five_best() -> None:
    """An example is right where its label is among the five highest scores."""
    data = answers(classes=12, noise=3.0)
    found = accuracy.measure("accuracy.top5", data, seed=0)
    best = np.argsort(-data.candidate[0], axis=1)[:, :5]
    assert isinstance(found, Proportions)
    assert found.both + found.only_candidate == (best == data.labels[:, None]).any(axis=1).sum()


def test_top5_of_three_classes_says_nothing() -> None:
    """Where every class is among the best five, there is no metric."""
    assert isinstance(accuracy.measure("accuracy.top5", answers(classes=3), seed=0), Absent)


def _f1(predicted: Any, labels: NDArray[Any]) -> Any:
    scores = []
    for name in set(labels) | set(predicted):
        hit = ((predicted == name) & (labels == name)).sum()
        scores.append(2 * hit / ((predicted == name).sum() + (labels == name).sum()))
    return np.mean(scores)


def _auc(scores: NDArray[Any], labels: NDArray[Any]) -> Any:
    areas = []
    for name in set(labels):
        up, down = scores[labels == name, name], scores[labels != name, name]
        areas.append(np.mean([(one > other) + 0.5 * (one == other) for one in up for other in down]))
    return np.mean(areas)


@pytest.mark.parametrize("decimals", [0, 8])
def test_f1_and_auc_agree_with_their_definitions(decimals: int) -> None:
    """Counted pair by pair and class by class, ties included."""
    data = answers()
    data = Answers([data.reference[0].round(decimals)], [data.candidate[0].round(decimals)], data.labels)
    f1 = accuracy.measure("accuracy.f1", data, seed=0)
    auc = accuracy.measure("accuracy.auc", data, seed=0)
    assert isinstance(f1, Resampled)
    assert isinstance(auc, Resampled)
    assert f1.candidate == pytest.approx(_f1(data.candidate[0].argmax(axis=1), data.labels))
    assert auc.reference == pytest.approx(_auc(data.reference[0], data.labels))
    assert auc.candidate == pytest.approx(_auc(data.candidate[0], data.labels))


def test_binary_auc_takes_one_score_or_two() -> None:
    """A column of scores, or the second of two."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    scores = labels + rng.standard_normal(80)
    one = accuracy.measure("accuracy.auc", Answers([scores[:, None]], [scores[:, None]], labels), seed=0)
    two = np.stack([-scores, scores], axis=1)
    both = accuracy.measure("accuracy.auc", Answers([two], [two], labels), seed=0)
    assert one.candidate == pytest.approx(both.candidate)
    assert 0.5 < one.candidate < 1


def test_mae_is_the_mean_of_absolute_errors() -> None:
    """Over examples and outputs alike."""
    labels = np.array([1.0, 2.0, 3.0])
    found = accuracy.measure("accuracy.mae", Answers([labels[:, None] + 1], [labels[:, None] - 3], labels), seed=0)
    assert (found.reference, found.candidate) == (1.0, 3.0)


def test_the_bootstrap_is_paired_and_repeatable() -> None:
    """The same resample goes to both models: identical answers never differ in any resample."""
    data = answers(noise=0.0)
    for name in resampled_metrics.RESAMPLED.keys() - {"accuracy.mae"}:
        found = accuracy.measure(name, data, seed=3)
        assert found.candidate_resamples == found.reference_resamples
        assert len(set(found.candidate_resamples)) > 10
        assert found == accuracy.measure(name, data, seed=3)
        assert found != accuracy.measure(name, data, seed=4)


def test_the_bootstrap_covers_the_sampling_error() -> None:
    """The spread of resamples is that of fresh samples, within a third."""
    samples = [answers(300, seed=seed) for seed in range(100)]
    fresh = [_f1(data.candidate[0].argmax(axis=1), data.labels) for data in samples]
    spread = np.std(accuracy.measure("accuracy.f1", answers(300, seed=0), seed=0).candidate_resamples)
    assert spread == pytest.approx(np.std(fresh), rel=0.33)


@pytest.mark.parametrize(
    ("name", "output", "labels"),
    [
        ("accuracy.top1", np.ones((5, 3)), np.ones(5)),
        ("accuracy.top1", np.ones((5, 1)), np.ones(5, np.int64)),
        ("accuracy.top1", np.ones((5, 3, 2)), np.ones(5, np.int64)),
        ("accuracy.auc", np.ones((5, 1)), np.arange(5)),
        ("accuracy.auc", np.ones((5, 1)), np.ones(5, np.int64)),
        ("accuracy.mae", np.ones((5, 2)), np.ones(5)),
        ("accuracy.f1", np.ones(5), np.ones(5, np.int64)),
    ],
)
def test_what_does_not_fit_is_absent_with_a_reason(
    name: str, output: NDArray[np.float64], labels: NDArray[np.float64 | np.int64]
) -> None:
    """A metric of other things than the model answers is never guessed."""
    found = accuracy.measure(name, Answers([output], [output], labels), seed=0)
    assert isinstance(found, Absent)
    assert found.reason


def test_integer_outputs_are_classes() -> None:
    """A model that answers class labels needs no scores."""
    labels = np.array([3, 1, 2])
    found = accuracy.measure("accuracy.top1", Answers([labels], [labels[::-1]], labels), seed=0)
    assert (found.both, found.only_reference) == (1, 2)


def test_labels_beyond_the_models_classes_are_an_input_error() -> None:
    """Labels that start at one, or of another task, are the data's fault."""
    with pytest.raises(InputError, match="labels go from 0 to 3; the model has 3 classes"):
        accuracy.measure("accuracy.top1", Answers([np.ones((4, 3))], [np.ones((4, 3))], np.arange(4)), seed=0)


def test_slices_add_up_and_default_to_classes() -> None:
    """Named masks where there are any; otherwise one slice per class."""
    data = answers()
    by_class = accuracy.slices(data)
    assert sorted(by_class) == [f"label {name}" for name in range(4)]
    assert sum(part.examples for part in by_class.values()) == 120
    named = accuracy.slices(answers(slices={"odd": np.arange(120) % 2 == 1}))
    assert named["odd"].examples == 60


def test_flips_name_example_label_answer_and_slices() -> None:
    """The first few that were right before and are wrong now."""
    data = answers(noise=3.0, slices={"first half": np.arange(120) < 60})
    shown = accuracy.flips(data)
    counted = accuracy.measure("accuracy.top1", data, seed=0)
    assert len(shown) == min(accuracy.SHOWN_FLIPS, counted.only_reference) > 3
    for flip in shown:
        assert data.reference[0][flip.index].argmax() == flip.label == data.labels[flip.index]
        assert data.candidate[0][flip.index].argmax() == flip.candidate != flip.label
        assert flip.slices == (["first half"] if flip.index < 60 else [])


def test_a_users_metric_sees_outputs_and_labels() -> None:
    """`module:callable(outputs, labels)` is resampled in pairs like the named ones."""
    data = answers(noise=0.0)
    found = accuracy.measure(
        "mine:score", data, seed=0, user=lambda outputs, labels: np.mean(outputs[0].argmax(axis=1) == labels)
    )
    assert found.reference == np.mean(data.reference[0].argmax(axis=1) == data.labels)
    assert found.candidate_resamples == found.reference_resamples


def ticking(step: float) -> Callable[..., Any]:
    """A clock on which every look takes `step` seconds."""
    ticks = itertools.count()
    return lambda: step * next(ticks)


def both(chosen: NDArray[Any]) -> tuple[float, float]:
    """A metric of two models on the examples at these indices."""
    return float(chosen.mean()), float(np.median(chosen))


def test_a_slow_metric_gets_fewer_resamples_and_says_so() -> None:
    """Its whole cost is bounded; the resamples that there are, are the first of those that there would be."""
    full = bootstrap.bootstrap(both, 50, 3, clock=ticking(0.0001))
    assert (len(full.candidate_resamples), full.capped, len(full.moments)) == (bootstrap.RESAMPLES, "", 7)
    slow = bootstrap.bootstrap(both, 50, 3, clock=ticking(0.03))
    assert 200 < len(slow.candidate_resamples) < bootstrap.RESAMPLES
    assert slow.capped == "20 s allow"
    assert slow.candidate_resamples == full.candidate_resamples[: len(slow.candidate_resamples)]
    assert (slow.candidate, slow.reference) == (full.candidate, full.reference)


def test_a_metric_slower_than_that_has_a_value_and_hardly_a_resample() -> None:
    """One call of 30 seconds: no jackknife, one resample, and nothing that could decide."""
    found = bootstrap.bootstrap(both, 50, 3, clock=ticking(30.0))
    assert len(found.candidate_resamples) == 1
    assert found.moments == []
    assert found.capped


def test_the_jackknife_leaves_out_every_example_once() -> None:
    """Sums of squared influences on a mean are those of the formula: sum((x - mean)^2) / (n - 1)^2."""
    count = 40
    found = bootstrap.bootstrap(lambda chosen: (float(chosen.mean()), float(chosen.mean())), count, 0)
    expected = np.var(np.arange(count)) * count / (count - 1) ** 2
    assert found.moments[0] == pytest.approx(expected)
    assert found.moments[:3] == pytest.approx([found.moments[0]] * 3)


@pytest.mark.parametrize("score", [lambda outputs, labels: float("nan"), lambda outputs, labels: 1 / 0, lambda: 1])
def test_a_users_metric_that_fails_is_a_fault(score: Callable[..., object]) -> None:
    """Exceptions, NaN and wrong signatures name the metric."""
    with pytest.raises(MeasurementError) as caught:
        accuracy.measure("mine:score", answers(), seed=0, user=score)
    assert caught.value.where == "mine:score"


def test_an_unknown_metric_is_refused() -> None:
    """Nothing is measured under a name that nobody knows."""
    with pytest.raises(InputError, match=r"accuracy\.top2"):
        accuracy.measure("accuracy.top2", answers(), seed=0)
