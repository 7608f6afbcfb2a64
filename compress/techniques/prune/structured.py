"""Remove whole channels, and with each of them what every connected layer has of it.

Which layers are connected (residual sums, concatenations, depthwise convolutions, flattening) is found by
torch-pruning's dependency graph (Fang et al., "DepGraph", CVPR 2023, arXiv:2301.12900); how many channels go and
which is decided here, so that the remaining widths are multiples that the runtime's kernels like.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.graph.layers import LEAST_REACH, calls
from weighbridge.compress.steps import Context, Facts
from weighbridge.compress.techniques.prune.channel_groups import ChannelGroup, channel_groups, inner
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.techniques.prune.tracing import (
    OPAQUE,
    TRACING_ERRORS,
    UnfollowedError,
    dependency_graph,
    quiet,
    reason_of,
    untraceable,
)
from weighbridge.compress.training.losses import default_loss
from weighbridge.compress.training.objective import batch, deterministic
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

LEAST = 0.1
"""At least this share of a layer's channels stays when channels are ranked over all layers."""
HALVINGS = 12
"""Bisections towards a MACs or parameter budget: to 1/4096 of the channels."""
CALIBRATION_BATCH = 64


def prune_channels(
    config: PruneConfig, module: nn.Module, context: Context, ratio: float | None = None
) -> tuple[nn.Module, dict[str, str]]:
    """A copy of `module` with fewer channels: by `ratio` where it is given, else towards the config's own target; and
    layer → reason for those that stay whole because their channels cannot be followed.

    Raises `InputError` where a pattern names no layer, where no layer can be pruned, or where channels cannot be
    followed through a layer that was named.
    """
    assert context.data.calibration is not None  # the contract of `Context.data`
    examples = context.data.calibration
    source = copy.deepcopy(module).eval()
    if config.importance == "taylor":
        _gradients(source, examples, context)
    groups, left = channel_groups(config, source, examples), dict[str, str]()
    try:
        pruned = _narrowed(config, source, groups, ratio, examples)
    except UnfollowedError as error:
        groups, left = _followed_alone(config, source, groups, examples)
        if not left:
            raise
        if config.layers is not None or not groups:
            raise untraceable(source, ValueError(next(iter(left.values()))), next(iter(left))) from error
        pruned = _narrowed(config, source, groups, ratio, examples)
    for parameter in pruned.parameters():
        parameter.grad = None
    return pruned, left


def followed(config: PruneConfig, module: nn.Module, examples: Split) -> list[ChannelGroup]:
    """Groups of channels that a recipe can cut: all, where a trial cut works, else each that works by itself."""
    source = copy.deepcopy(module).eval()
    groups = channel_groups(config, source, examples)
    if _refusal(config, source, groups, examples) is None:
        return groups
    return _followed_alone(config, source, groups, examples)[0]


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


def width_facts(before: nn.Module, after: nn.Module, examples: Split, ratio: float | None = None) -> Facts:
    """Channels by layer, parameters and MACs before and after; an `InvariantError` where MACs did not fall.

    Under a tenth of what `ratio` asked for is an `InvariantError` too.
    """
    (macs, params), (macs_after, params_after) = cost(before, examples), cost(after, examples)
    if macs_after >= macs or params_after >= params:
        raise InvariantError(
            f"MACs went from {macs} to {macs_after}, parameters from {params} to {params_after}", where="prune"
        )
    asked = 0.0 if ratio is None else 1 - (1 - ratio) ** 2
    gone = (params - params_after) / params
    if gone < LEAST_REACH * asked:
        raise InvariantError(
            f"removed {gone:.2%} of the parameters; ratio {ratio:g} asks for about {asked:.0%}",
            where="prune: ratio",
            fix="lower round_to or keep fewer layers; layers tied to an output or an unknown operator stay whole",
        )
    widths = {}
    for name, layer in before.named_modules():
        was, now = _width(layer), _width(after.get_submodule(name))
        if was is not None and was != now:
            widths[name] = [was, now]
    facts: Facts = {"channels": widths, "macs": [macs, macs_after], "params": [params, params_after]}
    left = {
        name: f"{type(layer).__name__}: {inner(layer)} are not pruned"
        for name, layer in before.named_modules()
        if isinstance(layer, OPAQUE)
    }
    return {**facts, "left_alone": left} if left else facts


def _width(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, _ConvNd) else None


def _left(config: PruneConfig, groups: list[ChannelGroup], ratio: float) -> dict[str, int]:
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


def _cut(
    config: PruneConfig, source: nn.Module, groups: list[ChannelGroup], ratio: float, examples: Split
) -> nn.Module:
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
        try:
            with quiet():
                graph.get_pruning_group(layer, pruner.prune_out_channels, every).prune()
        except TRACING_ERRORS as error:
            raise untraceable(source, error, ", ".join(group.members)) from error
    # torch-pruning gives each layer that it cuts new parameters, which would train.
    frozen = {name for name, parameter in source.named_parameters() if not parameter.requires_grad}
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad = name not in frozen
    return pruned


def _to_budget(config: PruneConfig, source: nn.Module, groups: list[ChannelGroup], examples: Split) -> nn.Module:
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


def _narrowed(
    config: PruneConfig, source: nn.Module, groups: list[ChannelGroup], ratio: float | None, examples: Split
) -> nn.Module:
    """The groups cut as far as was asked; `UnfollowedError` where what is left does not take the inputs."""
    wanted = ratio if ratio is not None else config.ratio
    if wanted is not None:
        pruned = _cut(config, source, groups, wanted, examples)
    else:
        pruned = _to_budget(config, source, groups, examples)
    try:
        _check(source, pruned, examples)
    except TRACING_ERRORS as error:
        raise untraceable(source, error) from error
    return pruned


def _followed_alone(
    config: PruneConfig, source: nn.Module, groups: list[ChannelGroup], examples: Split
) -> tuple[list[ChannelGroup], dict[str, str]]:
    """The groups that can lose channels by themselves; and names of the others, with what came of it.

    Attention that divides its width by a number of heads of its own takes no narrower one.
    """
    refused = {group.root: _refusal(config, source, [group], examples) for group in groups}
    members = {group.root: ", ".join(group.members) for group in groups}
    found = [group for group in groups if refused[group.root] is None]
    return found, {members[root]: reason for root, reason in refused.items() if reason is not None}


def _refusal(config: PruneConfig, source: nn.Module, groups: list[ChannelGroup], examples: Split) -> str | None:
    """What happens where half of these channels go; None where all is well."""
    try:
        _check(source, _cut(config, source, groups, 0.5, examples), examples)
    except InputError as error:
        return str(error.__cause__ or error.what)
    except TRACING_ERRORS as error:
        return reason_of(error)
    return None


def _check(before: nn.Module, after: nn.Module, examples: Split) -> None:
    """The pruned module still takes the inputs and gives outputs of the same shape."""
    inputs = batch(examples, slice(0, 2))[0]
    with torch.no_grad():
        expected = [tuple(output.shape) for output in outputs(before, inputs)]
        found = [tuple(output.shape) for output in outputs(after, inputs)]
    if found != expected:
        raise InputError(f"outputs would be {found} instead of {expected}", where="prune", fix="keep the last layers")
