"""What recipes come to without training: bytes and multiply-accumulates of their files, and how these answer.

A file's bytes are those that the recipe's own steps write for weights that have not been trained on. Shapes, codes and
each layer's number of zeros do not depend on training; where zeros lie does, and with it some bytes of the places
(docs/figures.md).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from weighbridge.compress.graph.lowering import agreement
from weighbridge.compress.recipe.maker import Maker
from weighbridge.core.documents import Sizes
from weighbridge.core.errors import InvariantError, WeighbridgeError
from weighbridge.core.progress import Progress
from weighbridge.search.problem.searched_model import Source
from weighbridge.search.problem.space import Point, Space

Array = NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """One recipe as far as it can be known without training."""

    point: Point
    sizes: Sizes
    agreement: float
    """Share of calibration examples that the untrained file answers as the baseline does; of a regression, 1 minus the
    relative error."""
    data: bytes


@dataclass(frozen=True)
class Predicted:
    """All predictions, and what there is not."""

    baseline: Sizes
    found: tuple[Prediction, ...]
    failed: tuple[tuple[Point, str], ...]
    """Recipes whose steps refuse the model, with the reason."""
    left: int
    """Recipes that there was no time for, or no need."""


@dataclass(frozen=True)
class Until:
    """When predictions end before all are made."""

    seconds: float = math.inf
    """No other is begun after so long."""
    enough: Callable[[Prediction], bool] = lambda _: False
    """Whether a prediction answers the question, so that no other is needed."""


def predict_all(
    source: Source,
    space: Space,
    points: Iterable[Point],
    progress: Progress,
    until: Until = Until(),
) -> Predicted:
    """Predict points in turn until time is up or enough is known; the baseline comes first."""
    begin, wanted = time.monotonic(), list(points)
    maker = Maker(source.context, source.target, source.start, train=False)
    base = maker.make([])
    answers = _answers(source, base.data)
    found: list[Prediction] = []
    failed: list[tuple[Point, str]] = []
    left = len(wanted)
    for point in wanted:
        if time.monotonic() - begin > until.seconds or (found and until.enough(found[-1])):
            break
        progress("predict", len(wanted) - left, len(wanted), point.form)
        left -= 1
        try:
            made = maker.make(space.read(point, 0))
            share = unchanged(_answers(source, made.data), answers, classes=source.classes)
        except WeighbridgeError as error:
            failed.append((point, error.what))
            continue
        found.append(Prediction(point, made.sizes, share, made.data))
    progress("predict", len(wanted), len(wanted), f"{len(found)} recipes")
    return Predicted(base.sizes, tuple(found), tuple(failed), left)


def unchanged(ours: Sequence[Array], theirs: Sequence[Array], *, classes: bool) -> float:
    """Share of examples that get the class they got before; for other tasks 1 minus the relative error, 0 at least.

    Outputs that contain NaN or infinite values are an `InvariantError`.
    """
    if not all(np.isfinite(output).all() for output in ours):
        raise InvariantError("outputs contain NaN or infinite values")
    found = agreement(ours, theirs)
    return found["same_class"] if classes else max(0.0, 1 - found["relative_error"])


def parts_of(data: bytes) -> Iterator[tuple[str, int]]:
    """What an ONNX file consists of, the largest first: the graph itself, and each stored tensor."""
    model = onnx.load_model_from_string(data)
    tensors = [(str(tensor.name), int(tensor.ByteSize())) for tensor in model.graph.initializer]
    rest = len(data) - sum(size for _, size in tensors)
    yield from sorted([("the graph without weights", rest), *tensors], key=lambda item: -item[1])


def _answers(source: Source, data: bytes) -> list[Array]:
    assert source.context.data.calibration is not None  # the contract of `Context.data`
    return list(source.target.run(data, source.context.data.calibration.inputs))


__all__ = ["Predicted", "Prediction", "Until", "parts_of", "predict_all", "unchanged"]
