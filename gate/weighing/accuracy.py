"""Metrics over examples, as paired evidence: counts where an example is right or wrong, a bootstrap elsewhere.

Both models answer the same examples, so that everything here compares example by example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers.agreement import Agreement
from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.documents import METRICS, Absent, Evidence, Flip, Proportions, Resampled
from weighbridge.core.errors import InputError
from weighbridge.gate.weighing.bootstrap import Prepared, weighted
from weighbridge.gate.weighing.by_task import AGREEMENTS, BY_TASK
from weighbridge.gate.weighing.own import Score, user_metric
from weighbridge.gate.weighing.paired_answers import Answers
from weighbridge.gate.weighing.resampled_metrics import RESAMPLED, predicted_classes

Array = NDArray[Any]
SHOWN_FLIPS = 20
MOST_CLASS_SLICES = 50


def measure(name: str, answers: Answers, *, seed: int, user: Score | None = None) -> Evidence:
    """Evidence for one metric by its name; `user` is the callable of a `module:callable` metric.

    What the outputs or labels do not fit is `Absent` with the reason.
    """
    try:
        return _measure(name, answers, seed, user)
    except UnfitError as error:
        return Absent(reason=str(error))


def _measure(name: str, answers: Answers, seed: int, user: Score | None) -> Evidence:
    if user is not None:
        return user_metric(name, answers, user, seed)
    task = answers.task.kind if answers.task else ""
    if name in BY_TASK.get(task, {}) or name in AGREEMENTS:
        return _by_task(name, answers, seed)
    if name in PAIRED:
        ours, theirs = PAIRED[name](answers)
        return paired(ours, theirs) if answers.groups is None else _grouped(name, ours, theirs, answers, seed)
    if name in RESAMPLED:
        shown = _decided(answers) if name == "accuracy.f1" else replace(answers, labels=answers.by_place())
        return _resample(shown, RESAMPLED[name], seed)
    if name in METRICS and METRICS[name].kind == "examples":
        raise UnfitError(f"{name} belongs to another task; {f'this one is {task}' if task else 'none is given'}")
    raise InputError(f"unknown metric over examples: {name!r}")


def _grouped(name: str, ours: Array, theirs: Array, answers: Answers, seed: int) -> Resampled:
    """Right and wrong answers of examples that belong together: counts would take each for independent."""
    if name == "accuracy.flips":
        ours, theirs = np.zeros(len(ours), np.bool_), ours & ~theirs
    ones = np.ones(len(ours))
    shares = [Agreement(right.astype(np.float64), ones).value for right in (ours, theirs)]
    return weighted(shares[0], shares[1], len(ours), seed, answers.groups)


def _right(answers: Answers) -> tuple[Array, Array]:
    ours, theirs = answers.predictions()
    return ours == answers.labels, theirs == answers.labels


def _right_of_five(answers: Answers) -> tuple[Array, Array]:
    labels = answers.by_place()
    first, second = (_within(output, labels, 5) for output in answers.pair)
    return first, second


PAIRED = {"accuracy.top1": _right, "accuracy.flips": _right, "accuracy.top5": _right_of_five}
"""By metric: which examples reference and candidate answer rightly, (n,) each."""


def _by_task(name: str, answers: Answers, seed: int) -> Evidence:
    """What the task says; an agreement is one with the baseline, which agrees with itself."""
    count = len(answers.labels)
    if name not in AGREEMENTS:
        assert answers.task is not None  # `BY_TASK` has no row without one
        ours, theirs = BY_TASK[answers.task.kind][name](answers)
        return weighted(ours, theirs, count, seed, answers.groups)
    found = AGREEMENTS[name](answers, seed)
    if isinstance(found, Agreement) and found.decided and answers.groups is None:
        agree = found.parts == 1
        return paired(np.ones(count, np.bool_), agree)
    return weighted(lambda _: 1.0, found.value, count, seed, answers.groups)


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
            label=_class(answers.labels[index]),
            candidate=_class(theirs[index]),
            slices=[name for name, mask in answers.slices.items() if mask[index]],
        )
        for index in found
    ]


def _class(value: Any) -> int | str:
    return str(value) if isinstance(value, str) else int(value)


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
    """The paired bootstrap of a metric of one output."""
    ours, theirs = (prepare(output, answers.labels) for output in answers.pair)
    return weighted(ours, theirs, len(answers.labels), seed, answers.groups)


def _decided(answers: Answers) -> Answers:
    """The same answers as classes, where the task says how one score becomes one."""
    if not answers.classes and (answers.task is None or answers.task.kind != "classification"):
        return answers
    ours, theirs = answers.predictions()
    return replace(answers, reference=[ours], candidate=[theirs], judged=(0, 0))
