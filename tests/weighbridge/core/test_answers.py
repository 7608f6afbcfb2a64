"""What makes two answers alike, by task; each is seen to fall where answers differ."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.core.answers import decisions, detections
from weighbridge.core.answers.agreement import Agreement, Examples, compare, similarity
from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.documents import TaskSection

RNG = np.random.default_rng(0)
NOTHING = Examples({}, np.zeros((4, 0), np.float32))


def agreed(
    kind: str, ours: NDArray[Any], theirs: NDArray[Any], examples: Examples = NOTHING, **keys: str | float
) -> Agreement:
    """The agreement of one output."""
    return compare(TaskSection(kind=kind, **keys), [np.asarray(ours)], [np.asarray(theirs)], examples)


def test_one_score_is_cut_where_the_references_scores_say() -> None:
    """Probabilities at 0.5, logits at 0; a threshold that is given comes first."""
    theirs = np.array([[0.1], [0.4], [0.6], [0.9]], np.float32)
    assert agreed("classification", theirs + 0.15, theirs).value() == 0.75
    assert agreed("classification", theirs + 0.15, theirs, scores="logits").value() == 1
    assert agreed("classification", theirs + 0.15, theirs, threshold=0.2).value() == 0.75
    assert agreed("classification", theirs * 10 - 5, theirs * 10 - 5.5).value() == 1
    assert agreed("classification", theirs, theirs).decided


def test_labels_agree_by_f1_and_an_empty_set_equals_itself() -> None:
    """Rare labels do not drown in the many that neither model gives."""
    theirs = np.array([[5, -5, -5, -5]] * 2 + [[-5] * 4] * 2, np.float32)
    ours = theirs.copy()
    ours[0, 1] = 5  # one of two right: 2·1 / (2 + 1)
    ours[1] = [-5, -5, -5, 5]  # none
    np.testing.assert_allclose(agreed("multilabel", ours, theirs).each, [2 / 3, 0, 1, 1])


def test_padding_does_not_count() -> None:
    """By labels of -100, or by the mask; examples of many tokens count for more."""
    theirs = RNG.standard_normal((4, 6, 3)).astype(np.float32)
    ours = theirs.copy()
    ours[:, 3:] *= -1
    mask = (np.arange(6) < np.array([[3], [3], [3], [6]])).astype(np.int64)
    plain = agreed("token", ours, theirs)
    assert plain.value() == pytest.approx(0.5)
    masked = agreed("token", ours, theirs, Examples({"mask": mask}, NOTHING.labels), mask="mask")
    assert masked.value() == pytest.approx(12 / 15)
    labelled = agreed("token", ours, theirs, Examples({}, np.where(mask == 1, 0, -100)))
    assert labelled.value() == masked.value()
    assert masked.value(np.array([1.0, 1, 1, 0])) == 1
    with pytest.raises(UnfitError, match="not an input"):
        agreed("token", ours, theirs, mask="attention")


def test_numbers_are_compared_on_the_scale_of_the_references_answers() -> None:
    """One tenth of their spread, squared and averaged: an agreement of 0.9."""
    theirs = RNG.standard_normal((400, 1)).astype(np.float32)
    assert agreed("regression", theirs + 0.1 * theirs.std(), theirs).value() == pytest.approx(0.9, abs=1e-3)
    assert agreed("regression", -theirs, theirs).value() == 0


def test_vectors_are_compared_by_cosine() -> None:
    """Zero equals zero and nothing else; text encoders that give a vector for each token are averaged over the mask."""
    theirs = np.array([[1, 0], [0, 2], [0, 0], [1, 1]], np.float32)
    ours = np.array([[2, 0], [2, 0], [0, 0], [0, 0]], np.float32)
    np.testing.assert_allclose(agreed("embedding", ours, theirs).each, [1, 0, 1, 0])
    with pytest.raises(UnfitError, match="is no embedding"):
        agreed("embedding", ours[:, :1], theirs[:, :1])


def test_boxes_are_found_again_by_class_and_place() -> None:
    """Each once: two boxes on one place are one too many; weak ones are left out, and none equals none."""
    boxes = np.array([[[0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 0, 0]]] * 4, np.float32)
    scores = np.array([[0.9, 0.8, 0], [0.9, 0.8, 0], [0.9, 0.1, 0], [0.1, 0.1, 0]], np.float32)
    classes = np.array([[1, 2, 0]] * 4)
    moved = boxes.copy()
    moved[0, 0] += 1  # still the same place
    moved[1, 1] = moved[1, 0]
    other = classes.copy()
    other[2, 0] = 5
    found = detections.agreements([moved, scores, other], [boxes, scores, classes], None)
    np.testing.assert_allclose(found, [1, 0.5, 0, 1])
    one = np.concatenate([boxes, scores[..., None], classes[..., None]], axis=2)
    np.testing.assert_allclose(detections.agreements([one], [boxes, scores, classes], None), 1)
    with pytest.raises(UnfitError, match="are no detections"):
        detections.agreements([boxes], [boxes], None)


def test_pixels_agree_but_for_those_that_do_not_count() -> None:
    """By labels of -100, as in training."""
    theirs = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
    ours = theirs.copy()
    ours[:, :, 0] = ours[:, ::-1, 0]
    labels = np.zeros((4, 3, 3), np.int64)
    assert agreed("segmentation", ours, theirs, Examples({}, labels)).value() == pytest.approx(2 / 3)
    labels[:, 0] = -100
    assert agreed("segmentation", ours, theirs, Examples({}, labels)).value() == 1


@pytest.mark.parametrize("own", [lambda ours, theirs: 1.0, lambda ours, theirs: [2.0] * 4, lambda: 1])
def test_a_function_of_the_users_must_give_a_share_for_each_example(own: Any) -> None:
    """One number for all, numbers beyond 1, and wrong signatures are named."""
    task = TaskSection(kind="custom", agreement="mine:agree")
    with pytest.raises(UnfitError, match=r"task\.agreement"):
        compare(task, [np.eye(4)], [np.eye(4)], NOTHING, own=own)


def test_other_outputs_are_compared_by_their_form() -> None:
    """Whole numbers by equality, one float by its distance, the rest by direction."""
    assert similarity(np.arange(4), np.array([0, 1, 2, 9])).value() == 0.75
    assert similarity(np.ones((4, 2)), np.ones((4, 2)) * 3).value() == pytest.approx(1)
    assert similarity(-np.arange(4.0), np.arange(4.0)).value() == 0


def test_an_output_that_is_no_answer_of_the_task_is_named() -> None:
    """By its shape."""
    with pytest.raises(UnfitError, match="no class per token"):
        decisions.tokens(np.zeros((4, 3), np.float32))
    with pytest.raises(UnfitError, match="no class per pixel"):
        decisions.pixels(np.zeros((4, 3), np.float32), 0)
