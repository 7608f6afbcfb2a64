"""Distil: train a student on a teacher's answers, and the same student without a teacher beside it.

The loss is (1 - weight) * task loss + weight * T^2 * KL(teacher / T, student / T); T^2 keeps the gradients of the
soft targets at the size of those of the hard ones (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
Network", 2015, arXiv:1503.02531). Hints add the squared distance between features of named layers, the student's
after a small trained regressor (Romero et al., "FitNets", 2015, arXiv:1412.6550).

A student often does as well alone. The control, trained with the same start, seed and epochs but without a teacher,
is always there and reported; both are compared on a part of train that neither saw.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from compress.hints import Hint, Hinted, hinted
from compress.layers import calls, row
from compress.splits import holdout
from compress.steps import Constraint, Context, Facts, Step, StepConfig, Subject
from compress.training import (
    Finetune,
    Loss,
    batch,
    check_module,
    default_loss,
    deterministic,
    evaluate,
    fit,
    outputs,
    predict,
    quality,
)
from weighbridge.data import Split, call_factory
from weighbridge.documents import TrainSection
from weighbridge.documents.params import Factory
from weighbridge.errors import InputError, InvariantError


class DistillConfig(StepConfig):
    """Train a student with a teacher, and a control without one."""

    student: Factory | None = None
    """`package.module:callable` that returns the student with fresh weights; the model as it is, where not set."""
    teacher: str = Field(default="baseline", pattern=r"^(baseline|sha256:[0-9a-f]{64})$")
    """`baseline`, or the digest `sha256:…` of a registered version's artifact."""
    temperature: float = Field(default=4.0, gt=0, le=100)
    """Softens both distributions; 1 leaves them as they are."""
    weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher in the loss; the rest is the task's own loss on the labels."""
    hints: list[Hint] = Field(default_factory=list)
    """Pairs of layers whose features the student should resemble."""
    keep: Literal["best", "student"] = "best"
    """Which of the two goes on: the one that is better on the validation part (the student where they are equal),
    or always the distilled student."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Part of train that is held out to compare them."""
    finetune: Finetune = Finetune()
    """How both are trained; what is not set is taken from the section `train`."""


@dataclass(frozen=True)
class _Trained:
    module: nn.Module
    losses: tuple[float, ...]
    quality: float


def distill(config: DistillConfig, subject: Subject, context: Context) -> tuple[Subject, Facts]:
    """Train student and control, keep one; masks and codebooks of earlier steps are preserved in both.

    Raises `InputError` for a student factory or hint that does not fit and for a teacher whose outputs differ in
    shape; `InvariantError` where training diverged.
    """
    settings = config.finetune.settings(context.train)
    teacher, digest = context.teacher(config.teacher)
    student = _student(config, subject, context)
    train, validation = holdout(context.data.train, config.validation, context.seed)
    _check_shapes(student, teacher, train)
    loss = distillation_loss(teacher, train, settings, temperature=config.temperature, weight=config.weight)
    run = _Course(context, settings, train, validation, subject.constraints if config.student is None else ())
    distilled = run.distilled(student, teacher, loss, config.hints)
    control = run.control(student)
    wins = config.keep == "student" or distilled.quality >= control.quality
    kept = distilled if wins else control
    facts: Facts = {
        "teacher": digest,
        "kept": "student" if wins else "control",
        "metric": "top1" if settings.loss == "cross_entropy" else "negative mean squared error",
        "validation": {
            "teacher": _quality(teacher, validation, settings),
            "student": distilled.quality,
            "control": control.quality,
            "examples": len(validation),
        },
        "epochs": settings.epochs,
        "losses": {"student": list(distilled.losses), "control": list(control.losses)},
        "params": sum(parameter.numel() for parameter in kept.module.parameters()),
    }
    return replace(subject, module=kept.module), facts


def refuses(config: DistillConfig, before: Sequence[Step]) -> str | None:
    """A new student would throw away what earlier steps did to the model."""
    if config.student is not None and before:
        return f"a student of its own replaces the model and undoes {before[-1].name}: put distill first"
    return None


def explain(config: DistillConfig, subject: Subject, context: Context) -> list[Facts]:
    """Layers of the student beside those of the model, by position; nothing is trained."""
    inputs, _ = batch(context.data.train, slice(0, 1))
    now = _layer_costs(subject.module, inputs)
    then = _layer_costs(_student(config, subject, context), inputs)
    nothing = ("-", (), (0, 0, 0))
    rows = []
    for index in range(max(len(now), len(then))):
        old, old_shape, before = now[index] if index < len(now) else nothing
        new, new_shape, after = then[index] if index < len(then) else nothing
        name = old if old == new else f"{old} → {new}"
        rows.append(row(name, new_shape or old_shape, before, after))
    return rows


