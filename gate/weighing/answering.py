"""From outputs of the models of a job to answers that metrics compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.callables import import_callable
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.core.ragged import filled_up, is_ragged, token_width
from weighbridge.gate.measure.model_files import Model
from weighbridge.gate.weighing.job import Job
from weighbridge.gate.weighing.paired_answers import Answers

Array = NDArray[Any]
LENGTHS = "lengths"
"""Name of the mask of answers that differ in length."""
MASKED = ("token", "language-model", "embedding")
WHOLE = ("detection", "custom")
"""Tasks that take answers filled up with zeros: a score of 0 is no box."""


def answers_of_job(job: Job, reference: str, ours: list[Array], theirs: list[Array]) -> Answers:
    """The answers of one reference, by its name, and of the candidate; both lists hold the asked outputs alone."""
    places = {name: {index: place for place, index in enumerate(job.asked_outputs(name))} for name in job.outputs}
    task = job.options.task

    def roles(name: str) -> tuple[int, ...]:
        return tuple(places[name][index] for index in job.roles.get(name, ()) if index in places[name])

    lengths = _mask(job, reference, ours, theirs)
    inputs = {name: array for name, array in job.split.inputs.items() if task is not None and name == task.mask}
    if task is not None and lengths is not None:
        task, inputs = task.model_copy(update={"mask": LENGTHS}), {LENGTHS: lengths}
    ours, theirs = ([filled_up(array, job.split.labels) for array in side] for side in (ours, theirs))
    own = import_callable(task.agreement, "task.agreement") if task is not None and task.agreement else None
    return Answers(
        ours,
        theirs,
        job.split.labels,
        job.split.slices,
        tuple(places[name].get(job.outputs[name], 0) for name in (reference, "candidate")),  # type: ignore[arg-type]
        inputs=inputs,
        task=task,
        own=own,
        groups=job.split.groups,
        better={budget.metric: budget.quantity.better for budget in job.budgets if budget.better is not None},
        roles=(roles(reference), roles("candidate")),
        classes=job.candidate.signature.outputs[job.outputs["candidate"]].classes,
    )


def check_text(model: Model, chosen: Sequence[int], found: Sequence[Array]) -> None:
    """Raise `MeasurementError` where an output is text and its answers are not, or the other way round."""
    for index, array in zip(chosen, found, strict=True):
        port = model.signature.outputs[index]
        if (array.dtype.kind == "U") != (port.dtype == "string"):
            raise MeasurementError(f"output {port.name!r} is {port.dtype}, and its answers are not", where=model.name)


def _mask(job: Job, reference: str, ours: Sequence[Any], theirs: Sequence[Any]) -> Array | None:
    """Which tokens of the judged answers count, (n, longest), where these differ in length; None where they do not.

    Raises `InputError` where the task has no such answers, `MeasurementError` where the two models' differ.
    """
    names = (reference, "candidate")
    places = [
        job.asked_outputs(name).index(job.outputs[name])
        for name in names
        if job.outputs[name] in job.asked_outputs(name)
    ]
    if len(places) < 2:
        return None
    first, second = ours[places[0]], theirs[places[1]]
    if is_ragged(first) != is_ragged(second) or (is_ragged(first) and not np.array_equal(first.shapes, second.shapes)):
        raise MeasurementError(f"its answers have other lengths than those of {reference}", where="candidate")
    task = job.options.task
    if not is_ragged(first) or (task is not None and task.kind in WHOLE):
        return None
    if task is None or task.kind not in MASKED:
        raise InputError(
            "the answers differ in length between examples",
            where="task" if task is None else f"task ({task.kind})",
            fix=f"say by a task what they are: {', '.join(MASKED)}, or one of your own (custom)",
        )
    return first.inside(token_width(job.split.labels))
