"""Make the files of many recipes of one model: what they share is computed once.

Recipes with the same first steps train them once, and modules of one architecture are exported once: others of the
same shapes take their weights into that export, which is held against the module before it is believed. Nothing here
replaces `compose`, which checks every step of the recipe that ships.
"""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from weighbridge.compress import invariants
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.export.program import Program
from weighbridge.compress.export.target import Lowering, Target
from weighbridge.compress.graph.fold import fold_batchnorm
from weighbridge.compress.graph.large_file import as_bytes
from weighbridge.compress.recipe.explain import untrained
from weighbridge.compress.recipe.placing import placed
from weighbridge.compress.recipe.recipe import TECHNIQUES, phases
from weighbridge.compress.recipe.recipe_run import sizes_of
from weighbridge.compress.recipe.reweighting import answers_alike, reweighted
from weighbridge.compress.steps import Context, Graph, Step, Subject
from weighbridge.core.documents import Sizes
from weighbridge.core.errors import WeighbridgeError

PREFIXES = 12
"""Modules after their first steps that are kept for other recipes."""


@dataclass(frozen=True)
class Prototype:
    """The file of one recipe, and what it is."""

    data: bytes
    sizes: Sizes
    trained: int
    """Steps whose training ran for this file; those before them were shared."""


@dataclass
class Maker:
    """Files of recipes for one target, all from one source.

    With `train` False, steps see a few examples once instead of training, as in `weighbridge explain`.
    """

    context: Context
    target: Target
    source: Subject | Graph
    train: bool = True
    exports: int = 0
    """How many modules were really exported."""
    _prefixes: OrderedDict[str, Subject] = field(default_factory=OrderedDict)
    _templates: dict[str, Graph] = field(default_factory=dict)

    def make(self, steps: Sequence[Step]) -> Prototype:
        """The file after all steps; raises what its steps raise, placed in the recipe."""
        steps = [step if self.train else replace(step, config=untrained(step.config)) for step in steps]
        module = [step for step in steps if "module" in phases(step)]
        if isinstance(self.source, Subject):
            subject, trained = self._subject(module)
            form: Graph | Program = self._export(subject, exactly=any("lower" in phases(step) for step in module))
        else:
            form, trained = self.source, 0
        for step in steps:
            if "lower" in phases(step):
                technique = TECHNIQUES[step.name]
                lower: Lowering | None = technique.lower
                lower = self.target.lowerings[step.name] if self.target.lowerings is not None else lower
                assert lower is not None  # by `phases`
                with placed(step):
                    form, _ = lower(step.config, form, self.context)
        written = self.target.write(form.model)
        sizes = sizes_of(form.network, written)
        return Prototype(as_bytes(written), sizes, trained)

    def module(self, steps: Sequence[Step] = ()) -> nn.Module:
        """The module after some module steps, in eval mode."""
        return self._subject(list(steps))[0].module

    def _subject(self, steps: Sequence[Step]) -> tuple[Subject, int]:
        """The state after module steps, from the longest prefix that is known; and how many steps had to run."""
        assert isinstance(self.source, Subject)  # `read_recipe` refuses module steps on ONNX models
        names = [_key(steps[:count]) for count in range(len(steps) + 1)]
        known = max(count for count, name in enumerate(names) if count == 0 or name in self._prefixes)
        subject = copy.deepcopy(self.source if known == 0 else self._prefixes[names[known]])
        if known:
            self._prefixes.move_to_end(names[known])
        for count, step in enumerate(steps[known:], start=known + 1):
            function = self.target.trainings.get(step.name, TECHNIQUES[step.name].module)
            assert function is not None  # by `phases`
            with placed(step):
                subject, _ = function(step.config, subject, self.context)
            invariants.finite_weights(subject.module, step.where)
            self._prefixes[names[count]] = copy.deepcopy(subject)
            while len(self._prefixes) > PREFIXES:
                self._prefixes.popitem(last=False)
        return subject, len(steps) - known

    def _export(self, subject: Subject, *, exactly: bool) -> Graph | Program:
        """The module's file; `exactly` where a lowering half reads what only its own export knows."""
        assert self.context.data.calibration is not None  # the contract of `Context.data`
        calibration = self.context.data.calibration
        if self.target.name != ONNXRUNTIME.name or exactly:
            return self._exported(subject.module, subject)
        try:
            folded = fold_batchnorm(subject.module)
        except WeighbridgeError:
            return self._exported(subject.module, subject)
        key = _shapes(folded)
        template = self._templates.get(key)
        if template is not None:
            proto = reweighted(template, folded)
            if proto is not None and answers_alike(proto, folded, calibration):
                return Graph(proto, {**subject.notes, **template.notes})
        exported = self._exported(folded, subject)
        assert isinstance(exported, Graph)  # of the target onnxruntime
        self._templates[key] = exported
        return exported

    def _exported(self, module: nn.Module, subject: Subject) -> Graph | Program:
        assert self.context.data.calibration is not None  # the contract of `Context.data`
        self.exports += 1
        form: Graph | Program = self.target.export(module, self.context.data.calibration)
        return replace(form, notes={**subject.notes, **form.notes})


def _key(steps: Sequence[Step]) -> str:
    return json.dumps([[step.name, step.config.model_dump(mode="json")] for step in steps], sort_keys=True)


def _shapes(module: nn.Module) -> str:
    """What two modules have in common whose exports differ in weights alone."""
    layers = [(name, type(layer).__name__) for name, layer in module.named_modules()]
    return json.dumps([layers, [(name, list(tensor.shape)) for name, tensor in module.state_dict().items()]])


__all__ = ["Maker", "Prototype", "reweighted"]
