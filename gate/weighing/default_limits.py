"""Budgets of a weighing that was given none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Budget, TaskSection
from weighbridge.core.errors import InputError
from weighbridge.data import Split

DEFAULT_LIMITS: dict[str, dict[str, float]] = {
    "size.bytes": {"max_ratio": 1.0},
    "latency.p50": {"max_ratio": 1.05},
    "accuracy.top1": {"max_drop": 0.01},
    "accuracy.flips": {"max": 0.05},
    "accuracy.mae": {"max_ratio": 1.05},
}
"""What `weigh` asks of a candidate where nobody gave budgets: no larger, no slower, no worse."""


def default_budgets(split: Split, task: TaskSection | None = None) -> list[Budget]:
    """The budgets of a weighing without any: those of the task; without one by classes where the labels are classes, by
    the mean error elsewhere.

    Labels that are classes in another form (`1.0`, one-hot rows) are an `InputError`: a mean error over them would
    judge something else than whoever wrote them thinks.
    """
    if task is not None:
        usual = [budget(name, DEFAULT_LIMITS[name]) for name in ("size.bytes", "latency.p50")]
        limits = {name: limit for name, limit in task.facts.limits.items() if name != "accuracy.worst_slice"}
        return usual + [budget(name, limit) for name, limit in limits.items()]
    if not split.labelled:
        raise InputError(
            "the examples have no labels",
            where="labels",
            fix="add them, or say by --task and --budgets what is compared with the baseline alone (task embedding)",
        )
    classes = split.labels.dtype.kind in "iubU" and split.labels.ndim == 1
    if not classes and (form := _classes_in_disguise(split.labels)):
        raise InputError(
            f"the labels are {form}, as {split.labels.dtype} of shape {split.labels.shape}",
            where="labels",
            fix="write classes as integers (n,); for a regression name its metric in --budgets, such as accuracy.mae",
        )
    unfit = ("accuracy.mae",) if classes else ("accuracy.top1", "accuracy.flips")
    return [budget(name, limit) for name, limit in DEFAULT_LIMITS.items() if name not in unfit]


def _classes_in_disguise(labels: NDArray[Any]) -> str:
    """What labels look like that are numbers by type and classes by value; empty where they are measurements."""
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] > 1:
        one_hot = np.isin(flat, (0, 1)).all() and (flat.sum(axis=1) == 1).all()
        return "one-hot rows" if one_hot else ""
    return "whole numbers" if (flat >= 0).all() and (flat == np.floor(flat)).all() else ""


def budget(metric: str, limit: Mapping[str, float], *, required: bool = True) -> Budget:
    """One budget by its rule and limit."""
    return Budget.model_validate({"metric": metric, "required": required, **limit})
