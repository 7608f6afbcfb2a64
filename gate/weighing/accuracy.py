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
from weighbridge.gate.weighing.resampled import RESAMPLED, Both, Prepared, UnfitError, predicted_classes

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
        """Predicted classes (n,) of reference and candidate; raises `UnfitError` where the output is no class."""
        ours, theirs = self.pair
        return predicted_classes(ours, self.labels), predicted_classes(theirs, self.labels)


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
    except UnfitError as error:
        return Absent(reason=str(error))
    raise InputError(f"unknown metric over examples: {name!r}")


def slices(answers: Answers) -> dict[str, Proportions]:
    """Top-1 counts per slice; by class where the data names no slices (and there are at most 50 classes)."""
    try:
        ours, theirs = answers.predictions()
    except UnfitError:
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
    except UnfitError:
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


def _within(output: Array, labels: Array, count: int) -> Array:
    predicted_classes(output, labels)
    flat = output.reshape(len(output), -1)
    if flat.shape[1] <= count:
        raise UnfitError(f"top-{count} says nothing of {flat.shape[1]} classes")
    best = np.argpartition(-flat, count - 1, axis=1)[:, :count]
    return np.asarray((best == labels[:, None]).any(axis=1))


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
