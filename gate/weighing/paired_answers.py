"""What two models answered to the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers.agreement import Own
from weighbridge.core.answers.decisions import UnfitError, threshold
from weighbridge.core.documents import TaskSection
from weighbridge.gate.weighing.resampled_metrics import decided_classes, predicted_classes

Array = NDArray[Any]


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
    inputs: Mapping[str, Array] = field(default_factory=dict)
    """Those that the task reads, such as its mask."""
    task: TaskSection | None = None
    own: Own | None = None
    """How answers are compared, where the task is the user's own."""
    groups: Array | None = None
    """Which examples belong together (n,); None where each stands for itself."""
    better: Mapping[str, str] = field(default_factory=dict)
    """Of metrics of the user's own: `lower` or `higher`; higher where nothing is said."""
    roles: tuple[tuple[int, ...], tuple[int, ...]] = ((0, 1, 2), (0, 1, 2))
    """Of a detector: indices of boxes, scores and classes, of reference and candidate."""

    classes: tuple[int | str, ...] = ()
    """What the judged scores are of, in their order, where the models' files name it."""

    @property
    def pair(self) -> tuple[Array, Array]:
        """The judged outputs of reference and candidate, each (n, …)."""
        return self.reference[self.judged[0]], self.candidate[self.judged[1]]

    def predictions(self) -> tuple[Array, Array]:
        """Predicted classes (n,) of reference and candidate; raises `UnfitError` where the output is no class."""
        ours, theirs = self.pair
        if self.task is None or (self.task.kind == "classification" and self.classes):
            names = self.classes
            return predicted_classes(ours, self.labels, names), predicted_classes(theirs, self.labels, names)
        if self.task.kind != "classification":
            raise UnfitError(f"the task is {self.task.kind}: an answer is not one class")
        limit = threshold(self.task, ours)
        return decided_classes(ours, self.labels, limit), decided_classes(theirs, self.labels, limit)

    def by_place(self) -> Array:
        """The labels (n,) as places among the classes of the judged scores; as they are where no class is named."""
        if not self.classes:
            return self.labels
        predicted_classes(self.pair[0], self.labels, self.classes)
        places = {name: place for place, name in enumerate(self.classes)}
        unknown = next((label for label in self.labels.tolist() if label not in places), None)
        if unknown is not None:
            raise UnfitError(f"the label {unknown!r} is not a class of the output")
        return np.array([places[label] for label in self.labels.tolist()], np.int64)
