"""Metrics of the user's own, `module:callable`, within bounded time: values, slices, examples that got worse.

A metric is a function of (outputs, labels) that gives a number, or one number for each example (n,), whose mean is the
value then.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Resampled, Scored, Worsened
from weighbridge.core.errors import MeasurementError
from weighbridge.gate.weighing.bootstrap import bootstrap, weighted
from weighbridge.gate.weighing.paired_answers import Answers

Array = NDArray[Any]
Score = Callable[[list[Array], Array], Any]
"""A user's metric: the model's outputs, each (n, …), and the labels (n, …) → a number, or numbers (n,)."""

CALL_SECONDS = 120
"""Of one call at most: a metric that hangs must not hold the gate."""
SHOWN = 10


def user_metric(name: str, answers: Answers, score: Score, seed: int) -> Resampled:
    """Its paired bootstrap; called once for each model where it gives a number for each example."""
    every = np.arange(len(answers.labels))
    ours, theirs = (_call(name, score, answers, outputs, every) for outputs in (answers.reference, answers.candidate))
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        first, second = ours, theirs
        return weighted(
            lambda weights: float(weights @ first / weights.sum()),
            lambda weights: float(weights @ second / weights.sum()),
            len(every),
            seed,
            answers.groups,
        )

    def both(chosen: Array) -> tuple[float, float]:
        reference, candidate = answers.reference, answers.candidate
        return _value(name, score, answers, reference, chosen), _value(name, score, answers, candidate, chosen)

    return bootstrap(both, len(every), seed, groups=answers.groups)


def slice_scores(name: str, answers: Answers, score: Score) -> dict[str, Scored]:
    """The metric over each slice of the data."""
    found = {}
    for key, mask in answers.slices.items():
        chosen = np.flatnonzero(mask)
        if len(chosen):
            reference, candidate = (
                _value(name, score, answers, outputs, chosen) for outputs in (answers.reference, answers.candidate)
            )
            found[key] = Scored(candidate=candidate, reference=reference, examples=len(chosen))
    return found


def worsened(name: str, answers: Answers, score: Score) -> list[Worsened]:
    """The examples whose score got worst; none where the metric gives one number for all."""
    every = np.arange(len(answers.labels))
    ours, theirs = (_call(name, score, answers, outputs, every) for outputs in (answers.reference, answers.candidate))
    if not isinstance(ours, np.ndarray) or not isinstance(theirs, np.ndarray):
        return []
    loss = theirs - ours if answers.better.get(name) == "lower" else ours - theirs
    worst = [index for index in np.argsort(-loss, kind="stable")[:SHOWN] if loss[index] > 0]
    return [
        Worsened(
            metric=name,
            index=int(index if answers.index is None else answers.index[index]),
            reference=float(ours[index]),
            candidate=float(theirs[index]),
            slices=[key for key, mask in answers.slices.items() if mask[index]],
        )
        for index in worst
    ]


def _value(name: str, score: Score, answers: Answers, outputs: list[Array], chosen: Array) -> float:
    found = _call(name, score, answers, outputs, chosen)
    return float(found.mean()) if isinstance(found, np.ndarray) else found


def _call(name: str, score: Score, answers: Answers, outputs: list[Array], chosen: Array) -> float | Array:
    """One call: a finite number, or finite numbers (m,) for the m chosen examples."""
    try:
        with _limited(name):
            found = np.asarray(score([output[chosen] for output in outputs], answers.labels[chosen]), np.float64)
    except MeasurementError:
        raise
    except Exception as error:  # a user's metric may raise anything
        raise MeasurementError(f"failed: {type(error).__name__}: {error}", where=name) from error
    if found.shape not in ((), (len(chosen),)):
        raise MeasurementError(
            f"answered numbers of shape {found.shape} for {len(chosen)} examples",
            where=name,
            fix="give one, or one each",
        )
    if not np.isfinite(found).all():
        raise MeasurementError(f"answered {found if found.ndim == 0 else 'NaN or infinite values'}", where=name)
    return found if found.ndim else float(found)


@contextmanager
def _limited(name: str) -> Iterator[None]:
    """Interrupt what takes longer than a call may. Only the main thread can be interrupted: others run on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise MeasurementError(f"took longer than {CALL_SECONDS} s for one call", where=name)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, CALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
