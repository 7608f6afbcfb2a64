"""Prune: single weights by magnitude, whole channels, or whole layers.

- `config`: what a recipe may ask
- `masks`: which weights stay, as constraints that later steps keep
- `magnitude`: one shot, or more and more while training
- `tracing`: which layers lose a channel together
- `structured`: channels by torch-pruning's dependency graph, towards a ratio, MACs or parameters
- `depth`: layers that give the shape they get
- `iterative`: prune a little, fine-tune, measure, stop before the accuracy budget breaks
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from weighbridge.compress.graph.layers import calls, row, weights
from weighbridge.compress.steps import Context, Facts, Step, Subject
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.techniques.prune.depth import depth_facts, prune_layers
from weighbridge.compress.techniques.prune.iterative import prune_until
from weighbridge.compress.techniques.prune.magnitude import prune_gradually, prune_once, sparsity_facts
from weighbridge.compress.techniques.prune.structured import prune_channels, reestimate_batchnorm, width_facts
from weighbridge.compress.training.finetune import facts_of, finetune
from weighbridge.compress.training.loop import History
from weighbridge.compress.training.objective import batch

UNFOLLOWED = "unfollowed"
"""Key of `notes` while channels are cut: layers that stay whole, with the reason."""


def prune(config: PruneConfig, subject: Subject, context: Context) -> tuple[Subject, Facts]:
    """Prune as the config says; the facts hold what was reached, layer by layer."""
    before = subject.module
    if config.max_drop is not None:
        subject, facts = prune_until(config, subject, context, lambda *given: _cut(config, *given))
    else:
        subject, history = _pruned(config, subject, context)
        facts = facts_of(history)
    if config.method == "magnitude":
        return subject, {**facts, **sparsity_facts(config, subject)}
    assert context.data.calibration is not None  # the contract of `Context.data`
    if config.method == "depth":
        return subject, {**facts, **depth_facts(before, subject.module, context.data.calibration)}
    whole = config.layers is None and not config.keep and config.max_drop is None
    asked = config.ratio if whole else None
    left = subject.notes.pop(UNFOLLOWED)
    widths = width_facts(before, subject.module, context.data.calibration, asked)
    return subject, {**facts, **widths, **({"not_followed": left} if left else {})}


def explain(config: PruneConfig, subject: Subject, context: Context) -> list[Facts]:
    """What pruning will do to each layer: no training, and one round where there would be several."""
    pruned = _cut(config, Subject(copy.deepcopy(subject.module), list(subject.constraints)), None, context)
    assert context.data.calibration is not None  # the contract of `Context.data`
    inputs = batch(context.data.calibration, slice(0, 1))[0]
    before, after = calls(subject.module, inputs), calls(pruned.module, inputs)
    there = {weight.name: weight.tensor for weight in weights(pruned.module)}
    rows = []
    for weight in weights(subject.module):
        now = there.get(weight.name, weight.tensor[:0])  # nothing of a layer that went
        macs = before[weight.layer].macs if weight.layer in before else 0
        macs_after = after[weight.layer].macs if weight.layer in after else 0
        left = int((now != 0).sum()) if config.method == "magnitude" else now.numel()
        old = (weight.tensor.numel(), macs, 4 * weight.tensor.numel())
        rows.append(row(weight.name, weight.tensor.shape, old, (left, macs_after, 4 * now.numel())))
    return rows


def _pruned(config: PruneConfig, subject: Subject, context: Context) -> tuple[Subject, History | None]:
    if config.schedule == "cubic":
        return prune_gradually(config, subject, context)
    subject = _cut(config, subject, None, context)
    if config.finetune is None:
        return subject, None
    constraints = subject.constraints
    return subject, finetune(subject.module, config.finetune, context, constraints=constraints, stage="prune")


def _cut(config: PruneConfig, subject: Subject, amount: float | None, context: Context) -> Subject:
    """One round of pruning, to `amount` or to the config's own target, without fine-tuning."""
    if config.method == "magnitude":
        subject = prune_once(config, subject, amount if amount is not None else config.sparsity)
    elif config.method == "depth":
        shorter = prune_layers(config, subject.module, context)
        subject = Subject(shorter, list(subject.constraints), subject.notes)
    else:
        ratio = None if amount is None else _of_rest(config, amount)
        narrower, left = prune_channels(config, subject.module, context, ratio)
        subject = Subject(narrower, list(subject.constraints), {**subject.notes, UNFOLLOWED: left})
    if config.reestimate_bn:
        reestimate_batchnorm(subject.module, context.data.train)
    return subject


def _of_rest(config: PruneConfig, amount: float) -> float:
    """The ratio of what is left after the round before that brings the total to `amount`."""
    assert config.ratio is not None  # the config demands it with max_drop
    before = amount - config.ratio / config.rounds
    return 1 - (1 - amount) / (1 - before)


def refuses(config: PruneConfig, earlier: Sequence[Step]) -> str | None:
    """Nothing goes from under a mask or a codebook; zeros would fall outside of a codebook."""
    for step in earlier:
        fixed = step.name == "share" or (step.name == "prune" and getattr(step.config, "method", "") == "magnitude")
        if config.method != "magnitude" and fixed:
            what = "channels" if config.method == "structured" else "layers"
            return f"{config.method} pruning would remove {what} from under the result of {step.name}; put it first"
        if config.method == "magnitude" and step.name == "share":
            return "pruning would give shared weights a value outside of their codebook; put it before share"
    return None


def falls(config: PruneConfig) -> tuple[str, ...]:
    """Zeros show in compressed bytes alone; removed channels and layers in everything."""
    return ("zstd",) if config.method == "magnitude" else ("bytes", "params", "macs")


__all__ = ["PruneConfig", "explain", "falls", "prune", "refuses"]
