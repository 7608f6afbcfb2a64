"""Train within a recipe: on the labels alone, or with a teacher as well; and what a recipe's teachers ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from weighbridge.compress.steps import Constraint, Context, Facts, Step, StepConfig
from weighbridge.compress.training.loop import History, fit
from weighbridge.compress.training.module_quality import evaluate
from weighbridge.compress.training.settings import Finetune, Teaching
from weighbridge.compress.training.soft_targets import check_shapes, distillation_loss
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError
from weighbridge.data import Split


def finetune(
    module: nn.Module, config: Finetune, context: Context, *, constraints: Sequence[Constraint], stage: str
) -> History:
    """Train `module` in place on train as the config says, and leave it in eval mode.

    The teacher's answers are computed once. Raises `InputError` for a teacher that cannot be found or whose outputs
    differ in shape, and what `fit` raises.
    """
    settings = config.settings(context.train)
    split = _labelled(context, settings, stage)
    loss, digest = None, None
    if config.distill is not None:
        teacher, digest = context.teacher(config.distill.teacher)
        check_shapes(module, teacher, split)
        given = {"temperature": config.distill.temperature, "weight": config.distill.weight}
        loss = distillation_loss(teacher, split, settings, **given)
    history = fit(
        module,
        split,
        settings,
        seed=context.seed,
        constraints=constraints,
        loss=loss,
        progress=context.progress,
        stage=stage,
    )
    return replace(history, teacher=digest)


def _labelled(context: Context, settings: TrainSection, stage: str) -> Split:
    """Train; where it has no labels, the baseline's answers are what an embedding or a number is to be."""
    train, task = context.data.train, context.task
    if task is not None and task.facts.loss is None and "loss" not in settings.model_fields_set and not settings.loop:
        raise InputError(f"the task {task.kind} has no loss that fits every model", where=stage, fix="give train.loss")
    if train.labelled or settings.own_loss or settings.loop is not None:
        return train
    if settings.loss not in ("cosine", "mse"):
        raise InputError(
            f"train has no labels, which {settings.loss} needs", where=stage, fix="add labels, or give train.loss"
        )
    return Split(train.inputs, evaluate(context.baseline(), train), train.slices, train.groups)


def facts_of(history: History | None) -> Facts:
    """Losses by epoch, and the teacher's digest where there was one; nothing where nothing was trained."""
    if history is None:
        return {}
    taught = {"teacher": history.teacher} if history.teacher is not None else {}
    return {"losses": list(history.losses), **taught, **({"device": history.device} if history.device else {})}


def teaching(config: StepConfig) -> Teaching | None:
    """The teacher of a step's fine-tuning."""
    tuning = getattr(config, "finetune", None)
    return tuning.distill if isinstance(tuning, Finetune) else None


def untaught(config: StepConfig) -> StepConfig:
    """The same step without a teacher in its fine-tuning."""
    tuning = getattr(config, "finetune", None)
    if not isinstance(tuning, Finetune) or tuning.distill is None:
        return config
    return config.model_copy(update={"finetune": tuning.model_copy(update={"distill": None})})


def recipe_teaching(steps: Sequence[Step]) -> Teaching | None:
    """What the teachers of a recipe's fine-tunings have in common: who teaches, and the part held out to compare.

    Raises `InputError` where two steps name different teachers (an artifact's lineage has one) or different parts:
    a later step would train on examples that an earlier one held out.
    """
    first: Teaching | None = None
    teacher: str | None = None
    for step in steps:
        own = teaching(step.config)
        name = own.teacher if own is not None else getattr(step.config, "teacher", None)  # of the step `distill`
        if isinstance(name, str):
            key = f"{step.where}.finetune.distill.teacher" if own is not None else f"{step.where}.teacher"
            _same("teacher", name, teacher or name, key)
            teacher = teacher or name
        if own is not None:
            first = first or own
            _same("validation", own.validation, first.validation, f"{step.where}.finetune.distill.validation")
    return first


def _same(name: str, mine: object, theirs: object, where: str) -> None:
    if mine != theirs:
        raise InputError(
            f"is {mine}, but an earlier step has {theirs}",
            where=where,
            fix=f"say the same {name} in every step of the recipe",
        )
