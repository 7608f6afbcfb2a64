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
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from weighbridge.compress.graph.layers import calls, row
from weighbridge.compress.steps import Constraint, Context, Facts, Step, StepConfig, Subject
from weighbridge.compress.techniques.distill.hints import Hint, Hinted, hinted
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.losses import Loss
from weighbridge.compress.training.module_quality import check_module, evaluate, metric_name, quality
from weighbridge.compress.training.objective import batch, deterministic
from weighbridge.compress.training.settings import TEACHER, Finetune
from weighbridge.compress.training.soft_targets import check_shapes, distillation_loss
from weighbridge.compress.training.splits import holdout
from weighbridge.core.callables import call_factory
from weighbridge.core.documents import TrainSection
from weighbridge.core.documents.base import Factory
from weighbridge.data import Split


class DistillConfig(StepConfig):
    """Train a student with a teacher, and a control without one."""

    student: Factory | None = None
    """`package.module:callable` that returns the student with fresh weights; the model as it is, where not set."""
    teacher: str = Field(default="baseline", pattern=TEACHER)
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

    @model_validator(mode="after")
    def _one_teacher(self) -> Self:
        if self.finetune.distill is not None:
            raise ValueError("the step has its teacher already; leave out finetune.distill")
        return self


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
    check_shapes(student, teacher, train)
    loss = distillation_loss(teacher, train, settings, temperature=config.temperature, weight=config.weight)
    run = _Course(context, settings, train, validation, subject.constraints if config.student is None else ())
    distilled = run.distilled(student, teacher, loss, config.hints)
    control = run.control(student)
    wins = config.keep == "student" or distilled.quality >= control.quality
    kept = distilled if wins else control
    facts: Facts = {
        "teacher": digest,
        "kept": "student" if wins else "control",
        "metric": metric_name(settings),
        "validation": {
            "teacher": _quality(teacher, validation, settings),
            "student": distilled.quality,
            "control": control.quality,
            "examples": len(validation),
        },
        "epochs": settings.passes_for(len(train)),
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
