"""The section `task` of params.yaml: what quality means for this model."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from weighbridge.core.documents.base import Factory, Written
from weighbridge.core.facts.tasks import TASKS, TaskFacts, TaskName


class TaskSection(Written):
    """What quality means for this model. `task: embedding` stands for `{kind: embedding}`."""

    kind: TaskName
    output: str | None = None
    """The output that answers the task; the first one where it is not given. All others are held to the baseline's."""
    scores: Literal["probabilities", "logits"] | None = None
    """Of one score, or one for each label: yes is above 0.5 or above 0. Where it is not given, scores are probabilities
    if all of the baseline's lie from 0 to 1."""
    threshold: float | None = None
    """Scores above it count as yes, or as a detection, instead."""
    mask: str | None = None
    """The input that is 0 at padding, for tokens without labels that say so."""
    boxes: str | None = None
    """Of `detection`: the output with boxes (n, k, 4) as x1, y1, x2, y2; the first one by default. With one output
    alone it is (n, k, 6): box, score, class."""
    detection_scores: str | None = None
    """Of `detection`: the output with scores (n, k); the second one by default."""
    classes: str | None = None
    """Of `detection`: the output with classes (n, k); the third one by default."""
    least: float | None = Field(default=None, ge=0, le=1)
    """The agreement with the model before it that a lossy step must keep on calibration data; the task's own where it
    is not given. A step's `agreement` comes first."""
    agreement: Factory | None = None
    """Of `custom`: a function of the outputs of both models, candidate's and baseline's, each a list of (n, …), that
    gives (n,) numbers from 0 to 1."""
    metric: Factory | None = None
    """Of `custom`: a function of (outputs, labels) that gives a number; it is weighed and shown."""
    loss: Factory | None = None
    """Of `custom`: what training minimizes, as `train.loss`."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, values: Any) -> Any:
        return {"kind": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for name in ("agreement", "metric", "loss"):
            if getattr(self, name) is not None and self.kind != "custom":
                raise ValueError(f"'{name}' belongs to the task custom; this one is {self.kind}")
        if self.kind == "custom" and self.agreement is None:
            raise ValueError("the task custom needs 'agreement': how much an answer is like the baseline's")
        for name in ("boxes", "detection_scores", "classes"):
            if getattr(self, name) is not None and self.kind != "detection":
                raise ValueError(f"'{name}' belongs to the task detection; this one is {self.kind}")
        return self

    @property
    def facts(self) -> TaskFacts:
        """The task's row of the table."""
        return TASKS[self.kind]

    @property
    def agreement_least(self) -> float:
        """What a lossy step must keep, where the step does not say."""
        return self.facts.least if self.least is None else self.least
