"""What a module is made of: its weights, which of them a pattern names, and what each layer costs."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from weighbridge.compress.graph.forward import outputs, watchable
from weighbridge.compress.steps import Facts
from weighbridge.core.errors import InputError

WEIGHTED = (
    nn.Linear,
    nn.Bilinear,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
    _ConvNd,
)
"""Layers whose matrices and kernels are weights in the field's sense; free-standing parameters are not."""
LEAST_REACH = 0.1
"""Least share of what was asked for that a technique must reach."""


@dataclass(frozen=True)
class Weight:
    """One matrix or kernel of a module: a parameter of two or more axes."""

    name: str
    """The parameter's name, e.g. `features.0.weight` or `lstm.weight_ih_l0`."""
    layer: str
    """The name of the layer that owns it, e.g. `features.0`."""
    tensor: nn.Parameter


@dataclass(frozen=True)
class Call:
    """How one layer was called on one example."""

    macs: int
    """Multiply-accumulates of the layer's own weights, over all its calls."""
    inputs: int
    """Positions (pixels, time steps) that it read in one call."""
    outputs: int
    """Positions that it wrote in one call."""


def weights(module: nn.Module) -> list[Weight]:
    """Every matrix and kernel, in the module's order; one that two layers tie is listed once."""
    found = []
    for name, tensor in module.named_parameters():
        layer = name.rpartition(".")[0]
        if tensor.ndim >= 2 and isinstance(module.get_submodule(layer), WEIGHTED):
            found.append(Weight(name, layer, tensor))
    return found


def choose_weights(
    module: nn.Module, layers: Sequence[str] | None, keep: Sequence[str], technique: str
) -> list[Weight]:
    """The weights whose layer or parameter `layers` names (all where it is None) and `keep` does not.

    A pattern may name a layer (`features.*`) or a single parameter (`lstm.weight_hh_l0`). An `InputError` where all
    were asked for and what layers own is under a tenth of the model: the step would do next to nothing.
    """
    every = weights(module)
    if not every:
        raise InputError(f"{type(module).__name__} has no matrix or kernel to work on", where=technique)
    names = sorted({weight.layer for weight in every if weight.layer} | {weight.name for weight in every})
    chosen = set(names if layers is None else matching(names, layers, f"{technique}: layers"))
    kept = set(matching(names, keep, f"{technique}: keep"))
    found = [w for w in every if chosen & {w.layer, w.name} and not kept & {w.layer, w.name}]
    if not found:
        raise InputError("no layer is left to work on", where=f"{technique}: keep", fix=f"layers: {_listed(names)}")
    if layers is None:
        _refuse_little(module, every, found, technique)
    return found


def _refuse_little(module: nn.Module, every: Sequence[Weight], found: Sequence[Weight], technique: str) -> None:
    """What is kept by name was not asked for; what no layer owns was."""
    owned = {weight.name for weight in every}
    beyond = {name: item.numel() for name, item in module.named_parameters() if item.ndim >= 2 and name not in owned}
    reached = sum(weight.tensor.numel() for weight in found)
    total = reached + sum(beyond.values())
    if reached < LEAST_REACH * total:
        largest = max(beyond, key=lambda name: beyond[name])
        raise InputError(
            f"{technique} reaches {reached} of {total} weights ({reached / total:.1%}): {largest!r} and "
            f"{len(beyond) - 1} more are not the weight of a layer that it knows",
            where=technique,
            fix="compute with nn.Linear, nn.Conv and the like, or name the few layers meant under 'layers'",
        )


def matching(names: Sequence[str], patterns: Sequence[str], where: str) -> list[str]:
    """The names that any of the shell-style patterns matches, in the order of `names`.

    A pattern that matches nothing is an `InputError` with what is there and the closest name.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            close = difflib.get_close_matches(pattern, names, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"layers: {_listed(names)}"
            raise InputError(f"{pattern!r} matches no layer", where=where, fix=fix)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _listed(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def calls(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Call]:
    """What each weighted layer did on one example: run `module` on `inputs`, each (1, …), and watch.

    Layers that were not called (or whose owner reads their weights directly, as attention does) are missing.
    """
    seen: dict[str, Call] = {}
    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, WEIGHTED):

            def watch(layer: nn.Module, given: tuple[Any, ...], found: Any, name: str = name) -> None:
                one = _call(layer, given[0], found[0] if isinstance(found, tuple) else found)
                before = seen.get(name)
                seen[name] = Call(one.macs + before.macs, one.inputs, one.outputs) if before else one

            handles.append(layer.register_forward_hook(watch))
    try:
        with torch.no_grad(), watchable(module):
            outputs(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _call(layer: nn.Module, given: Tensor, found: Tensor) -> Call:
    if isinstance(layer, _ConvNd):
        into, out = math.prod(given.shape[2:]), math.prod(found.shape[2:])
        return Call(layer.weight.numel() * (into if isinstance(layer, _ConvTransposeNd) else out), into, out)
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return Call(0, given.numel(), given.numel())
    # All axes but the last are positions: the batch is one example, wherever its axis stands.
    positions = given.numel() // given.shape[-1]
    # Attention also multiplies positions with positions: scores, and the weighted sum by them.
    pairs = 2 * positions**2 * layer.embed_dim if isinstance(layer, nn.MultiheadAttention) else 0
    return Call(_own(layer) * positions + pairs, positions, positions)


def _own(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.ndim >= 2)


def large_tables(module: nn.Module, called: Iterable[str], part: float) -> tuple[str, ...]:
    """Those of the called layers that are embeddings with so large a part of all weights."""
    total = sum(parameter.numel() for parameter in module.parameters())
    found = ((name, module.get_submodule(name)) for name in called)
    tables = ((name, layer) for name, layer in found if isinstance(layer, nn.Embedding))
    return tuple(name for name, layer in tables if layer.weight.numel() >= part * total)


def row(layer: str, shape: Iterable[int], before: tuple[int, int, int], after: tuple[int, int, int]) -> Facts:
    """One row of what a step will do to a layer; `before` and `after` hold parameters, MACs and bytes."""
    columns: Facts = {"layer": layer, "shape": "x".join(map(str, shape))}
    for name, was, becomes in zip(("params", "macs", "bytes"), before, after, strict=True):
        columns[name] = was
        columns[f"{name} after"] = becomes
    return columns
