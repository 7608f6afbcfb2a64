"""Remove whole channels, and with each of them what every connected layer has of it.

Which layers are connected (residual sums, concatenations, depthwise convolutions, flattening) is found by
torch-pruning's dependency graph (Fang et al., "DepGraph", CVPR 2023, arXiv:2301.12900); how many channels go and
which is decided here, so that the remaining widths are multiples that the runtime's kernels like.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.graph.layers import calls, matching
from weighbridge.compress.steps import Context, Facts
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.techniques.prune.tracing import (
    OPAQUE,
    TRACING_ERRORS,
    dependency_graph,
    lost,
    makes_outputs,
    quiet,
)
from weighbridge.compress.training.loop import batch, default_loss, deterministic
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

LEAST = 0.1
"""At least this share of a layer's channels stays when channels are ranked over all layers."""
HALVINGS = 12
"""Bisections towards a MACs or parameter budget: to 1/4096 of the channels."""
CALIBRATION_BATCH = 64


@dataclass(frozen=True)
class Group:
    """Channels that go together."""

    root: str
    """Name of the layer whose outputs they are."""
    channels: int
    parts: int
    """Equal parts (of a grouped convolution or normalisation) that must lose the same channels."""
    scores: Tensor
    """Importance by channel within a part, scaled to a mean of 1."""


def prune_channels(config: PruneConfig, module: nn.Module, context: Context, ratio: float | None = None) -> nn.Module:
    """A copy of `module` with fewer channels: by `ratio` where it is given, else towards the config's own target.

    Raises `InputError` where a pattern names no layer, where no layer can be pruned, or where channels cannot be
    followed through a layer, which is named.
    """
    assert context.data.calibration is not None  # the contract of `Context.data`
    examples = context.data.calibration
    source = copy.deepcopy(module).eval()
    if config.importance == "taylor":
        _gradients(source, examples, context)
    groups = _groups(config, source, examples)
    wanted = ratio if ratio is not None else config.ratio
    if wanted is not None:
        pruned = _cut(config, source, groups, wanted, examples)
    else:
        pruned = _to_budget(config, source, groups, examples)
    for parameter in pruned.parameters():
        parameter.grad = None
    _check(module, pruned, examples)
    return pruned


def cost(module: nn.Module, examples: Split) -> tuple[int, int]:
    """(MACs of one example, parameters)."""
    inputs = batch(examples, slice(0, 1))[0]
    macs = sum(call.macs for call in calls(module, inputs).values())
    return macs, sum(parameter.numel() for parameter in module.parameters())


