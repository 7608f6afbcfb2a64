"""Mean average precision of boxes as COCO defines it; pycocotools matches boxes, resamples are summed up here.

Matching an image does not depend on other images, so that each is matched once, and a resample only counts its images
again. With every image once the value is that of `COCOeval` (IoU 0.50 to 0.95, all areas, 100 boxes an image).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.answers.detections import read
from weighbridge.gate.weighing.bootstrap import Prepared

Array = NDArray[Any]
RECALLS = np.linspace(0, 1, 101)
FILLS = -1
"""The class of a label that fills up."""


@dataclass(frozen=True)
class _Class:
    """One class's boxes in all images, the surest first."""

    image: Array
    """Of each detection (d,), its image."""
    right: Array
    """Whether it found a labelled box of its own, by IoU threshold (t, d)."""
    labelled: Array
    """Of each image (n,), how many boxes of the class it has."""


def mean_average_precision(outputs: Sequence[Array], labels: Array) -> Prepared:
    """The metric as a function of how often each image was drawn (n,).

    `labels` are (n, boxes, 5): class, x1, y1, x2, y2.
    Raises `UnfitError` for labels of another shape or without a box, and where pycocotools is not installed.
    """
    if labels.size == 0:
        raise UnfitError("the examples have no labels")
    if labels.ndim != 3 or labels.shape[2] != 5:
        raise UnfitError(f"the labels have shape {labels.shape}; (n, boxes, 5) are expected: class, x1, y1, x2, y2")
    found = _classes(outputs, labels)
    if not found:
        raise UnfitError(f"no image has a labelled box: all classes are {FILLS}")

    def score(weights: Array) -> float:
        values = [value for one in found if (value := _precision(one, weights)) is not None]
        return float(np.mean(values)) if values else 0.0

    return score


def _precision(one: _Class, weights: Array) -> float | None:
    """Average precision over recalls and IoU thresholds; None where no drawn image has the class."""
    total = float(weights @ one.labelled)
    if total == 0:
        return None
    if not len(one.image):
        return 0.0
    drawn = weights[one.image]
    hits, misses = np.cumsum(one.right * drawn, axis=1), np.cumsum(~one.right * drawn, axis=1)
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    # The best precision at this recall or any higher one.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    values = np.zeros((len(hits), len(RECALLS)))
    for row, (found, heights) in enumerate(zip(hits / total, precision, strict=True)):
        at = np.searchsorted(found, RECALLS, side="left")
        values[row, at < len(heights)] = heights[at[at < len(heights)]]
    return float(values.mean())


def _classes(outputs: Sequence[Array], labels: Array) -> list[_Class]:
    evaluated = _matched(outputs, labels)
    found = []
    for name in evaluated.params.catIds:
        every = [item for item in evaluated.evalImgs if item is not None and item["category_id"] == name]
        labelled = np.zeros(len(labels))
        for item in every:
            labelled[item["image_id"]] = len(item["gtIds"])
        scores = np.concatenate([item["dtScores"] for item in every]) if every else np.zeros(0)
        order = np.argsort(-scores, kind="mergesort")
        image = np.concatenate([np.full(len(item["dtScores"]), item["image_id"]) for item in every]).astype(np.int64)
        right = np.concatenate([item["dtMatches"] for item in every], axis=1) > 0
        found.append(_Class(image[order], right[:, order], labelled))
    return found


def _matched(outputs: Sequence[Array], labels: Array) -> Any:
    try:
        from pycocotools.coco import COCO  # noqa: PLC0415  # an extra
        from pycocotools.cocoeval import COCOeval  # noqa: PLC0415
    except ImportError as error:
        raise UnfitError("accuracy.map needs pycocotools: pip install 'weighbridge[detection]'") from error
    truth = [
        _box(number + 1, image, int(row[0]), row[1:])
        for number, (image, row) in enumerate(
            (image, row) for image, rows in enumerate(labels) for row in rows if row[0] != FILLS
        )
    ]
    if not truth:
        raise UnfitError(f"no image has a labelled box: all classes are {FILLS}")
    given = [
        {**_box(0, image, int(name), box), "score": float(score)}
        for image, found in enumerate(read(outputs))
        for box, score, name in zip(found.boxes, found.scores, found.classes, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        reference = COCO()
        reference.dataset = {
            "images": [{"id": image} for image in range(len(labels))],
            "annotations": truth,
            "categories": [{"id": name} for name in sorted({item["category_id"] for item in truth})],
        }
        reference.createIndex()
        loaded = reference.loadRes(given) if given else COCO()
        evaluated = COCOeval(reference, loaded, "bbox")
        evaluated.params.areaRng, evaluated.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluated.params.maxDets = [100]
        evaluated.evaluate()
    return evaluated


def _box(number: int, image: int, name: int, corners: Array) -> dict[str, Any]:
    left, top, right, bottom = (float(value) for value in corners)
    size = [left, top, right - left, bottom - top]
    return {"id": number, "image_id": image, "category_id": name, "bbox": size, "area": size[2] * size[3], "iscrowd": 0}