def distillation_loss(
    teacher: nn.Module, split: Split, settings: TrainSection, *, temperature: float, weight: float
) -> Loss:
    """The loss of `fit` on `split` with a teacher's answers, which are computed once, here.

    For `settings.loss: mse` the soft term is the mean squared distance to the teacher's output, without
    temperature. Raises `InvariantError` where the teacher's answers are no finite numbers.
    """
    answers = torch.from_numpy(evaluate(teacher, split))
    if not bool(torch.isfinite(answers).all()):
        raise InvariantError("the teacher's outputs are no finite numbers", where="distill: teacher")
    task = default_loss(settings)

    def soft(found: Tensor, chosen: Tensor) -> Tensor:
        if settings.loss == "mse":
            return F.mse_loss(found, answers[chosen])
        expected = F.log_softmax(answers[chosen] / temperature, 1)
        distance = F.kl_div(F.log_softmax(found / temperature, 1), expected, reduction="batchmean", log_target=True)
        return distance * temperature**2

    def loss(module: nn.Module, inputs: dict[str, Tensor], labels: Tensor, chosen: Tensor) -> Tensor:
        once = _Once(outputs(module, inputs))
        return (1 - weight) * task(once, inputs, labels, chosen) + weight * soft(once.found[0], chosen)

    return loss


class _Once(nn.Module):
    """Gives outputs that were computed already, so that the task's loss does not run the student again."""

    def __init__(self, found: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.found = found

    def forward(self, *_: Tensor) -> tuple[Tensor, ...]:
        return self.found


@dataclass(frozen=True)
class _Course:
    """What student and control have in common: data, settings, seed and constraints."""

    context: Context
    settings: TrainSection
    train: Split
    validation: Split
    constraints: Sequence[Constraint]

    def distilled(self, student: nn.Module, teacher: nn.Module, loss: Loss, hints: Sequence[Hint]) -> _Trained:
        """A copy of the student, trained with its teacher."""
        module = copy.deepcopy(student)
        if not hints:
            return self._fit(module, module, loss, self.constraints, "distill student")
        with deterministic(self.context.seed):
            pair = hinted(module, teacher, hints, batch(self.train, slice(0, 2))[0])
        return self._fit(pair, module, pair.with_hints(loss), pair.inside(self.constraints), "distill student")

    def control(self, student: nn.Module) -> _Trained:
        """A copy of the student, trained alone."""
        module = copy.deepcopy(student)
        return self._fit(module, module, None, self.constraints, "distill control")

    def _fit(
        self, trained: nn.Module, module: nn.Module, loss: Loss | None, constraints: Sequence[Constraint], stage: str
    ) -> _Trained:
        history = fit(
            trained,
            self.train,
            self.settings,
            seed=self.context.seed,
            constraints=constraints,
            loss=loss,
            progress=self.context.progress,
            stage=stage,
        )
        return _Trained(module.eval(), history.losses, _quality(module, self.validation, self.settings))


def _student(config: DistillConfig, subject: Subject, context: Context) -> nn.Module:
    if config.student is None:
        return subject.module
    where = "distill: student"
    with deterministic(context.seed):
        student = call_factory(config.student, where)
    check_module(student, context.data.train, context.train, where)
    assert isinstance(student, nn.Module)
    return student.eval()


def _check_shapes(student: nn.Module, teacher: nn.Module, train: Split) -> None:
    few = train.take(slice(0, 2))
    found, expected = predict(student, few)[0].shape[1:], predict(teacher, few)[0].shape[1:]
    if found != expected:
        raise InputError(
            f"the teacher gives outputs of shape {tuple(expected)} per example, the student {tuple(found)}",
            where="distill: teacher",
            fix="choose a teacher that was trained for the same classes",
        )


def _quality(module: nn.Module, split: Split, settings: TrainSection) -> float:
    return quality(evaluate(module, split), split.labels, settings.loss)


def _layer_costs(
    module: nn.Module, inputs: Mapping[str, Tensor]
) -> list[tuple[str, tuple[int, ...], tuple[int, int, int]]]:
    costs = []
    for name, call in calls(module, inputs).items():
        owned: list[Any] = list(module.get_submodule(name).parameters())
        params = sum(parameter.numel() for parameter in owned)
        costs.append((name, tuple(owned[0].shape), (params, call.macs, 4 * params)))
    return costs


__all__ = ["DistillConfig", "Hint", "Hinted", "distill", "distillation_loss", "explain", "refuses"]
