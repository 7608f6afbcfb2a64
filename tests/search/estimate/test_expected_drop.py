"""What a recipe will lose is told better by cross-entropy than by what it lost on few examples."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from weighbridge.data import Split
from weighbridge.search.estimate.expected_drop import LEAST, calibrated_cross_entropy, fitted_line

LIMIT = 0.01
CLASSES = 10


def split(labels: np.ndarray) -> Split:
    """Examples of which only the labels are asked."""
    return Split({"x": np.zeros((len(labels), 1), np.float32)}, labels)


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of who knows best, and labels that follow them."""
    best = 3 * rng.standard_normal((count, CLASSES))
    labels = (softmax(best, 1).cumsum(1) > rng.random((count, 1))).argmax(1)
    return best, labels


def told(answers: np.ndarray, labels: np.ndarray) -> float:
    """The cross-entropy of answers that are classes."""
    found = calibrated_cross_entropy([answers], split(labels))
    assert found is not None
    return found


def test_cross_entropy_does_not_depend_on_how_sure_answers_are_in_general() -> None:
    """Logits at another temperature, or probabilities, are the same answers."""
    best, labels = drawn(np.random.default_rng(0), 400)
    first = told(best, labels)
    assert first == pytest.approx(-log_softmax(best, 1)[np.arange(400), labels].mean(), rel=0.02)
    assert told(2.5 * best, labels) == pytest.approx(first, rel=1e-3)
    assert told(0.4 * best, labels) == pytest.approx(first, rel=1e-3)
    assert told(softmax(best, 1), labels) == pytest.approx(first, rel=1e-3)
    assert told(best + np.random.default_rng(1).standard_normal(best.shape), labels) > 1.05 * first


def test_values_and_unknown_classes_have_none() -> None:
    """There, what was lost where trials stop is all that is known."""
    assert calibrated_cross_entropy([np.zeros((4, 1))], split(np.array([0.0, 1.0, 2.0, 3.0]))) is None
    assert calibrated_cross_entropy([np.zeros((4, 3))], split(np.array([0, 1, 2, 3]))) is None
    assert calibrated_cross_entropy([np.zeros((4, 3))], split(np.array([0, 1, 2, -1]))) is None


def test_what_all_lost_alike_is_luck_and_no_part_of_what_is_expected() -> None:
    """A file that answers as the baseline does loses nothing, wherever the line through the others' drops meets it."""
    rng = np.random.default_rng(3)
    extra = rng.uniform(0, 0.15, 30)
    for luck in (-0.008, 0.0, 0.008):
        found = fitted_line(zip(extra, luck + 0.4 * extra + 0.003 * rng.standard_normal(30), strict=True), LIMIT)
        assert found is not None
        assert found.slope == pytest.approx(0.4, abs=0.06)
        assert found.spread == pytest.approx(0.003, rel=0.4)
        assert found.at(0.0).drop == 0


def test_the_order_of_files_changes_nothing() -> None:
    """Trials that ran side by side end in any order."""
    rng = np.random.default_rng(4)
    pairs = [(x, 0.3 * x + 0.002 * rng.standard_normal()) for x in rng.uniform(0, 0.2, 20)]
    assert fitted_line(pairs, LIMIT) == fitted_line(pairs[::-1] + pairs[:5], LIMIT)


def test_few_files_or_files_whose_cross_entropy_tells_nothing_give_no_line() -> None:
    """Then drops count as they are."""
    rng = np.random.default_rng(5)
    pairs = [(x, 0.3 * x) for x in np.linspace(0, 0.2, LEAST)]
    assert fitted_line(pairs, LIMIT) is not None
    assert fitted_line(pairs[1:], LIMIT) is None
    assert fitted_line([(x, -y) for x, y in pairs], LIMIT) is None
    assert fitted_line([(0.1, y) for _, y in pairs], LIMIT) is None
    assert fitted_line([(x, float(rng.standard_normal()) / 100) for x, _ in pairs], LIMIT) is None


def test_files_that_lose_much_more_than_the_limit_are_no_part_of_it() -> None:
    """Beyond ten points a nat costs fewer; where the limit is wide, more counts."""
    near, far = [(x, 0.4 * x) for x in np.linspace(0, 0.2, 10)], [(2.0 + x, 0.5) for x in np.linspace(0, 1, 10)]
    assert fitted_line([*near, *far], LIMIT) == fitted_line(near, LIMIT)
    assert fitted_line([*near, *far], 0.2) != fitted_line(near, 0.2)


def test_it_is_nearer_to_the_loss_on_many_examples_than_the_loss_on_few_is() -> None:
    """Recipes as answers with more and more noise: on 1,500 examples, beside the truth on 40,000."""
    rng, few, many = np.random.default_rng(6), 1500, 40_000
    best, labels = drawn(rng, few + many)
    baseline = best + 0.5 * rng.standard_normal(best.shape)
    noise = np.linspace(0.6, 1.3, 24)
    recipes = [best + each * rng.standard_normal(best.shape) for each in noise]

    def drop(answers: np.ndarray, part: slice) -> float:
        right = [(given[part].argmax(1) == labels[part]).mean() for given in (baseline, answers)]
        return float(right[0] - right[1])

    stop = slice(0, few)
    usual = told(baseline[stop], labels[stop])
    extra = [told(each[stop], labels[stop]) - usual for each in recipes]
    lost = np.array([drop(each, stop) for each in recipes])
    found = fitted_line(zip(extra, lost, strict=True), LIMIT)
    assert found is not None
    truth = np.array([drop(each, slice(few, None)) for each in recipes])
    expected = np.array([found.at(each).drop for each in extra])

    def error(guess: np.ndarray) -> float:
        return float(np.sqrt(np.square(guess - truth).mean()))

    assert error(expected) < 0.7 * error(lost)
