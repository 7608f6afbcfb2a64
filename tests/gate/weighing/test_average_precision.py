"""Mean average precision, held to pycocotools' own sum."""

import builtins
import contextlib
import io
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.core.answers.decisions import UnfitError
from weighbridge.gate.weighing import average_precision
from weighbridge.gate.weighing.average_precision import mean_average_precision

pytest.importorskip("pycocotools")


def scene(count: int = 40, seed: int = 0) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Labels (n, 4, 5), and detections that find most of them, some twice, some elsewhere."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 80, (count, 4, 2)), rng.uniform(15, 60, (count, 4, 2))
    boxes = np.concatenate([corner, corner + size], axis=2)
    classes = rng.integers(-1, 3, (count, 4)).astype(np.float64)
    classes[0, 0] = 1
    labels = np.concatenate([classes[..., None], boxes], axis=2)
    moved = np.concatenate([boxes, boxes], axis=1) + rng.normal(0, 3, (count, 8, 4))
    named = np.where(rng.random((count, 8)) < 0.8, np.concatenate([classes, classes], axis=1), 2)
    scores = rng.random((count, 8)).round(2)  # with ties
    return [moved, scores, np.maximum(named, 0)], labels


def test_every_image_once_is_cocos_value() -> None:
    """To the last digit, over all thresholds and classes."""
    outputs, labels = scene()
    evaluated = average_precision._matched(outputs, labels)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluated.accumulate()
    precision = evaluated.eval["precision"]
    found = mean_average_precision(outputs, labels)
    assert found(np.ones(40)) == pytest.approx(precision[precision > -1].mean(), abs=1e-12)
    assert 0.1 < found(np.ones(40)) < 0.9


def test_a_resample_counts_its_images_again() -> None:
    """The value of images drawn twice is that of the data set with them twice."""
    outputs, labels = scene(12)
    chosen = np.array([0, 0, 3, 5, 5, 5, 7, 11])
    again = mean_average_precision([output[chosen] for output in outputs], labels[chosen])
    weights = np.bincount(chosen, minlength=12).astype(float)
    assert mean_average_precision(outputs, labels)(weights) == pytest.approx(again(np.ones(8)), abs=1e-2)


def test_the_labelled_boxes_themselves_are_perfect_and_none_are_nothing() -> None:
    """1 and 0."""
    _, labels = scene()
    outputs = [labels[..., 1:], np.where(labels[..., 0] >= 0, 0.9, 0), labels[..., 0]]
    assert mean_average_precision(outputs, labels)(np.ones(40)) == pytest.approx(1)
    outputs[1] = np.zeros_like(outputs[1])
    assert mean_average_precision(outputs, labels)(np.ones(40)) == 0


def test_what_it_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of their shape, a box among them, and the package."""
    outputs, labels = scene()
    for wrong, problem in (
        (labels[..., :4], r"\(n, boxes, 5\) are expected"),
        (np.full_like(labels, -1), "no image has a labelled box"),
        (np.zeros((40, 0)), "no labels"),
    ):
        with pytest.raises(UnfitError, match=problem):
            mean_average_precision(outputs, wrong)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> ModuleType:
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnfitError, match=r"pip install 'weighbridge\[detection\]'"):
        mean_average_precision(outputs, labels)
