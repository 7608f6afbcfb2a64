"""What two models answered to the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

    @property
    def pair(self) -> tuple[Array, Array]:
        """The judged outputs of reference and candidate, each (n, …)."""
        return self.reference[self.judged[0]], self.candidate[self.judged[1]]

    def predictions(self) -> tuple[Array, Array]:
        """Predicted classes (n,) of reference and candidate; raises `UnfitError` where the output is no class."""
        ours, theirs = self.pair
        if self.task is None:
            return predicted_classes(ours, self.labels), predicted_classes(theirs, self.labels)
        if self.task.kind != "classification":
            raise UnfitError(f"the task is {self.task.kind}: an answer is not one class")
        limit = threshold(self.task, ours)
        return decided_classes(ours, self.labels, limit), decided_classes(theirs, self.labels, limit)
