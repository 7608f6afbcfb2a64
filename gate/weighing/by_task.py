"""Metrics by task: how good answers are by their labels, and how much they are like the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers import decisions
from weighbridge.core.answers.agreement import Agreement, Examples, compare, cosines, similarity
from weighbridge.core.answers.decisions import UnfitError
from weighbridge.gate.weighing.average_precision import mean_average_precision
from weighbridge.gate.weighing.bootstrap import Prepared
from weighbridge.gate.weighing.language import LANGUAGE
from weighbridge.gate.weighing.neighbours import PairOrder, recall
from weighbridge.gate.weighing.paired_answers import Answers
from weighbridge.gate.weighing.resampled_metrics import areas

Array = NDArray[Any]


class Weighted(Protocol):
    """Something that has a value for how often each example was drawn (n,)."""

    def value(self, weights: Array) -> float:
        """The value of that resample."""
        ...


def _agreement(answers: Answers, _: int) -> Agreement:
    if answers.task is None:
        raise UnfitError("agreement with the baseline needs a task: it says what makes two answers alike")
    ours, theirs = answers.candidate, answers.reference
    if answers.task.kind == "detection":  # both in the reference's order
        return compare(
            answers.task,
            [ours[index] for index in answers.roles[1] if index < len(ours)],
            [theirs[index] for index in answers.roles[0] if index < len(theirs)],
            Examples(answers.inputs, answers.labels),
        )
    if answers.task.kind != "custom":
        ours, theirs = [ours[answers.judged[1]]], [theirs[answers.judged[0]]]
    return compare(answers.task, ours, theirs, Examples(answers.inputs, answers.labels), own=answers.own)


def _vectors(answers: Answers) -> tuple[Array, Array]:
    """Embeddings of reference and candidate, each (n, d)."""
    ours, theirs = answers.pair
    if ours.dtype.kind != "f" or ours.ndim != 2 or ours.shape[1] < 2:
        raise UnfitError(f"an output of shape {ours.shape} is no embedding (n, d)")
    return ours, theirs


def _cosine(answers: Answers, _: int) -> Agreement:
    ours, theirs = _vectors(answers)
    return Agreement(cosines(theirs, ours), np.ones(len(ours)))


def _recall(answers: Answers, seed: int) -> Agreement:
    ours, theirs = _vectors(answers)
    if len(ours) < 12:
        raise UnfitError(f"a search among {len(ours)} examples says nothing; twelve are the fewest")
    return Agreement(recall(ours, theirs, seed), np.ones(len(ours)))


def _rank(answers: Answers, seed: int) -> PairOrder:
    ours, theirs = _vectors(answers)
    if len(ours) < 12:
        raise UnfitError(f"the order of pairs of {len(ours)} examples says nothing; twelve are the fewest")
    return PairOrder(ours, theirs, seed)


def _outputs(answers: Answers, _: int) -> Agreement:
    others = [index for index in range(len(answers.reference)) if index != answers.judged[0]]
    if not others:
        raise UnfitError("the model has no other output")
    found = [similarity(answers.candidate[index], answers.reference[index]) for index in others]
    return min(found, key=lambda one: one.value())


AGREEMENTS: Mapping[str, Callable[[Answers, int], Agreement | Weighted]] = {
    "agreement": _agreement,
    "agreement.cosine": _cosine,
    "agreement.recall": _recall,
    "agreement.rank": _rank,
    "agreement.outputs": _outputs,
}
"""By metric: the candidate's agreement with the reference (answers, seed); the reference's own is 1."""


def _labelled(answers: Answers, shape: tuple[int, ...], what: str) -> Array:
    labels = answers.labels
    if labels.size == 0:
        raise UnfitError("the examples have no labels")
    if labels.shape != shape:
        raise UnfitError(f"the labels have shape {labels.shape}; {what} of shape {shape} are expected")
    return labels


def _label_f1(answers: Answers) -> tuple[Prepared, Prepared]:
    """Macro average over the labels of F1; 0 for one that is never hit, and labels that never occur left out."""
    limit = decisions.threshold(answers.task, answers.pair[0])
    found = [decisions.label_sets(output, limit) for output in answers.pair]
    wanted = _labelled(answers, found[0].shape, "labels of 0 and 1") != 0

    def prepared(chosen: Array) -> Prepared:
        hits, total = (chosen & wanted).astype(np.float64), chosen.astype(np.float64) + wanted

        def score(weights: Array) -> float:
            both, all_ = weights @ hits, weights @ total
            present = all_ > 0
            return float(np.mean(2 * both[present] / all_[present])) if present.any() else 1.0

        return score

    return prepared(found[0]), prepared(found[1])


def _label_auc(answers: Answers) -> tuple[Prepared, Prepared]:
    """Macro average over the labels of the area under the ROC curve; labels that all or none have are left out."""
    scores = [output.reshape(len(output), -1) for output in answers.pair]
    wanted = _labelled(answers, scores[0].shape, "labels of 0 and 1") != 0
    both = [column for column in range(wanted.shape[1]) if wanted[:, column].any() and not wanted[:, column].all()]
    if not both:
        raise UnfitError("an ROC curve needs examples of both kinds")
    ours, theirs = (areas([(output[:, column], wanted[:, column]) for column in both]) for output in scores)
    return ours, theirs


def _token_accuracy(answers: Answers) -> tuple[Prepared, Prepared]:
    """Share of tokens with the right class, padding left out."""
    assert answers.task is not None
    found = [decisions.tokens(output) for output in answers.pair]
    labels = _labelled(answers, found[0].shape, "classes of tokens")
    counted = decisions.counting(answers.task, labels.shape, answers.inputs, labels)
    return _shares([(chosen == labels) & counted for chosen in found], counted)


def _token_flips(answers: Answers) -> tuple[Prepared, Prepared]:
    """Share of tokens that were right and are wrong now; of the reference there are none."""
    assert answers.task is not None
    ours, theirs = (decisions.tokens(output) for output in answers.pair)
    labels = _labelled(answers, ours.shape, "classes of tokens")
    counted = decisions.counting(answers.task, labels.shape, answers.inputs, labels)
    flipped = (ours == labels) & (theirs != labels) & counted
    return _shares([np.zeros_like(flipped), flipped], counted)


def _shares(right: list[Array], counted: Array) -> tuple[Prepared, Prepared]:
    if not counted.any():
        raise UnfitError("no token counts: all are padding")
    wholes = counted.sum(axis=1).astype(np.float64)
    first, second = (Agreement(part.sum(axis=1).astype(np.float64), wholes).value for part in right)
    return first, second


def _miou(answers: Answers) -> tuple[Prepared, Prepared]:
    """Mean over classes of intersection over union, of the pixels of all images together."""
    assert answers.task is not None
    limit = decisions.threshold(answers.task, answers.pair[0])
    found = [decisions.pixels(output, limit) for output in answers.pair]
    labels = _labelled(answers, found[0].shape, "classes of pixels")
    counted = labels != decisions.IGNORED
    names = np.unique(labels[counted])
    if not len(names):
        raise UnfitError(f"no pixel counts: all labels are {decisions.IGNORED}")

    def prepared(chosen: Array) -> Prepared:
        axes = (1, 2)
        shared = np.stack([((chosen == name) & (labels == name) & counted).sum(axis=axes) for name in names], axis=1)
        union = np.stack([(((chosen == name) | (labels == name)) & counted).sum(axis=axes) for name in names], axis=1)

        def score(weights: Array) -> float:
            both, all_ = weights @ shared.astype(np.float64), weights @ union.astype(np.float64)
            present = all_ > 0
            return float(np.mean(both[present] / all_[present])) if present.any() else 1.0

        return score

    return prepared(found[0]), prepared(found[1])


def _map(answers: Answers) -> tuple[Prepared, Prepared]:
    """COCO's mean average precision."""
    sides = zip((answers.reference, answers.candidate), answers.roles, strict=True)
    picked = [[outputs[index] for index in roles if index < len(outputs)] for outputs, roles in sides]
    ours, theirs = (mean_average_precision(outputs, answers.labels) for outputs in picked)
    return ours, theirs


BY_TASK: Mapping[str, Mapping[str, Callable[[Answers], tuple[Prepared, Prepared]]]] = {
    "multilabel": {"accuracy.f1": _label_f1, "accuracy.auc": _label_auc},
    "token": {"accuracy.tokens": _token_accuracy, "accuracy.flips": _token_flips},
    "segmentation": {"accuracy.miou": _miou},
    "detection": {"accuracy.map": _map},
    "language-model": LANGUAGE,
}
"""By task and metric: functions of how often each example was drawn, of reference and candidate."""
