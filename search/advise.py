"""`weighbridge advise`: which recipes are worth a try, why, and what to expect of them, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from weighbridge.compress.recipe.project_folder import Project
from weighbridge.core.documents import Budget, Sizes
from weighbridge.core.formatting import percent, quantity
from weighbridge.core.pareto import front
from weighbridge.core.progress import Progress, silent
from weighbridge.search.estimate.prediction import Predicted, Prediction, Until, parts_of, predict_all
from weighbridge.search.problem.asked_budgets import budgets_for, remark
from weighbridge.search.problem.coarse import coarse
from weighbridge.search.problem.limits import FILE_METRICS, excess, facts, gaps
from weighbridge.search.problem.searched_model import Source, chosen_target, space_of, untrained_source
from weighbridge.search.problem.space import Space
from weighbridge.search.problem.weight_forms import BLOCKS, CORRECTED, TABLES, scheme_of

Goal = Literal["size", "latency", "memory", "accuracy"]
SECONDS = 35.0
"""Time for predictions: with loading, an answer comes within a minute."""
READY, SHORT = 0.95, 0.3
"""Shares of unchanged answers from which on a recipe needs no training, and little of it."""
EXPECT = {
    "ready": "answers as it is; fine-tuning is optional",
    "short": "needs some epochs of fine-tuning",
    "long": "needs long fine-tuning, and may still lose too much: let `weighbridge search` try it",
    "lost": "changes answers that no step of it trains back",
}
SHOWN = 12


@dataclass(frozen=True)
class Advice:
    """One recipe of the ranked list."""

    steps: list[dict[str, Any]]
    sizes: Sizes
    agreement: float
    outlook: str
    """A key of `EXPECT`."""
    why: str


@dataclass(frozen=True)
class Advised:
    """What `advise` found."""

    target: str
    baseline: Sizes
    recipes: list[Advice]
    predicted: int
    left: int
    failed: int
    trained: bool
    weighed: list[str]
    """Budgets that only weighing can decide."""
    obstacle: str | None = None
    """Why no recipe that was predicted meets the budgets, with the nearest; None where one does."""
    remark: str | None = None
    """What to say of recipes with budgets of their own."""


def chosen(root: Path, recipe: str | None = None) -> str:
    """The target that is meant where none is named: the recipe's, or the first of `targets`."""
    project = Project(root)
    budgets_for(project.params, recipe)
    return chosen_target(project, None if recipe is None else project.params.recipes[recipe].targets[0]).name


def advise(
    root: Path,
    goal: Goal | None = None,
    target: str | None = None,
    progress: Progress = silent,
    recipe: str | None = None,
) -> Advised:
    """Predict a few dozen recipes of the space and rank those that can meet the budgets, or those of a recipe."""
    target = target or chosen(root, recipe)
    with Project(root).as_declared():
        return _advised(untrained_source(root, target), goal, progress, recipe)


def _advised(source: Source, goal: Goal | None, progress: Progress, recipe: str | None) -> Advised:
    """The same within the declared feeding."""
    space = space_of(source)
    found = predict_all(source, space, coarse(space), progress, Until(SECONDS))
    budgets = budgets_for(source.project.params, recipe)
    reference = facts(found.baseline)
    fitting = [item for item in found.found if excess(gaps(budgets, facts(item.sizes), reference)) <= 1]
    return Advised(
        target=source.target.name,
        baseline=found.baseline,
        recipes=[_advice(source, space, item, found.baseline) for item in ranked(fitting, goal, space)[:SHOWN]],
        predicted=len(found.found),
        left=found.left,
        failed=len(found.failed),
        trained=source.trained,
        weighed=[budget.metric for budget in budgets if budget.required and budget.metric not in FILE_METRICS],
        obstacle=None if fitting else obstacle(found, budgets, space),
        remark=remark(source.project.params, recipe),
    )


def ranked(found: Sequence[Prediction], goal: Goal | None, space: Space) -> list[Prediction]:
    """The most promising first: of what nothing beats in bytes, multiply-accumulates and unchanged answers, and where
    those are few, of what is next.
    """

    def place(item: Prediction) -> tuple[float, ...]:
        return (item.sizes.bytes, item.sizes.macs, -item.agreement)

    by_goal: dict[Goal | None, Callable[[Prediction], Any]] = {
        "size": lambda item: item.sizes.bytes,
        "memory": lambda item: item.sizes.bytes,
        "latency": lambda item: (item.sizes.macs, not scheme_of(item.point.form).endswith("-int8"), item.sizes.bytes),
        "accuracy": lambda item: (-item.agreement, item.sizes.bytes),
        None: lambda item: item.sizes.bytes * max(item.sizes.macs, 1),
    }
    order = list(EXPECT)
    chosen: list[Prediction] = []
    while len(chosen) < min(SHOWN, len(found)):
        chosen += front([item for item in found if item not in chosen], place)
    return sorted(chosen, key=lambda item: (order.index(outlook(item, space)), by_goal[goal](item), repr(item.point)))


def outlook(item: Prediction, space: Space) -> str:
    """What to expect of a recipe's answers, by how many of them change before any training: a key of `EXPECT`."""
    if item.agreement >= READY:
        return "ready"
    if not space.trainable(item.point):
        return "lost"
    return "short" if item.agreement >= SHORT else "long"


