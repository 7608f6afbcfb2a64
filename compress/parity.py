"""Whether an artifact answers as the model did that it was made from, on the same real inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.compress.invariants import finite
from weighbridge.compress.steps import Facts
from weighbridge.core.answers.agreement import Examples, Own, compare, similarity
from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.callables import import_callable
from weighbridge.core.documents import TaskSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.ragged import is_ragged
from weighbridge.data import Split

Array = NDArray[Any]

FLOAT_TOLERANCE = 1e-4
"""Largest difference between a float artifact and its module, as a share of the largest output (at least 1)."""
EXACT_TOLERANCE = 1e-5
"""Largest difference that an exact lowering, such as packing, may add on the same scale."""
AGREEMENT = 0.9
"""Least share of examples on which a lossy lowering must answer as the model did, where its step states no other.
Below it a file is taken for broken rather than compressed; what loss is acceptable is for the budgets to say."""
MASK = "lengths"
"""Name of the mask of answers that differ in length."""
OTHERS = 0.9
"""Cosine to the model's that every output must keep that does not answer the task: a lossy step that breaks one of them
has broken the file, whatever the first output says."""


@dataclass(frozen=True)
class Agreement:
    """How two lists of outputs agree."""

    value: float
    """From 0 to 1."""
    outputs: tuple[int, ...] = (0,)
    """The outputs that it is about."""
    by: str = ""
    """What is compared, in words; empty where no task says."""


Judge = Callable[[Sequence[Array], Sequence[Array]], Agreement]


def by_form(ours: Sequence[Array], theirs: Sequence[Array]) -> Agreement:
    """By the form of the first output: where there is no task."""
    return Agreement(_agreement(ours[0], theirs[0]))


def parity(  # noqa: PLR0913, PLR0917  # two lists, and how they are compared
    ours: Sequence[Array],
    theirs: Sequence[Array],
    tolerance: float | None,
    where: str,
    least: float = AGREEMENT,
    judge: Judge | None = None,
) -> Facts:
    """An artifact's outputs against the module's on the same examples.

    With a tolerance the largest difference, on the scale of the largest output (at least 1), must stay within it.
    Without one the artifact is lossy: its answers must agree with the module's by at least `least`, as `judge` says of
    both lists of outputs (without one: on that share of the examples; a regression's: 1 - relative root mean square
    error). Every other output must be similar by `OTHERS`.
    """
    if len(ours) != len(theirs):
        raise InvariantError(f"gives {len(ours)} outputs; the module gives {len(theirs)}", where=where)
    finite(ours, where)
    worst = 0.0
    for index, (mine, reference) in enumerate(zip(ours, theirs, strict=True)):
        if mine.shape != reference.shape:
            raise InvariantError(f"output {index} is {mine.shape}; the module's is {reference.shape}", where=where)
        worst = max(worst, _difference(mine, reference))
    found: Facts = {"examples": len(ours[0]), "largest_difference": worst}
    if tolerance is not None:
        found["agreement"] = (judge or by_form)(ours, theirs).value
        if worst > tolerance:
            raise InvariantError(
                f"differs from the module by {worst:.2g} of the largest output; {tolerance:.0e} is allowed", where=where
            )
        return {**found, "tolerance": tolerance}
    return {**found, **_alike(ours, theirs, where, least, judge or by_form)}


def _alike(ours: Sequence[Array], theirs: Sequence[Array], where: str, least: float, judge: Judge) -> Facts:
    fix = "take more bits, keep sensitive layers in float, or lower the step's 'agreement'"
    judged = judge(ours, theirs)
    if judged.value < least:
        raise InvariantError(
            f"answers as the model did on {judged.value:.1%} of {len(ours[0])} real inputs; at least {least:.0%} must"
            if not judged.by
            else f"agrees with the model by {judged.value:.3f} ({judged.by}) on {len(ours[0])} real inputs; at least "
            f"{least:g} must",
            where=where,
            fix=fix,
        )
    found: Facts = {"agreement": judged.value, "least_agreement": least}
    if judged.by:
        found["agreement_by"] = judged.by
    others = {
        index: similarity(mine, reference).value()
        for index, (mine, reference) in enumerate(zip(ours, theirs, strict=True))
        if index not in judged.outputs
    }
    if not others:
        return found
    index = min(others, key=lambda place: others[place])
    bar = min(least, OTHERS)
    if bar > 0 and others[index] < bar:
        raise InvariantError(
            f"its output {index} is similar to the model's by {others[index]:.3f} on {len(ours[0])} real inputs; every "
            f"output must be, by at least {bar:g}",
            where=where,
            fix=fix,
        )
    return {**found, "other_outputs": others[index]}


def _difference(mine: Array, reference: Array) -> float:
    """The largest difference on the scale of the largest value (at least 1); of text, 1 where any differs."""
    if reference.dtype.kind not in "fiub":
        return float((mine != reference).any())
    theirs = reference.astype(np.float64)
    scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
    return float(np.abs(mine.astype(np.float64) - theirs).max(initial=0.0)) / scale


def _agreement(mine: Array, reference: Array) -> float:
    """Share of equal answers of a classifier; of a regression 1 - relative root mean square error, at least 0."""
    if reference.dtype.kind != "f":  # labels
        return float(np.mean(mine == reference))
    if reference.ndim >= 2 and reference.shape[-1] > 1:
        return float(np.mean(mine.argmax(-1) == reference.argmax(-1)))
    spread = float(np.std(reference)) or 1.0
    return max(0.0, 1.0 - float(np.sqrt(np.mean((mine - reference) ** 2))) / spread)


def task_judge(task: TaskSection, examples: Split, names: Sequence[str]) -> Judge:
    """A judge by the task, of outputs with these names on these examples.

    Raises `InputError` where the task names an output that does not exist; the judge does where answers are not of the
    task.
    """
    index = _index(task.output, names, 0, "output")
    asked = (("boxes", task.boxes), ("detection_scores", task.detection_scores), ("classes", task.classes))
    roles = tuple(_index(name, names, place, key) for place, (key, name) in enumerate(asked))
    own: Own | None = import_callable(task.agreement, "params.yaml: task.agreement") if task.agreement else None
    spoken = tuple(range(len(names))) if task.kind == "custom" else roles if task.kind == "detection" else (index,)

    def judge(ours: Sequence[Array], theirs: Sequence[Array]) -> Agreement:
        count = len(theirs[0])
        inputs: dict[str, Any] = {name: array[:count] for name, array in examples.inputs.items()}
        masks = [] if task.mask else [array.inside() for array in inputs.values() if is_ragged(array)]
        mask = next((mask for mask in masks if mask.shape == theirs[index].shape[:2]), None)
        masked = task if mask is None else task.model_copy(update={"mask": MASK})
        asked = Examples({**inputs, MASK: mask} if mask is not None else inputs, examples.labels[:count])
        try:
            found = compare(masked, ours, theirs, asked, index, roles=roles, own=own)
        except UnfitError as error:
            raise InputError(str(error), where=f"params.yaml: task ({task.kind})") from error
        return Agreement(found.value(), spoken, task.facts.answers)

    return judge


def _index(name: str | None, names: Sequence[str], place: int, key: str) -> int:
    if name is None:
        return place
    if name not in names:
        raise InputError(
            f"has no output {name!r}", where=f"params.yaml: task.{key}", fix=f"outputs: {', '.join(names)}"
        )
    return names.index(name)
