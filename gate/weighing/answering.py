"""From outputs of the models of a job to answers that metrics compare."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from weighbridge.data import import_callable
from weighbridge.gate.weighing.job import Job
from weighbridge.gate.weighing.paired_answers import Answers

Array = NDArray[Any]


def answers_of_job(job: Job, reference: str, ours: list[Array], theirs: list[Array]) -> Answers:
    """The answers of one reference, by its name, and of the candidate; both lists hold the asked outputs alone."""
    places = {name: {index: place for place, index in enumerate(job.asked_outputs(name))} for name in job.outputs}
    task = job.options.task

    def roles(name: str) -> tuple[int, ...]:
        return tuple(places[name][index] for index in job.roles.get(name, ()) if index in places[name])

    own = import_callable(task.agreement, "task.agreement") if task is not None and task.agreement else None
    return Answers(
        ours,
        theirs,
        job.split.labels,
        job.split.slices,
        tuple(places[name].get(job.outputs[name], 0) for name in (reference, "candidate")),  # type: ignore[arg-type]
        inputs={name: array for name, array in job.split.inputs.items() if task is not None and name == task.mask},
        task=task,
        own=own,
        groups=job.split.groups,
        better={budget.metric: budget.quantity.better for budget in job.budgets if budget.better is not None},
        roles=(roles(reference), roles("candidate")),
        classes=job.candidate.signature.outputs[job.outputs["candidate"]].classes,
    )
