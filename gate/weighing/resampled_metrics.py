"""Metrics that are bounded by resampling examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers import decisions
from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.errors import InputError
from weighbridge.gate.weighing.bootstrap import Prepared

Array = NDArray[Any]


def _f1(output: Array, labels: Array) -> Prepared:
    """Macro average of F1 over the classes that occur among labels or predictions; 0 for one never hit."""
    predicted = predicted_classes(output, labels)
    names = np.unique(np.concatenate([labels, predicted]))
    size = len(names)
    cell = np.searchsorted(names, labels) * size + np.searchsorted(names, predicted)

    def score(weights: Array) -> float:
        table = np.bincount(cell, weights, size * size).reshape(size, size)
        hits, total = table.diagonal(), table.sum(axis=0) + table.sum(axis=1)
        present = total > 0
        return float(np.mean(2 * hits[present] / total[present]))

    return score


def _auc(output: Array, labels: Array) -> Prepared:
    """Area under the ROC curve by ranks, ties counted half; several classes: one against the rest, macro average."""
    if labels.dtype.kind not in "iub" or labels.ndim != 1:
        raise UnfitError("an ROC curve needs integer labels (n,), or classes that the model's file names")
    flat = output.reshape(len(output), -1).astype(np.float64)
    names = np.unique(labels)
    if flat.shape[1] == 1:
        if set(names) - {0, 1}:
            raise UnfitError("one score per example needs labels 0 and 1")
        columns = [(flat[:, 0], labels == 1)]
    elif flat.shape[1] == 2:
        columns = [(flat[:, 1] - flat[:, 0], labels == 1)]
    else:
        predicted_classes(output, labels)
        columns = [(flat[:, name], labels == name) for name in names]
    return areas(columns)


def areas(columns: Sequence[tuple[Array, Array]]) -> Prepared:
    """The mean area under the ROC curve over pairs of scores (n,) and booleans (n,), of which each needs both kinds."""
    if any(positive.all() or not positive.any() for _, positive in columns):
        raise UnfitError("an ROC curve needs examples of both kinds")
    ranked = [_ranked(scores, positive) for scores, positive in columns]

    def score(weights: Array) -> float:
        found = [area for area in (one(weights) for one in ranked) if area is not None]
        return float(np.mean(found)) if found else 0.5  # a resample of one kind alone tells nothing: chance

    return score


def _ranked(scores: Array, positive: Array) -> Callable[[Array], float | None]:
    """The area as a function of weights: of all examples one gather and one sum, the rest over positives alone."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    at = np.flatnonzero(positive[order])
    # Examples of one score stand side by side: where each positive's group begins, and where it ends.
    begin, end = np.searchsorted(ordered, ordered[at], "left"), np.searchsorted(ordered, ordered[at], "right")
    own_begin, own_end = np.searchsorted(at, begin, "left"), np.searchsorted(at, end, "left")
    every, own = np.zeros(len(order) + 1), np.zeros(len(at) + 1)

    def area(weights: Array) -> float | None:
        drawn = weights[order]
        np.cumsum(drawn, out=every[1:])
        ups = drawn[at]
        np.cumsum(ups, out=own[1:])
        up, down = float(own[-1]), float(every[-1] - own[-1])
        # Negatives below the group, and those up to its end: a tie counts half.
        below = every[begin] - own[own_begin] + every[end] - own[own_end]
        return float(ups @ below) / (2 * up * down) if up and down else None

    return area


def _mae(output: Array, labels: Array) -> Prepared:
    """Mean absolute error over all outputs of an example."""
    found, wanted = output.reshape(len(output), -1), labels.reshape(len(labels), -1)
    if found.shape != wanted.shape:
        raise UnfitError(f"an output of shape {output.shape} against labels of shape {labels.shape}")
    errors = np.abs(found.astype(np.float64) - wanted).mean(axis=1)
    return lambda weights: float(weights @ errors / weights.sum())


RESAMPLED = {"accuracy.f1": _f1, "accuracy.auc": _auc, "accuracy.mae": _mae}


def predicted_classes(output: Array, labels: Array, names: Sequence[int | str] = ()) -> Array:
    """The class (n,) that an output (n, classes), or (n,) of classes, decides for each example.

    `names` are the classes that scores are of, where these are not 0, 1, ….
    """
    _check_labels(labels)
    flat = output.reshape(len(output), -1)
    if output.dtype.kind in "iubU" and flat.shape[1] == 1:
        _check_kind(labels, flat[:, 0], "the output gives")
        return np.asarray(flat[:, 0])
    if output.ndim < 2 or flat.shape[1] != output.shape[1] or flat.shape[1] < 2:
        raise UnfitError(
            f"an output of shape {output.shape} gives no class per example; use a metric of your own, or say "
            "`task: classification` where one score means yes and no"
        )
    if names:
        known = np.array(names)
        _check_kind(labels, known, f"the classes are {', '.join(map(str, names[:10]))}:")
        if len(labels) and not np.isin(labels, known).any():
            raise UnfitError(f"no label is one of the model's classes ({', '.join(map(str, names[:10]))})")
        return np.asarray(known[flat.argmax(axis=1)])
    _check_kind(labels, flat, "the output gives scores, and its file does not name their classes:")
    if len(labels) and (labels.min() < 0 or labels.max() >= flat.shape[1]):
        raise InputError(f"labels go from {labels.min()} to {labels.max()}; the model has {flat.shape[1]} classes")
    return np.asarray(flat.argmax(axis=1))


def decided_classes(output: Array, labels: Array, limit: float) -> Array:
    """The class (n,) of a classifier, whose one score says yes above `limit` where it gives one alone."""
    _check_labels(labels)
    if decisions.one_score(output):
        if labels.dtype.kind == "U" or not np.isin(labels, (0, 1)).all():
            raise UnfitError("one score per example needs labels 0 and 1")
        return decisions.classes(output, limit)
    return predicted_classes(output, labels)


def _check_labels(labels: Array) -> None:
    if labels.size == 0:
        raise UnfitError("the examples have no labels")
    if labels.dtype.kind not in "iubU" or labels.ndim != 1:
        raise UnfitError(f"the labels are {labels.dtype} of shape {labels.shape}; classes are integers or text (n,)")


def _check_kind(labels: Array, found: Array, what: str) -> None:
    """Text is compared with text, numbers with numbers."""
    if (labels.dtype.kind == "U") != (found.dtype.kind == "U"):
        kinds = ["text" if array.dtype.kind == "U" else "numbers" for array in (found, labels)]
        raise UnfitError(f"{what} {kinds[0]}, the labels are {kinds[1]}; judge another output (--output, task.output)")
