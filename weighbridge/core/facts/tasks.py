"""The one table of tasks: what quality means for a model of each kind.

A task decides what is limited where nobody says (`init`, `weigh --task`), how a lossy step is held to the model
before it, and what training minimizes. Its values are frozen here; what they compute is in `core/answers`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from weighbridge.core.errors import InputError

TaskName = Literal[
    "classification",
    "multilabel",
    "token",
    "regression",
    "embedding",
    "detection",
    "segmentation",
    "language-model",
    "custom",
]
Limit = Mapping[str, float]


@dataclass(frozen=True)
class TaskFacts:
    """What one task stands for."""

    name: str
    title: str
    labels: str
    """What a split's labels are, in words."""
    answers: str
    """How answers are compared with the baseline's, in words; the mean over examples is `agreement`."""
    least: float
    """The agreement that a lossy step must keep on calibration data, where neither step nor params say."""
    limits: Mapping[str, Limit]
    """Metric → limit: the budgets of `init` and of `weigh --task`; the metrics are shown in every report."""
    loss: str | None
    """`train.loss` where params do not say; None: there is no loss that fits every such model."""
    labelled: bool = True
    """Whether its limits need labels; agreement with the baseline needs none."""


TASKS: Mapping[str, TaskFacts] = MappingProxyType(
    {
        row.name: row
        for row in (
            TaskFacts(
                "classification",
                "one class of several, or yes and no by one score",
                "integers (n,), 0 and 1 where the model gives one score",
                "the same class",
                0.9,
                {
                    "accuracy.top1": {"max_drop": 0.02},
                    "accuracy.worst_slice": {"max_drop": 0.10},
                    "accuracy.flips": {"max": 0.05},
                },
                "cross_entropy",
            ),
            TaskFacts(
                "multilabel",
                "any number of labels, each by a score of its own",
                "0 and 1, (n, labels)",
                "F1 of the set of labels",
                0.9,
                {"accuracy.f1": {"max_drop": 0.02}, "agreement": {"min": 0.9}},
                "binary_cross_entropy",
            ),
            TaskFacts(
                "token",
                "a class for each token, padding left out",
                "integers (n, tokens), -100 where a token does not count",
                "share of tokens with the same class",
                0.9,
                {"accuracy.tokens": {"max_drop": 0.01}, "agreement": {"min": 0.95}},
                "token_cross_entropy",
            ),
            TaskFacts(
                "regression",
                "one number or several",
                "numbers (n,) or (n, k)",
                "1 - root mean square difference / spread of the baseline's answers",
                0.9,
                {"accuracy.mae": {"max_ratio": 1.05}, "agreement": {"min": 0.9}},
                "mse",
            ),
            TaskFacts(
                "embedding",
                "a vector that is compared with other vectors",
                "none, or the vectors to learn (n, d)",
                "cosine",
                0.95,
                {"agreement.cosine": {"min": 0.98}, "agreement.recall": {"min": 0.8}, "agreement.rank": {"min": 0.95}},
                "cosine",
                labelled=False,
            ),
            TaskFacts(
                "detection",
                "boxes with a score and a class, after non-maximum suppression in the graph",
                "(n, boxes, 5): class, x1, y1, x2, y2; class -1 fills up",
                "F1 of the boxes: one of the baseline's class and place (IoU of at least 0.5) for each",
                0.8,
                {"accuracy.map": {"max_drop": 0.02}, "agreement": {"min": 0.9}},
                None,
            ),
            TaskFacts(
                "segmentation",
                "a class for each pixel",
                "integers (n, height, width), -100 where a pixel does not count",
                "share of pixels with the same class",
                0.9,
                {"accuracy.miou": {"max_drop": 0.02}, "agreement": {"min": 0.95}},
                "cross_entropy",
            ),
            TaskFacts(
                "language-model",
                "logits for the token after each position",
                "the next tokens, integers (n, tokens), -100 where one does not count",
                "share of positions with the same likeliest token",
                0.8,
                {"lm.nll": {"max_ratio": 1.02}, "lm.kld": {"max": 0.05}, "lm.same_top": {"min": 0.9}},
                "token_cross_entropy",
            ),
            TaskFacts(
                "custom",
                "what the functions under `task` say",
                "whatever those functions take",
                "the function `task.agreement`",
                0.9,
                {"agreement": {"min": 0.9}},
                None,
                labelled=False,
            ),
        )
    }
)
"""Every task that params can name."""

assert tuple(TASKS) == get_args(TaskName)


def find_task(name: str, where: str) -> TaskFacts:
    """The task of that name; an unknown name is an `InputError` with a suggestion."""
    if name in TASKS:
        return TASKS[name]
    close = difflib.get_close_matches(name, TASKS, n=1)
    fix = f"did you mean {close[0]!r}?" if close else f"tasks: {', '.join(TASKS)}"
    raise InputError(f"unknown task {name!r}", where=where, fix=fix)
