"""Groups of channels that must be cut together, and which of them are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from weighbridge.compress.graph.layers import matching
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.techniques.prune.tracing import (
    OPAQUE,
    TRACING_ERRORS,
    dependency_graph,
    makes_outputs,
    quiet,
    untraceable,
)
from weighbridge.core.errors import InputError
from weighbridge.data import Split


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that go together."""

    root: str
    """Name of the layer whose outputs they are."""
    channels: int
    parts: int
    """Equal parts (of a grouped convolution or normalisation) that must lose the same channels."""
    scores: Tensor
    """Importance by channel within a part, scaled to a mean of 1."""
    members: tuple[str, ...] = ()
    """Names of the layers that lose them, the root among them."""


def channel_groups(config: PruneConfig, module: nn.Module, examples: Split) -> list[ChannelGroup]:
    """Groups whose channels may be cut, the least important channel first in each; what `keep` names is left out."""
    graph = dependency_graph(module, examples)
    names = {layer: name for name, layer in module.named_modules()}
    kept = _kept(config, module, graph)
    importance = _importance(config)
    found = []
    place = {layer: index for index, layer in enumerate(names)}
    groups = _every_group(graph, kept, module)
    for group in sorted(groups, key=lambda group: place[group[0].dep.target.module]):
        root = group[0].dep.target.module
        if _holds_grouped_transpose(group):
            continue
        try:
            with quiet():
                scores = importance(group)
        except TRACING_ERRORS as error:
            raise untraceable(module, error, names[root]) from error
        if scores is None:
            raise InputError(
                f"no batch normalisation follows {names[root]!r}, so that its channels have no scale",
                where="prune: importance",
                fix="keep that layer, or use another importance",
            )
        parts = _parts(graph, group)
        scores = scores.detach().reshape(parts, -1).mean(0)
        members = tuple(dict.fromkeys(names[layer] for item, _ in group if (layer := item.target.module) in names))
        scaled = scores / scores.mean().clamp_min(1e-12)
        found.append(ChannelGroup(names[root], len(scores) * parts, parts, scaled, members))
    if not found:
        raise InputError("no layer's channels can be pruned", where="prune", fix=_reasons(module, kept, names))
    return found


def _holds_grouped_transpose(group: Any) -> bool:
    """Whether channels reach a grouped transposed convolution: its weight (in, out / groups, …) has no rows of them."""
    layers = (dependency.target.module for dependency, _ in group)
    return any(isinstance(layer, _ConvTransposeNd) and layer.groups > 1 for layer in layers)


def _every_group(graph: Any, kept: set[nn.Module], module: nn.Module) -> list[Any]:
    try:
        with quiet():
            return list(graph.get_all_groups(ignored_layers=list(kept), root_module_types=(_ConvNd, nn.Linear)))
    except TRACING_ERRORS as error:
        raise untraceable(module, error) from error


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
                f"{name!r} {is_in} {type(opaque[owner]).__name__}, whose {inner(opaque[owner])} are not pruned",
                where="prune: layers",
                fix="name convolutions and linear layers, or use method: magnitude",
            )


def inner(layer: nn.Module) -> str:
    """What structured pruning leaves alone inside a layer of this kind."""
    return "heads and inner widths" if isinstance(layer, nn.MultiheadAttention) else "hidden units"


def _reasons(module: nn.Module, kept: set[nn.Module], names: dict[nn.Module, str]) -> str:
    opaque = [f"{name} ({type(layer).__name__})" for layer, name in names.items() if isinstance(layer, OPAQUE)]
    rest = [names[layer] for layer in module.modules() if layer in kept and isinstance(layer, (_ConvNd, nn.Linear))]
    told = f"kept or making the outputs: {', '.join(rest)}" if rest else "every layer is tied to one that is kept"
    return f"{told}; not prunable: {', '.join(opaque)}" if opaque else told
