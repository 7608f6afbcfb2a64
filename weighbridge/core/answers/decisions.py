"""From outputs to decisions: classes, labels, tokens, pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents.task import TaskSection

Array = NDArray[Any]
IGNORED = -100
"""The label of what does not count: padding, pixels of no class (the convention of PyTorch's losses)."""


class UnfitError(Exception):
    """Outputs, labels or inputs are not what the task needs; says why."""


def threshold(task: TaskSection | None, reference: Array) -> float:
    """Where a score becomes a yes: as the task says, else by whether the reference's scores are probabilities."""
    if task is not None and task.threshold is not None:
        return task.threshold
    stated = None if task is None else task.scores
    if stated is None:
        inside = (
            reference.size > 0
            and reference.dtype.kind != "U"
            and float(reference.min()) >= 0
            and float(reference.max()) <= 1
        )
        stated = "probabilities" if inside else "logits"
    return 0.5 if stated == "probabilities" else 0.0


def one_score(output: Array) -> bool:
    """Whether an output (n, …) is one float per example: yes and no by one score."""
    return output.dtype.kind == "f" and output.size == len(output) and len(output) > 0


def classes(output: Array, limit: float) -> Array:
    """One class per example (n,): integers and text as they are, one score by `limit`, the largest of scores (n, c)."""
    flat = output.reshape(len(output), -1)
    if output.dtype.kind in "iubU" and flat.shape[1] == 1:
        return np.asarray(flat[:, 0])
    if one_score(output):
        return np.asarray(flat[:, 0] > limit).astype(np.int64)
    if output.ndim < 2 or flat.shape[1] != output.shape[1] or flat.shape[1] < 2:
        raise UnfitError(f"an output of shape {output.shape} gives no class per example")
    return np.asarray(flat.argmax(axis=1))


def label_sets(output: Array, limit: float) -> Array:
    """Booleans (n, labels) from one score for each label."""
    if output.ndim < 2:
        raise UnfitError(f"an output of shape {output.shape} has no score for each label")
    flat = output.reshape(len(output), -1)
    return np.asarray(flat > limit) if output.dtype.kind == "f" else flat.astype(bool)


def tokens(output: Array) -> Array:
    """Classes (n, t) from (n, t, c) scores, or from integers (n, t)."""
    if output.dtype.kind in "iu" and output.ndim == 2:
        return output
    if output.dtype.kind != "f" or output.ndim != 3:
        raise UnfitError(f"an output of shape {output.shape} gives no class per token: expected (n, tokens, classes)")
    return np.asarray(output.argmax(axis=-1))


def pixels(output: Array, limit: float) -> Array:
    """Classes (n, h, w) from scores (n, c, h, w), one score (n, 1, h, w) or (n, h, w), or integers (n, h, w)."""
    if output.ndim == 4 and output.shape[1] > 1:
        return np.asarray(output.argmax(axis=1))
    flat = output[:, 0] if output.ndim == 4 else output
    if flat.ndim != 3:
        raise UnfitError(f"an output of shape {output.shape} gives no class per pixel: expected (n, classes, h, w)")
    return flat if flat.dtype.kind in "iu" else np.asarray(flat > limit).astype(np.int64)


def counting(task: TaskSection, shape: tuple[int, ...], inputs: Mapping[str, Array], labels: Array) -> Array:
    """Booleans of `shape` (n, …): which tokens or pixels count, by labels that are not -100, or by the mask input."""
    if labels.shape == shape and labels.dtype.kind in "iu":
        return np.asarray(labels != IGNORED)
    if task.mask is None:
        return np.ones(shape, np.bool_)
    if task.mask not in inputs:
        raise UnfitError(f"task.mask names {task.mask!r}, which is not an input ({', '.join(inputs)})")
    mask = inputs[task.mask]
    if mask.shape != shape:
        raise UnfitError(f"the mask {task.mask!r} has shape {mask.shape}; the answers have {shape}")
    return np.asarray(mask != 0)