def obstacle(found: Predicted, budgets: Sequence[Budget], space: Space) -> str:
    """The recipe that comes nearest to the budgets, and what stands in the way."""
    if not found.found:
        reason = found.failed[0][1] if found.failed else "there was no time for any"
        return f"no recipe of the space can be made: {reason}"
    reference = facts(found.baseline)

    def far(item: Prediction) -> float:
        return excess(gaps(budgets, facts(item.sizes), reference))

    nearest = min(found.found, key=lambda item: (far(item), -item.agreement))
    broken = [gap for gap in gaps(budgets, facts(nearest.sizes), reference) if not gap.kept]
    missed = "; ".join(gap.sentence for gap in broken)
    which = f"no recipe that there was time to predict ({len(found.found)})" if found.left else "no recipe of the space"
    text = f"{which} meets the budgets; the nearest ({describe(nearest)}) has {missed}"
    if any(gap.budget.metric.startswith("size.") for gap in broken) and space.target == "onnxruntime":
        parts = [f"{name} {quantity(size, 'bytes')}" for name, size in list(parts_of(nearest.data))[:3]]
        return f"{text}. In its way: {', '.join(parts)}"
    return f"{text}. In its way: the layers that no step of the space narrows further"


def describe(item: Prediction) -> str:
    """A recipe in a few words."""
    return ", ".join(why(item)) or "as it is"


def why(item: Prediction) -> list[str]:
    """What each part of a recipe is for."""
    point, found = item.point, []
    if point.gone or point.depth:
        which = ", ".join(point.gone) or f"{percent(point.depth)} of the layers"
        found.append(f"without {which}: less to compute, store and start")
    if any(point.widths):
        gone = sorted({width for width in point.widths if width})
        found.append(f"{' and '.join(percent(width) for width in gone)} of the channels go: less to compute and store")
    if point.factor:
        found.append(f"low-rank layers at {percent(point.factor)} of full rank: less to compute and store")
    if point.sparsity:
        found.append(f"{percent(point.sparsity)} zeros, which change no byte before pack stores where the others are")
    if point.form.startswith("share-"):
        found.append(f"{2 ** int(point.form[6:])} shared values per tensor: pack stores {point.form[6:]}-bit codes")
    elif point.form in FORMS:
        found.append(FORMS[point.form])
    return found


FORMS = {
    "fp16": "half precision: half the bytes; slower where the processor has no half-precision arithmetic",
    "static-int8": "8-bit integers throughout: a quarter of the bytes, and faster where the processor has VNNI",
    "qat-int8": "8-bit integers throughout, trained with rounding in place",
    "dynamic-int8": "8-bit weights, activations quantized at every inference: slow on convolutions",
    "weight-fp16": "weights stored in 16 bits: half the bytes, as fast as before",
    "weight-int8": "weights stored in 8 bits: a quarter of the bytes, as fast as before",
    "weight-int4": "weights stored in 4 bits: an eighth of the bytes, as fast as before",
    f"static-int8{CORRECTED}": "8-bit integers throughout, ranges without outliers, and what rounding shifts taken out",
    f"weight-int4{BLOCKS}": "weights stored in 4 bits, with a scale for each few of them, as fast as before",
    f"dynamic-int8{TABLES}": "8-bit products, activations quantized at every inference, and words in 4 bits",
    f"static-int8{TABLES}": "8-bit integers throughout, and words in 4 bits",
}


def _advice(source: Source, space: Space, item: Prediction, baseline: Sizes) -> Advice:
    ratios = [f"bytes {item.sizes.bytes / baseline.bytes:.2f}×"]
    if baseline.macs:
        ratios.append(f"multiply-accumulates {item.sizes.macs / baseline.macs:.2f}×")
    epochs = min(3, source.project.params.search.epochs) if space.trainable(item.point) else 0
    return Advice(
        steps=space.steps(item.point, epochs),
        sizes=item.sizes,
        agreement=item.agreement,
        outlook=outlook(item, space),
        why=f"{'; '.join(why(item))} ({', '.join(ratios)})",
    )


def as_json(found: Advised) -> dict[str, Any]:
    """The document of `advise --json`."""
    return {
        "target": found.target,
        "baseline": found.baseline.model_dump(),
        "recipes": [{**vars(item), "sizes": item.sizes.model_dump()} for item in found.recipes],
        **{
            name: getattr(found, name)
            for name in ("predicted", "left", "failed", "trained", "weighed", "obstacle", "remark")
        },
    }


def as_text(found: Advised) -> str:
    """For a terminal: each recipe with why and what to expect, as YAML to copy."""
    lines = []
    for number, item in enumerate(found.recipes, start=1):
        lines.append(f"{number}. {quantity(item.sizes.bytes, 'bytes')}: {item.why}")
        lines.append(
            f"   Expect: {percent(item.agreement)} of the answers stay as they are before any training; "
            f"{EXPECT[item.outlook]}."
        )
        lines += ["   steps:", *(f"     - {line}" for line in flow(item.steps))]
    lines.append(_notes(found))
    return "\n".join(lines) + "\n"


def flow(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each step on one line, as people write it: `prune: {method: structured, ratio: 0.5}`."""
    return [f"{name}: {one_line(config)}" for step in steps for name, config in step.items()]


def one_line(value: Any) -> str:
    """A value as YAML on one line: `{method: structured, ratio: 0.5}`."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _notes(found: Advised) -> str:
    told = [f"{found.predicted} recipes for {found.target} predicted without training"]
    told += [f"{found.left} left out for want of time"] if found.left else []
    told += [f"{found.failed} refused by the model"] if found.failed else []
    notes = ["; ".join(told) + "."]
    if not found.trained:
        notes.append("The baseline is not trained yet: bytes hold, unchanged answers say little.")
    if found.weighed:
        notes.append(f"Only weighing decides: {', '.join(dict.fromkeys(found.weighed))}.")
    return " ".join([*notes, *([found.remark] if found.remark else [])])


__all__ = ["Advised", "advise", "as_json", "as_text", "flow", "one_line"]
