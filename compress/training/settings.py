"""What a step of a recipe says about training."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from weighbridge.core.documents import TrainSection, Written
from weighbridge.core.errors import InputError

TEACHER = r"^(baseline|sha256:[0-9a-f]{64})$"
"""How a recipe names a teacher."""


class Teaching(Written):
    """A teacher for fine-tuning: the loss is (1 - weight) · task + weight · T² · KL(teacher / T, model / T).

    Every recipe that has one is also run without its teachers, and both are reported, compared on a part of train that
    neither saw.
    """

    teacher: str = Field(default="baseline", pattern=TEACHER)
    """`baseline`, or the digest `sha256:…` of a registered version's artifact. A recipe has one teacher."""
    temperature: float = Field(default=4.0, gt=0, le=100)
    """Softens both distributions; 1 leaves them as they are."""
    weight: float = Field(default=0.5, gt=0, le=1)
    """Share of the teacher in the loss; the rest is the task's own loss on the labels."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Part of train that the whole recipe leaves out to compare; the same in every step of it."""


class Finetune(Written):
    """Training within a recipe; what is not set is taken from the section `train`."""

    epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Passes over the training split."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps in all, in place of `epochs`."""
    lr: float | None = Field(default=None, gt=0, lt=10)
    """Peak learning rate of the one-cycle schedule."""
    batch_size: int | None = Field(default=None, ge=1)
    """Examples in one pass forward and back."""
    accumulate_grad_batches: int | None = Field(default=None, ge=1)
    """Batches whose gradients make one optimizer step."""
    weight_decay: float | None = Field(default=None, ge=0, lt=1)
    """Decoupled weight decay (AdamW)."""
    distill: Teaching | None = None
    """Learn from a teacher as well as from the labels."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("expected one of 'epochs' and 'steps'")
        return self

    def settings(self, train: TrainSection) -> TrainSection:
        """`train` with the values that are set here."""
        own = self.model_dump(exclude_none=True, exclude={"distill"})
        # One of both says how long; what is said here comes before what the section says.
        settings = train.model_copy(update={"steps": None, **own} if "epochs" in own else own)
        if settings.epochs == 0 and settings.steps is None:
            raise InputError(
                "has no epochs, and the section `train` trains nothing to take them from",
                where="finetune",
                fix="finetune: {epochs: 3}",
            )
        return settings
