"""Boxes with scores and classes, as a detector gives them after non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers.decisions import UnfitError

Array = NDArray[Any]
SCORE = 0.3
"""Boxes below it are left out where two detectors are compared, if the task has no threshold of its own."""
OVERLAP = 0.5
"""Intersection over union from which two boxes are in one place."""


@dataclass(frozen=True)
class Detections:
    """One image's boxes."""

    boxes: Array
    """(k, 4): x1, y1, x2, y2."""
    scores: Array
    """(k,), the highest first."""
    classes: Array
    """(k,)."""


def read(outputs: Sequence[Array]) -> Iterator[Detections]:
    """Image by image, from boxes (n, k, 4), scores (n, k) and classes (n, k), or from one output (n, k, 6).

    Rows without extent, or with a score of 0 or less, fill up. Raises `UnfitError` for other shapes.
    """
    if len(outputs) == 1 and outputs[0].ndim == 3 and outputs[0].shape[2] == 6:
        boxes, scores, classes = outputs[0][..., :4], outputs[0][..., 4], outputs[0][..., 5]
    elif len(outputs) >= 3 and outputs[0].ndim == 3 and outputs[0].shape[2] == 4:
        boxes, scores, classes = outputs[:3]
    else:
        raise UnfitError(
            f"outputs of shapes {', '.join(str(output.shape) for output in outputs)} are no detections: expected boxes "
            "(n, k, 4), scores (n, k) and classes (n, k), or one output (n, k, 6)"
        )
    if scores.shape != boxes.shape[:2] or classes.shape != boxes.shape[:2]:
        raise UnfitError(f"boxes are {boxes.shape}, scores {scores.shape}, classes {classes.shape}")
    for box, score, name in zip(boxes.astype(np.float64), scores, classes, strict=True):
        kept = (score > 0) & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        order = np.argsort(-score[kept], kind="stable")
        yield Detections(box[kept][order], score[kept][order].astype(np.float64), name[kept][order].astype(np.int64))


def overlaps(first: Array, second: Array) -> Array:
    """Intersection over union of each box of `first` (k, 4) with each of `second` (m, 4): (k, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0))


def matched(ours: Detections, theirs: Detections) -> int:
    """How many boxes of one find one of the other, each once, of the same class and place; the surest choose first."""
    found = overlaps(ours.boxes, theirs.boxes)
    found[ours.classes[:, None] != theirs.classes[None, :]] = 0
    count = 0
    for row in found:
        best = int(row.argmax()) if row.size else -1
        if best >= 0 and row[best] >= OVERLAP:
            found[:, best] = 0
            count += 1
    return count


def agreements(ours: Sequence[Array], theirs: Sequence[Array], score: float | None) -> Array:
    """F1 of each image's boxes against the reference's, (n,); 1 where both find nothing."""
    limit = SCORE if score is None else score
    found = []
    for mine, reference in zip(read(ours), read(theirs), strict=True):
        first, second = _above(mine, limit), _above(reference, limit)
        total = len(first.scores) + len(second.scores)
        found.append(2 * matched(first, second) / total if total else 1.0)
    return np.asarray(found, np.float64)


def _above(found: Detections, limit: float) -> Detections:
    kept = found.scores > limit
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept])
