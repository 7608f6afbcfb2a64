"""How two models' answers to the same examples agree, by task.

The reference is the model before a step, or the baseline. No labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers import decisions, detections
from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.documents.task import TaskSection

Array = NDArray[Any]
Own = Callable[[list[Array], list[Array]], Any]
"""The user's: outputs of candidate and reference, each (n, …) → (n,) numbers from 0 to 1."""


@dataclass(frozen=True)
class Examples:
    """What was asked, beside what two models answered."""

    inputs: Mapping[str, Array]
    labels: Array
    """(n, …); their padding counts where they have one."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of the examples: a ratio of two sums, so that any resample of them has a value too."""

    parts: Array
    """Of each example (n,): how much of its answer agrees."""
    wholes: Array
    """Of each example (n,): out of how much; 1, or its number of tokens or pixels."""
    spread: float | None = None
    """Of a regression: `parts` are squared differences, and the value is 1 - root of their mean / spread."""

    @property
    def decided(self) -> bool:
        """Whether each example agrees or does not, and nothing in between."""
        return self.spread is None and bool(((self.parts == 0) | (self.parts == 1)).all() and (self.wholes == 1).all())

    @property
    def each(self) -> Array:
        """Of each example, its agreement (n,), 1 where nothing of it counts."""
        share = np.divide(self.parts, self.wholes, out=np.ones(len(self.parts)), where=self.wholes > 0)
        return share if self.spread is None else 1 - np.sqrt(share) / self.spread

    def value(self, weights: Array | None = None) -> float:
        """The agreement of all examples, from 0 to 1; `weights` (n,) say how often each one was drawn."""
        taken = np.ones(len(self.parts)) if weights is None else weights
        whole = float(taken @ self.wholes)
        share = float(taken @ self.parts) / whole if whole else 1.0
        return share if self.spread is None else max(0.0, 1 - float(np.sqrt(share)) / self.spread)


def compare(  # noqa: PLR0913  # two lists, and how they are compared
    task: TaskSection,
    ours: Sequence[Array],
    theirs: Sequence[Array],
    examples: Examples,
    index: int = 0,
    *,
    roles: tuple[int, ...] = (0, 1, 2),
    own: Own | None = None,
) -> Agreement:
    """The task's agreement of two models' outputs, each (n, …); raises `UnfitError` where they are not of the task.

    `index` is the output that answers the task; `roles` are those with boxes, scores and classes of a detector.
    """
    if task.kind == "detection":
        return _of(detections.agreements(_picked(ours, roles), _picked(theirs, roles), task.threshold))
    if task.kind == "custom":
        return _of(_own(own, ours, theirs))
    return _COMPARED[task.kind](task, ours[index], theirs[index], examples)


def cosines(ours: Array, theirs: Array) -> Array:
    """Cosine of each pair of vectors along the last axis; 1 where both are zero, 0 where one is."""
    first, second = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(first, axis=-1), np.linalg.norm(second, axis=-1)
    product = lengths[0] * lengths[1]
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    found = np.divide((first * second).sum(axis=-1), product, out=np.zeros(product.shape), where=product > 0)
    return np.asarray(np.where(both_zero, 1.0, np.clip(found, -1, 1)))


def similarity(ours: Array, theirs: Array) -> Agreement:
    """Of an output that does not answer the task: cosines of whole answers; equal values where they are not floats.

    One number per example has no direction: it is compared as a regression.
    """
    if theirs.dtype.kind != "f":
        same = (ours == theirs).reshape(len(theirs), -1)
        return _of(same.mean(axis=1) if same.shape[1] else np.ones(len(same)))
    if theirs.size == len(theirs):
        return _difference(ours, theirs)
    return _of(cosines(ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)))


def _of(each: Array) -> Agreement:
    parts = np.asarray(each, np.float64)
    return Agreement(parts, np.ones(len(parts)))


