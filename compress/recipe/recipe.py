"""A recipe is an ordered list of steps. The literal table of techniques, and what is refused before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from weighbridge.compress.capabilities import refusal
from weighbridge.compress.steps import Step, Technique
from weighbridge.compress.techniques import distill, factorize, pack, prune, quantize, replace, share
from weighbridge.compress.techniques.factorize.config import FactorizeConfig
from weighbridge.compress.training.finetune import recipe_teaching
from weighbridge.core.documents import Params, RecipeSection, parse
from weighbridge.core.errors import InputError
from weighbridge.core.project import PARAMS

TECHNIQUES: dict[str, Technique] = {
    "distill": Technique(
        config=distill.DistillConfig, module=distill.distill, explain=distill.explain, refuses=distill.refuses
    ),
    "factorize": Technique(
        config=FactorizeConfig,
        module=factorize.factorize,
        explain=factorize.explain,
        refuses=factorize.refuses,
        falls=lambda _: ("params",),
    ),
    "pack": Technique(config=pack.Pack, lower=pack.pack, exact=True),
    "prune": Technique(
        config=prune.PruneConfig, module=prune.prune, explain=prune.explain, refuses=prune.refuses, falls=prune.falls
    ),
    "quantize": Technique(
        config=quantize.Quantize,
        module=quantize.train,
        lower=quantize.lower,
        phases=quantize.phases,
        agreement=quantize.agreement_of,
    ),
    "replace": Technique(
        config=replace.Replace,
        lower=replace.replace,
        refuses=replace.refuses,
        agreement=lambda _: 0.0,
    ),
    "share": Technique(
        config=share.ShareConfig,
        module=share.share,
        lower=share.lower,
        phases=share.phases,
        explain=share.explain,
        falls=share.falls,
        agreement=lambda config: config.agreement,
    ),
}
"""Every technique that a recipe can name."""

_RANK = {("module",): 0, ("module", "lower"): 1, ("lower",): 2}


def read_recipe(params: Params, name: str, file: str = PARAMS) -> list[Step]:
    """The validated steps of a recipe, in order.

    Raises `InputError` with file and key, before anything runs, for: a recipe or technique that does not exist
    (with a suggestion), a config that does not validate, phases in the wrong order, a step that would undo one
    before it, and module steps where the model is an ONNX file.
    """
    if name not in params.recipes:
        raise InputError(f"there is no recipe {name!r}", where=f"{file}: recipes", fix=_suggest(name, params.recipes))
    steps = read_steps(params.recipes[name], f"{file}: recipes.{name}")
    if params.model.onnx is not None:
        _refuse_module_steps(steps)
    return steps


def read_steps(section: RecipeSection, where: str) -> list[Step]:
    """The validated steps of one section; see `read_recipe`."""
    steps = [_read_step(item, f"{where}.steps[{index}]") for index, item in enumerate(section.steps)]
    _check_order(steps)
    for index, step in enumerate(steps):
        refuses = TECHNIQUES[step.name].refuses
        reason = refuses(step.config, steps[:index]) if refuses is not None else None
        if reason is not None:
            raise InputError(reason, where=step.where)
    recipe_teaching(steps)
    for target in section.targets:
        _refuse_for(target, steps)
    return steps


def phases(step: Step) -> tuple[str, ...]:
    """Which phases a step acts in: `("module",)`, `("lower",)` or both."""
    return TECHNIQUES[step.name].phases_of(step.config)


def _read_step(item: dict[str, Any], where: str) -> Step:
    if len(item) != 1:
        raise InputError(
            f"expected one technique with its parameters; found {', '.join(map(str, item)) or 'an empty mapping'}",
            where=where,
            fix="write each technique as its own list item: '- technique: {parameters}'",
        )
    ((name, config),) = item.items()
    if name not in TECHNIQUES:
        raise InputError(f"unknown technique {name!r}", where=where, fix=_suggest(name, TECHNIQUES))
    place = f"{where}.{name}"
    # A technique without parameters may stand as `- pack:` or `- pack: {}`.
    return Step(name, parse(TECHNIQUES[name].config, {} if config is None else config, place), place)


def _check_order(steps: Sequence[Step]) -> None:
    for index, (before, after) in enumerate(pairwise(steps)):
        first, second = phases(before), phases(after)
        if _RANK[first] > _RANK[second]:
            raise InputError(
                f"{after.name} changes the PyTorch module, but {before.name} (steps[{index}]) before it already gives "
                "a file for the runtime",
                where=after.where,
                fix=f"put {after.name} before {before.name}",
            )
        if first == second == ("module", "lower"):
            raise InputError(f"{before.name} acts on module and file; a recipe takes one such step", where=after.where)


def _refuse_for(target: str, steps: Sequence[Step]) -> None:
    """Refuse steps whose lowering a target has no form of."""
    for step in steps:
        if "lower" in phases(step):
            fields = type(step.config).model_fields.items()
            defaults = {name: field.get_default(call_default_factory=True) for name, field in fields}
            reason = refusal(target, step.name, step.config, defaults)
            if reason is not None:
                raise InputError(reason, where=step.where)


def _refuse_module_steps(steps: Sequence[Step]) -> None:
    for step in steps:
        if "module" in phases(step):
            raise InputError(
                f"{step.name} needs the PyTorch module, but the model is an ONNX file",
                where=step.where,
                fix="use steps that work on files, or give model.factory instead of model.onnx",
            )


def _suggest(name: object, known: object) -> str:
    names = sorted(map(str, known))  # type: ignore[call-overload]
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
