"""Learning from a teacher's answers: the loss, and what a teacher must give.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv:1503.02531).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.training.losses import Loss, default_loss
from weighbridge.compress.training.module_quality import evaluate, predict
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

FEW = 4096
"""Rows of answers that are looked at together."""


def distillation_loss(
    teacher: nn.Module, split: Split, settings: TrainSection, *, temperature: float, weight: float
) -> Loss:
    """The loss of `fit` on `split` with a teacher's answers, which are computed once, here.

    For regression the soft term is the mean squared distance to the teacher's output, without
    temperature. Raises `InvariantError` where the teacher's answers are no finite numbers.
    """
    answers = torch.from_numpy(evaluate(teacher, split))
    if not all(bool(torch.isfinite(part).all()) for part in torch.split(answers, FEW)):
        raise InvariantError("the teacher's outputs contain NaN or infinite values", where="distill: teacher")
    task = default_loss(settings)

    classes = settings.loss == "cross_entropy" or (settings.own_loss and split.labels.dtype.kind in "iu")

    def soft(found: Tensor, given: Tensor) -> Tensor:
        if not classes or found.ndim != 2 or found.shape[1] < 2:
            return F.mse_loss(found, given)
        expected = F.log_softmax(given / temperature, 1)
        distance = F.kl_div(F.log_softmax(found / temperature, 1), expected, reduction="batchmean", log_target=True)
        return distance * temperature**2

    def loss(module: nn.Module, inputs: dict[str, Tensor], labels: Tensor, chosen: Tensor) -> Tensor:
        once = _Once(outputs(module, inputs))
        if len(chosen) == 0:  # a loop that makes its own batches: the teacher sees what the student sees
            with torch.no_grad():
                given = outputs(teacher.to(once.found[0].device), inputs)[0]
        else:
            given = answers[chosen]
        return (1 - weight) * task(once, inputs, labels, chosen) + weight * soft(
            once.found[0], given.to(once.found[0].device)
        )

    return loss


class _Once(nn.Module):
    """Gives outputs that were computed already, so that the task's loss does not run the student again."""

    def __init__(self, found: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.found = found

    def forward(self, *_: Tensor) -> tuple[Tensor, ...]:
        return self.found


def check_shapes(student: nn.Module, teacher: nn.Module, train: Split) -> None:
    """Refuse a teacher whose first output has another shape per example than the student's."""
    few = train.take(slice(0, 2))
    found, expected = predict(student, few)[0].shape[1:], predict(teacher, few)[0].shape[1:]
    if found != expected:
        raise InputError(
            f"the teacher gives outputs of shape {tuple(expected)} per example, the student {tuple(found)}",
            where="distill: teacher",
            fix="choose a teacher that was trained for the same classes",
        )
