"""Metrics over examples, as paired evidence: counts where an example is right or wrong, a bootstrap elsewhere.

Both models answer the same examples, so that everything here compares example by example.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Absent, Evidence, Flip, Proportions, Resampled
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.gate.statistics.resampled import moments

Array = NDArray[Any]
Score = Callable[[list[Array], Array], float]
"""A user's metric: the model's outputs, each (n, …), and the labels (n, …) → a number."""

RESAMPLES = 2000
GROUPS = 200
"""Of a jackknife, at most."""
METRIC_SECONDS = 20.0
"""A slow metric gets fewer resamples, so that it takes about this long; the report says so."""
JACKKNIFE_SHARE = 0.25
"""Of that time, at most; without a jackknife the bounds are corrected for bias alone."""
SHOWN_FLIPS = 20
MOST_CLASS_SLICES = 50


@dataclass(frozen=True)
class Answers:
    """What two models said of the same examples."""

    reference: list[Array]
    candidate: list[Array]
    """Outputs, each (n, …)."""
    labels: Array
    slices: Mapping[str, Array] = field(default_factory=dict)
    judged: tuple[int, int] = (0, 0)
    """Index of the output that named metrics look at, of reference and candidate."""
    index: Array | None = None
    """Of each example, its place in the whole data set (n,); None where these are the whole."""

    @property
    def pair(self) -> tuple[Array, Array]:
        """The judged outputs of reference and candidate, each (n, …)."""
        return self.reference[self.judged[0]], self.candidate[self.judged[1]]

    def predictions(self) -> tuple[Array, Array]:
        """Predicted classes (n,) of reference and candidate; raises `_Unfit` where the output is no class."""
        ours, theirs = self.pair
        return _classes(ours, self.labels), _classes(theirs, self.labels)


class _Unfit(Exception):  # noqa: N818  # a reason, not a defect
    """The output or the labels are not what the metric needs."""


def measure(name: str, answers: Answers, *, seed: int, user: Score | None = None) -> Evidence:
    """Evidence for one metric by its name; `user` is the callable of a `module:callable` metric.

    What the outputs or labels do not fit is `Absent` with the reason.
    """
    try:
        if user is not None:
            return _user_metric(name, answers, user, seed)
        if name in ("accuracy.top1", "accuracy.flips"):
            ours, theirs = answers.predictions()
            return paired(ours == answers.labels, theirs == answers.labels)
        if name == "accuracy.top5":
            first, second = answers.pair
            return paired(_within(first, answers.labels, 5), _within(second, answers.labels, 5))
        if name in RESAMPLED:
            return _resample(answers, RESAMPLED[name], seed)
    except _Unfit as error:
        return Absent(reason=str(error))
    raise InputError(f"unknown metric over examples: {name!r}")


def slices(answers: Answers) -> dict[str, Proportions]:
    """Top-1 counts per slice; by class where the data names no slices (and there are at most 50 classes)."""
    try:
        ours, theirs = answers.predictions()
    except _Unfit:
        return {}
    masks = dict(answers.slices)
    if not masks:
        classes = np.unique(answers.labels)
        masks = (
            {f"label {label}": answers.labels == label for label in classes}
            if len(classes) <= MOST_CLASS_SLICES
            else {}
        )
    right, wrong = ours == answers.labels, theirs == answers.labels
    return {name: paired(right[mask], wrong[mask]) for name, mask in masks.items()}


def flips(answers: Answers) -> list[Flip]:
    """The first examples that the reference answered rightly and the candidate wrongly."""
    try:
        ours, theirs = answers.predictions()
    except _Unfit:
        return []
    found = np.flatnonzero((ours == answers.labels) & (theirs != answers.labels))[:SHOWN_FLIPS]
    return [
        Flip(
            index=int(index if answers.index is None else answers.index[index]),
            label=int(answers.labels[index]),
            candidate=int(theirs[index]),
            slices=[name for name, mask in answers.slices.items() if mask[index]],
        )
        for index in found
    ]


def paired(reference: Array, candidate: Array) -> Proportions:
    """The 2×2 table of two boolean arrays (n,)."""
    return Proportions(
        both=int((reference & candidate).sum()),
        only_reference=int((reference & ~candidate).sum()),
        only_candidate=int((~reference & candidate).sum()),
        neither=int((~reference & ~candidate).sum()),
    )


def _classes(output: Array, labels: Array) -> Array:
    if labels.dtype.kind not in "iub" or labels.ndim != 1:
        raise _Unfit(f"the labels are {labels.dtype} of shape {labels.shape}; classes are integers (n,)")
    flat = output.reshape(len(output), -1)
    if output.dtype.kind in "iub" and flat.shape[1] == 1:
        return np.asarray(flat[:, 0])
    if output.ndim < 2 or flat.shape[1] != output.shape[1] or flat.shape[1] < 2:
        raise _Unfit(f"an output of shape {output.shape} gives no class per example; use a metric of your own")
    if len(labels) and (labels.min() < 0 or labels.max() >= flat.shape[1]):
        raise InputError(f"labels go from {labels.min()} to {labels.max()}; the model has {flat.shape[1]} classes")
    return np.asarray(flat.argmax(axis=1))


def _within(output: Array, labels: Array, count: int) -> Array:
    _classes(output, labels)
    flat = output.reshape(len(output), -1)
    if flat.shape[1] <= count:
        raise _Unfit(f"top-{count} says nothing of {flat.shape[1]} classes")
    best = np.argpartition(-flat, count - 1, axis=1)[:, :count]
    return np.asarray((best == labels[:, None]).any(axis=1))


Prepared = Callable[[Array], float]
"""A metric as a function of how often each example was drawn (n,)."""
Both = Callable[[Array], tuple[float, float]]
"""A metric of reference and candidate over the examples at these indices (m,)."""


def _resample(answers: Answers, prepare: Callable[[Array, Array], Prepared], seed: int) -> Resampled:
    """The paired bootstrap: each resample of the examples goes to both models."""
    ours, theirs = (prepare(output, answers.labels) for output in answers.pair)
    count = len(answers.labels)

    def both(chosen: Array) -> tuple[float, float]:
        weights = np.bincount(chosen, minlength=count).astype(np.float64)
        return ours(weights), theirs(weights)

    return _bootstrap(both, count, seed)


def _user_metric(name: str, answers: Answers, score: Score, seed: int) -> Resampled:
    def call(outputs: list[Array], labels: Array) -> float:
        try:
            value = float(score(outputs, labels))
        except Exception as error:  # a user's metric may raise anything
            raise MeasurementError(f"failed: {type(error).__name__}: {error}", where=name) from error
        if not np.isfinite(value):
            raise MeasurementError(f"answered {value}", where=name)
        return value

    def both(chosen: Array) -> tuple[float, float]:
        labels = answers.labels[chosen]
        return (
            call([output[chosen] for output in answers.reference], labels),
            call([output[chosen] for output in answers.candidate], labels),
        )

    return _bootstrap(both, len(answers.labels), seed)


def _bootstrap(both: Both, count: int, seed: int, clock: Callable[[], float] = time.perf_counter) -> Resampled:
    """Value, resamples and jackknife of one metric, for as long as a metric may take.

    The first resamples are the same however many there is time for.
    """
    begin = clock()
    whole = both(np.arange(count))
    left = METRIC_SECONDS - (clock() - begin)
    groups = _jackknife(both, count, seed, left * JACKKNIFE_SHARE, clock)
    rng = np.random.default_rng(seed)
    pairs: list[tuple[float, float]] = []
    while len(pairs) < RESAMPLES and (not pairs or clock() - begin < METRIC_SECONDS):
        pairs.append(both(rng.integers(0, count, count)))
    return Resampled(
        candidate=whole[1],
        reference=whole[0],
        examples=count,
        candidate_resamples=[float(f"{second:.7g}") for _, second in pairs],
        reference_resamples=[float(f"{first:.7g}") for first, _ in pairs],
        moments=moments(groups[:, 1], groups[:, 0]) if len(groups) else [],
        capped="" if len(pairs) == RESAMPLES else f"{METRIC_SECONDS:g} s allow",
    )


def _jackknife(both: Both, count: int, seed: int, seconds: float, clock: Callable[[], float]) -> Array:
    """Values of reference and candidate (groups, 2) with each group of examples left out; (0, 2) without the time.

    Two hundred groups tell the skewness to 0.003: the influences of a group are the sum of its examples'.
    """
    number = min(count, GROUPS)
    if number < 2:
        return np.zeros((0, 2))
    begin = clock()
    member = np.random.default_rng([seed, 1]).permutation(count) % number
    found = []
    for group in range(number):
        found.append(both(np.flatnonzero(member != group)))
        if clock() - begin > seconds:
            return np.zeros((0, 2))
    return np.asarray(found)


def _f1(output: Array, labels: Array) -> Prepared:
    """Macro average of F1 over the classes that occur among labels or predictions; 0 for one never hit."""
    predicted = _classes(output, labels)
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
        raise _Unfit("an ROC curve needs integer labels (n,)")
    flat = output.reshape(len(output), -1).astype(np.float64)
    names = np.unique(labels)
    if flat.shape[1] == 1:
        if set(names) - {0, 1}:
            raise _Unfit("one score per example needs labels 0 and 1")
        columns = [(flat[:, 0], labels == 1)]
    elif flat.shape[1] == 2:
        columns = [(flat[:, 1] - flat[:, 0], labels == 1)]
    else:
        _classes(output, labels)
        columns = [(flat[:, name], labels == name) for name in names]
    if any(positive.all() or not positive.any() for _, positive in columns):
        raise _Unfit("an ROC curve needs examples of both kinds")
    ranked = [_ranked(scores, positive) for scores, positive in columns]

    def score(weights: Array) -> float:
        areas = [area for area in (one(weights) for one in ranked) if area is not None]
        return float(np.mean(areas)) if areas else 0.5  # a resample of one kind alone tells nothing: chance

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
        raise _Unfit(f"an output of shape {output.shape} against labels of shape {labels.shape}")
    errors = np.abs(found.astype(np.float64) - wanted).mean(axis=1)
    return lambda weights: float(weights @ errors / weights.sum())


RESAMPLED = {"accuracy.f1": _f1, "accuracy.auc": _auc, "accuracy.mae": _mae}