def reestimate_batchnorm(module: nn.Module, split: Split, limit: int = 2048) -> int:
    """Running statistics anew, as plain means over `limit` examples at most; how many normalisations there are."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not norms:
        return 0
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative mean
        layer.train()
    few = split.take(slice(0, limit))
    with deterministic(0), torch.no_grad():
        for start in range(0, len(few), CALIBRATION_BATCH):
            inputs = batch(few, slice(start, start + CALIBRATION_BATCH))[0]
            if len(next(iter(inputs.values()))) > 1:
                outputs(module, inputs)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
    return len(norms)


def width_facts(before: nn.Module, after: nn.Module, examples: Split) -> Facts:
    """Channels by layer, parameters and MACs before and after; an `InvariantError` where MACs did not fall."""
    (macs, params), (macs_after, params_after) = cost(before, examples), cost(after, examples)
    if macs_after >= macs or params_after >= params:
        raise InvariantError(
            f"MACs went from {macs} to {macs_after}, parameters from {params} to {params_after}", where="prune"
        )
    widths = {}
    for name, layer in before.named_modules():
        was, now = _width(layer), _width(after.get_submodule(name))
        if was is not None and was != now:
            widths[name] = [was, now]
    facts: Facts = {"channels": widths, "macs": [macs, macs_after], "params": [params, params_after]}
    left = {
        name: f"{type(layer).__name__}: {_inner(layer)} are not pruned"
        for name, layer in before.named_modules()
        if isinstance(layer, OPAQUE)
    }
    return {**facts, "left_alone": left} if left else facts


def _width(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, _ConvNd) else None


def _groups(config: PruneConfig, module: nn.Module, examples: Split) -> list[Group]:
    graph = dependency_graph(module, examples)
    names = {layer: name for name, layer in module.named_modules()}
    kept = _kept(config, module, graph)
    importance = _importance(config)
    found = []
    place = {layer: index for index, layer in enumerate(names)}
    groups = _every_group(graph, kept, module)
    for group in sorted(groups, key=lambda group: place[group[0].dep.target.module]):
        root = group[0].dep.target.module
        with quiet():
            scores = importance(group)
        if scores is None:
            raise InputError(
                f"no batch normalisation follows {names[root]!r}, so that its channels have no scale",
                where="prune: importance",
                fix="keep that layer, or use another importance",
            )
        parts = _parts(graph, group)
        scores = scores.detach().reshape(parts, -1).mean(0)
        found.append(Group(names[root], len(scores) * parts, parts, scores / scores.mean().clamp_min(1e-12)))
    if not found:
        raise InputError("no layer's channels can be pruned", where="prune", fix=_reasons(module, kept, names))
    return found


def _every_group(graph: Any, kept: set[nn.Module], module: nn.Module) -> list[Any]:
    try:
        with quiet():
            return list(graph.get_all_groups(ignored_layers=list(kept), root_module_types=(_ConvNd, nn.Linear)))
    except TRACING_ERRORS as error:
        raise lost(module, error) from error


def _importance(config: PruneConfig) -> Any:
    match config.importance:
        case "bn":
            return tp.importance.BNScaleImportance()
        case "taylor":
            return tp.importance.GroupTaylorImportance()
        case _:
            return tp.importance.GroupMagnitudeImportance(p=1 if config.importance == "l1" else 2)


def _parts(graph: Any, group: Any) -> int:
    """How many equal parts the channels of a group fall into: groups of convolutions and of normalisations."""
    parts = 1
    for dependency, _ in group:
        layer = dependency.target.module
        out = graph.is_out_channel_pruning_fn(dependency.handler)
        if isinstance(layer, nn.GroupNorm):
            parts = max(parts, layer.num_groups)
        elif isinstance(layer, _ConvNd) and 1 < layer.groups < (layer.out_channels if out else layer.in_channels):
            parts = max(parts, layer.groups)
    return parts


def _kept(config: PruneConfig, module: nn.Module, graph: Any) -> set[nn.Module]:
    layers = dict(module.named_modules())
    widths = [name for name, layer in layers.items() if isinstance(layer, (_ConvNd, nn.Linear))]
    named = [name for name, layer in layers.items() if name and (name in widths or isinstance(layer, OPAQUE))]
    if not widths:
        raise InputError(f"{type(module).__name__} has no convolution or linear layer to prune", where="prune")
    kept = set(matching(named, config.keep, "prune: keep"))
    if config.layers is not None:
        chosen = matching(named, config.layers, "prune: layers")
        _refuse_opaque(layers, chosen)
        kept |= set(named) - set(chosen)
    inside = {child for layer in layers.values() if isinstance(layer, OPAQUE) for child in layer.modules()}
    return {layers[name] for name in kept} | inside | makes_outputs(graph)


def _refuse_opaque(layers: dict[str, nn.Module], chosen: Sequence[str]) -> None:
    """An `InputError` for a chosen layer whose inner widths are not pruned, or that belongs to one."""
    opaque = {name: layer for name, layer in layers.items() if isinstance(layer, OPAQUE)}
    for name in chosen:
        owner = next((owner for owner in opaque if name == owner or name.startswith(f"{owner}.")), None)
        if owner is not None:
            is_in = "is" if name == owner else f"belongs to {owner!r}, which is"
            raise InputError(
                f"{name!r} {is_in} {type(opaque[owner]).__name__}, whose {_inner(opaque[owner])} are not pruned",
                where="prune: layers",
                fix="name convolutions and linear layers, or use method: magnitude",
            )


def _inner(layer: nn.Module) -> str:
    return "heads and inner widths" if isinstance(layer, nn.MultiheadAttention) else "hidden units"


def _reasons(module: nn.Module, kept: set[nn.Module], names: dict[nn.Module, str]) -> str:
    opaque = [f"{name} ({type(layer).__name__})" for layer, name in names.items() if isinstance(layer, OPAQUE)]
    rest = [names[layer] for layer in module.modules() if layer in kept and isinstance(layer, (_ConvNd, nn.Linear))]
    told = f"kept or making the outputs: {', '.join(rest)}" if rest else "every layer is tied to one that is kept"
    return f"{told}; not prunable: {', '.join(opaque)}" if opaque else told


def _left(config: PruneConfig, groups: list[Group], ratio: float) -> dict[str, int]:
    """How many channels of each part of each group stay."""
    if (config.scope or "layer") == "global":
        every = torch.cat([group.scores.repeat(group.parts) for group in groups])
        threshold = torch.sort(every).values[min(round(ratio * len(every)), len(every) - 1)]
        shares = {group.root: max(float((group.scores >= threshold).float().mean()), LEAST) for group in groups}
    else:
        shares = {group.root: 1 - ratio for group in groups}
    left = {}
    for group in groups:
        each = group.channels // group.parts
        step = max(1, config.round_to // group.parts)
        wanted = round(shares[group.root] * each / step) * step
        left[group.root] = min(each, max(wanted, step))
    return left


def _cut(config: PruneConfig, source: nn.Module, groups: list[Group], ratio: float, examples: Split) -> nn.Module:
    pruned = copy.deepcopy(source)
    graph = dependency_graph(pruned, examples)
    for group, stay in zip(groups, _left(config, groups, ratio).values(), strict=True):
        each = group.channels // group.parts
        gone = torch.sort(group.scores, stable=True).indices[: each - stay]
        if not len(gone):
            continue
        every = sorted(int(index) + part * each for part in range(group.parts) for index in gone)
        layer = pruned.get_submodule(group.root)
        pruner = graph.get_pruner_of_module(layer)
        with quiet():
            graph.get_pruning_group(layer, pruner.prune_out_channels, every).prune()
    return pruned


def _to_budget(config: PruneConfig, source: nn.Module, groups: list[Group], examples: Split) -> nn.Module:
    """The least ratio, by bisection, at which MACs or parameters are within the budget."""
    index, amount, word = (0, config.macs, "MACs") if config.macs is not None else (1, config.params, "parameters")
    assert amount is not None  # the config demands one target
    has = cost(source, examples)[index]
    budget = amount * has if amount < 1 else amount
    if budget >= has:
        raise InputError(f"the model has {has} {word}, within {budget:.0f} already", where="prune", fix="ask for fewer")
    low, high, best = 0.0, 1.0, None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        pruned = _cut(config, source, groups, middle, examples)
        if cost(pruned, examples)[index] <= budget:
            high, best = middle, pruned
        else:
            low = middle
    if best is None:
        least = cost(_cut(config, source, groups, 1.0, examples), examples)[index]
        raise InputError(f"{budget:.0f} {word} cannot be reached: at least {least} are left", where="prune")
    return best


def _gradients(module: nn.Module, examples: Split, context: Context) -> None:
    """Gradients of the loss over the calibration examples, summed into the parameters."""
    loss = default_loss(context.train)
    with deterministic(context.seed):
        for start in range(0, len(examples), CALIBRATION_BATCH):
            inputs, labels = batch(examples, slice(start, start + CALIBRATION_BATCH))
            loss(module, inputs, labels, torch.arange(len(labels))).backward()  # type: ignore[no-untyped-call]


def _check(before: nn.Module, after: nn.Module, examples: Split) -> None:
    """The pruned module still takes the inputs and gives outputs of the same shape."""
    inputs = batch(examples, slice(0, 2))[0]
    with torch.no_grad():
        expected = [tuple(output.shape) for output in outputs(before, inputs)]
        try:
            found = [tuple(output.shape) for output in outputs(after, inputs)]
        except TRACING_ERRORS as error:
            raise lost(before, error) from error
    if found != expected:
        raise InputError(f"outputs would be {found} instead of {expected}", where="prune", fix="keep the last layers")