def _picked(outputs: Sequence[Array], roles: tuple[int, ...]) -> list[Array]:
    return [outputs[index] for index in roles if index < len(outputs)]


def _classes(task: TaskSection, ours: Array, theirs: Array, _: Examples) -> Agreement:
    limit = decisions.threshold(task, theirs)
    return _of(decisions.classes(ours, limit) == decisions.classes(theirs, limit))


def _labels(task: TaskSection, ours: Array, theirs: Array, _: Examples) -> Agreement:
    limit = decisions.threshold(task, theirs)
    first, second = decisions.label_sets(ours, limit), decisions.label_sets(theirs, limit)
    both, total = (first & second).sum(axis=1), first.sum(axis=1) + second.sum(axis=1)
    return _of(np.divide(2.0 * both, total, out=np.ones(len(both)), where=total > 0))


def _masked(same: Array, counted: Array) -> Agreement:
    axes = tuple(range(1, same.ndim))
    return Agreement((same & counted).sum(axis=axes).astype(np.float64), counted.sum(axis=axes).astype(np.float64))


def _tokens(task: TaskSection, ours: Array, theirs: Array, examples: Examples) -> Agreement:
    first, second = decisions.tokens(ours), decisions.tokens(theirs)
    return _masked(first == second, decisions.counting(task, second.shape, examples.inputs, examples.labels))


def _pixels(task: TaskSection, ours: Array, theirs: Array, examples: Examples) -> Agreement:
    limit = decisions.threshold(task, theirs)
    first, second = decisions.pixels(ours, limit), decisions.pixels(theirs, limit)
    return _masked(first == second, decisions.counting(task, second.shape, examples.inputs, examples.labels))


def _difference(ours: Array, theirs: Array) -> Agreement:
    first, second = (array.reshape(len(array), -1).astype(np.float64) for array in (ours, theirs))
    spread = float(np.std(second)) or 1.0
    return Agreement(((first - second) ** 2).mean(axis=1), np.ones(len(first)), spread)


def _numbers(_: TaskSection, ours: Array, theirs: Array, __: Examples) -> Agreement:
    if theirs.dtype.kind != "f":
        raise UnfitError(f"a regression gives floats; the output is {theirs.dtype}")
    return _difference(ours, theirs)


def _vectors(task: TaskSection, ours: Array, theirs: Array, examples: Examples) -> Agreement:
    if theirs.dtype.kind != "f" or theirs.ndim < 2 or theirs.shape[-1] < 2:
        raise UnfitError(f"an output of shape {theirs.shape} is no embedding: expected (n, d) or (n, tokens, d)")
    found = cosines(ours, theirs)
    if found.ndim == 1:
        return _of(found)
    counted = decisions.counting(task, found.shape, examples.inputs, np.zeros(0))
    axes = tuple(range(1, found.ndim))
    return Agreement((found * counted).sum(axis=axes), counted.sum(axis=axes).astype(np.float64))


def _own(own: Own | None, ours: Sequence[Array], theirs: Sequence[Array]) -> Array:
    if own is None:
        raise UnfitError("the task custom has no function to compare answers with")
    try:
        found = np.asarray(own(list(ours), list(theirs)), np.float64)
    except Exception as error:  # a user's function may raise anything
        raise UnfitError(f"task.agreement failed: {type(error).__name__}: {error}") from error
    if found.shape != (len(theirs[0]),):
        raise UnfitError(f"task.agreement gave {found.shape}; expected one number per example ({len(theirs[0])},)")
    if not ((found >= 0) & (found <= 1)).all():
        raise UnfitError("task.agreement gave numbers that are not from 0 to 1")
    return found


_COMPARED: dict[str, Callable[[TaskSection, Array, Array, Examples], Agreement]] = {
    "classification": _classes,
    "multilabel": _labels,
    "token": _tokens,
    "language-model": _tokens,
    "regression": _numbers,
    "embedding": _vectors,
    "segmentation": _pixels,
}
