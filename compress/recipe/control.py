"""The control of a recipe with teachers: the same steps from the same start, with the same seed, without a teacher.

One control goes beside the whole recipe, from its first fine-tuning with a teacher on. It answers what a person asks,
"would the recipe do as well without a teacher?"; a control for each step would start from what a teacher taught in
the step before. Both leave out the same part of train, on which they are compared after each step.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from torch import nn

from weighbridge.compress.recipe.recipe import TECHNIQUES
from weighbridge.compress.steps import Context, Facts, ModuleFunction, Step, StepConfig, Subject
from weighbridge.compress.techniques.distill import DistillConfig
from weighbridge.compress.training.finetune import teaching, untaught
from weighbridge.compress.training.module_quality import evaluate, metric_name, quality
from weighbridge.compress.training.settings import Teaching
from weighbridge.compress.training.splits import holdout
from weighbridge.core.errors import WeighbridgeError
from weighbridge.data import Split


@dataclass(frozen=True)
class Control:
    """The untaught twin of a recipe's subject."""

    taught: Teaching
    context: Context
    """What both train with: train without the validation part."""
    validation: Split
    subject: Subject | None = None
    """None before the first step with a teacher."""

    def follow(self, step: Step, before: Subject, function: ModuleFunction | None = None) -> Control:
        """The control after the module half of `step`, without its teacher; the first time from a copy of `before`.

        `function` is that half where it depends on the target. Errors say that they come from the control.
        """
        subject = self.subject
        if subject is None:
            if teaching(step.config) is None:
                return self
            subject = copy.deepcopy(before)
        function = function or TECHNIQUES[step.name].module
        assert function is not None  # the caller runs a module step
        context = replace(self.context, progress=self._progress)
        try:
            subject, _ = function(_without_teacher(step.config), subject, context)
        except WeighbridgeError as error:
            error.what = f"{error.what} (in the control without a teacher)"
            raise
        return replace(self, subject=subject)

    def facts(self, student: Subject) -> Facts:
        """How teacher, student and control answer the validation part; nothing before the first taught step."""
        if self.subject is None:
            return {}
        teacher, digest = self.context.teacher(self.taught.teacher)
        settings, split = self.context.train, self.validation

        def answered(module: nn.Module) -> float:
            return quality(evaluate(module, split), split.labels, settings.loss)

        compared = {
            "teacher": answered(teacher),
            "student": answered(student.module),
            "control": answered(self.subject.module),
            "examples": len(split),
        }
        return {"teacher": digest, "metric": metric_name(settings), "validation": compared}

    def _progress(self, stage: str, done: int, total: int, detail: str = "") -> None:
        self.context.progress(f"{stage} control", done, total, detail)


def controlled(taught: Teaching, context: Context) -> Control:
    """A control for a recipe with these teachers, and in its context what both train with."""
    train, validation = holdout(context.data.train, taught.validation, context.seed)
    return Control(taught, replace(context, data=replace(context.data, train=train)), validation)


def _without_teacher(config: StepConfig) -> StepConfig:
    """The step without a teacher; of `distill` nothing is left but training."""
    if isinstance(config, DistillConfig):
        return config.model_copy(update={"weight": 0.0, "hints": [], "keep": "student"})
    return untaught(config)


__all__ = ["Control", "controlled"]
