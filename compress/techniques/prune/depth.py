"""Remove whole layers: what a removed one would have got is passed on as it is.

Those can go that give the shape they get: residual blocks, the layers of a transformer, a convolution or a linear
layer as wide as the one before it, with the normalisation and activation after it. Time that does not shrink with
channels, a kernel's start and a pass over memory, goes with the layer. Which go first is found greedily, as by Song et
al. ("SLEB", ICML 2024, arXiv:2402.09025): the one without which the outputs change least, of those that are left.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from weighbridge.compress.graph.forward import outputs, watchable
from weighbridge.compress.graph.layers import matching
from weighbridge.compress.steps import Context, Facts
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.techniques.prune.structured import cost, reestimate_batchnorm
from weighbridge.compress.techniques.prune.tracing import TRACING_ERRORS
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

RANKED_ON = 64
"""Calibration examples whose outputs are compared."""
REPEATED = (nn.Sequential, nn.ModuleList)
"""Where a network keeps layers that follow each other."""
PLAIN = (nn.Linear, _ConvNd)
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Skipped(nn.Module):
    """Stands where a layer was: it gives the first of what it gets."""

    def __init__(self, *, boxed: bool = False) -> None:
        super().__init__()
        self.boxed = boxed

    def forward(self, *given: Tensor, **named: Tensor) -> Tensor | tuple[Tensor]:
        """The first value; in a tuple where the layer gave one."""
        first = given[0] if given else next(iter(named.values()))
        return (first,) if self.boxed else first


@dataclass(frozen=True)
class Removable:
    """A layer that can go."""

    name: str
    followers: tuple[str, ...] = ()
    """Its normalisation and activation, which go with it."""
    boxed: bool = False
    """Whether it gives a tuple of one tensor."""

    def holds(self, names: Sequence[str]) -> bool:
        """Whether any of the named modules goes with it."""
        own = (self.name, *self.followers)
        return any(name == mine or name.startswith(f"{mine}.") for name in names for mine in own)


@dataclass(frozen=True)
class _Call:
    """How a module was called in one forward pass."""

    same: bool
    """Whether it gave one tensor, of the shape and type of its first."""
    boxed: bool
    """Whether it gave it in a tuple."""
    result: int
    """Where its values lie."""


def prune_layers(config: PruneConfig, module: nn.Module, context: Context) -> nn.Module:
    """A copy of `module` without the layers that the config asks for.

    Raises `InputError` where no layer can go, or a pattern names none of those that can.
    """
    assert context.data.calibration is not None  # the contract of `Context.data`
    examples = context.data.calibration
    chosen = candidates(config, module, examples)
    if config.ratio is not None:
        count = max(1, round(config.ratio * len(chosen)))
        chosen = _least_missed(module, chosen, count, examples.take(slice(0, RANKED_ON)))
    few = examples.take(slice(0, 2))
    if _shapes(module, few, chosen) != _shapes(module, few):
        names = ", ".join(item.name for item in chosen)
        raise InputError(f"the model does not run without {names}", where="prune: layers", fix="keep one of them")
    return without(module, chosen)


def candidates(config: PruneConfig, module: nn.Module, examples: Split) -> list[Removable]:
    """The removable layers that the config leaves, in the order in which they are called."""
    found = removable(module, examples)
    names = [item.name for item in found]
    if not names:
        raise InputError(
            f"no layer of {type(module).__name__} can be removed: none that follows others in a Sequential or "
            "ModuleList gives the shape it gets",
            where="prune: method",
            fix="use method: structured",
        )
    chosen = names if config.layers is None else matching(names, config.layers, "prune: layers")
    kept = matching([name for name, _ in module.named_modules() if name], config.keep, "prune: keep")
    left = [item for item in found if item.name in chosen and not item.holds(kept)]
    if not left:
        raise InputError("no layer is left to remove", where="prune: keep", fix=f"removable: {', '.join(names)}")
    return left


def removable(module: nn.Module, examples: Split) -> list[Removable]:
    """Layers without which the module still runs and gives the same shapes; never one that makes an output."""
    few = examples.take(slice(0, 2))
    shapes = [item.shape for item in _outputs(module, few)]
    found = _inside(module, "", _passing(module, few))
    return [item for item in found if _shapes(module, few, [item]) == shapes]


def without(module: nn.Module, gone: Sequence[Removable]) -> nn.Module:
    """A copy of `module` in which layers pass on what they get; names of all others stay."""
    shorter = copy.deepcopy(module)
    _skip(shorter, gone)
    return shorter


def depth_facts(before: nn.Module, after: nn.Module, examples: Split) -> Facts:
    """The layers that went, parameters and MACs before and after; an `InvariantError` where parameters did not fall."""
    (macs, params), (macs_after, params_after) = cost(before, examples), cost(after, examples)
    if params_after >= params or macs_after > macs:
        raise InvariantError(
            f"MACs went from {macs} to {macs_after}, parameters from {params} to {params_after}", where="prune"
        )
    gone = [name for name, layer in after.named_modules() if isinstance(layer, Skipped)]
    weighted = [name for name in gone if next(before.get_submodule(name).parameters(), None) is not None]
    removed = [name for name in weighted if not isinstance(before.get_submodule(name), NORMS)]
    return {"removed": removed, "macs": [macs, macs_after], "params": [params, params_after]}


def _inside(module: nn.Module, path: str, passing: Mapping[str, _Call]) -> list[Removable]:
    """Removable layers under a module, outermost first: a block, or else what it consists of."""
    found: list[Removable] = []
    children = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
    for index, (name, child) in enumerate(children):
        if name not in passing or not _is_layer(child, module):
            found += _inside(child, name, passing)
            continue
        followers = _followers(children[index + 1 :], passing) if isinstance(child, PLAIN) else ()
        found.append(Removable(name, followers, passing[name].boxed))
    return found


def _is_layer(child: nn.Module, parent: nn.Module) -> bool:
    """Whether a child is one of several that follow each other: a block in a list, or a plain layer in a sequence."""
    if isinstance(child, (*REPEATED, *NORMS)) or next(child.parameters(), None) is None:
        return False
    # What follows a bare layer in a ModuleList is not known.
    return isinstance(parent, nn.Sequential if isinstance(child, PLAIN) else REPEATED)


def _followers(following: Sequence[tuple[str, nn.Module]], passing: Mapping[str, _Call]) -> tuple[str, ...]:
    """The normalisation and activation after a plain layer."""
    found = []
    for name, child in following:
        weightless = next(child.parameters(), None) is None
        if name not in passing or not (weightless or isinstance(child, NORMS)):
            break
        found.append(name)
    return tuple(found)


def _passing(module: nn.Module, few: Split) -> dict[str, _Call]:
    """Inner modules that are called once, give what they get in shape, and make no output."""
    seen: dict[str, list[_Call]] = {}
    alive: list[Tensor] = []  # so that no later tensor takes the place of an earlier one
    handles = []
    for name, layer in module.named_modules():

        def watch(_: nn.Module, given: Any, named: Any, gave: Any, name: str = name) -> None:
            seen.setdefault(name, []).append(_call([*given, *named.values()], gave, alive))

        handles.append(layer.register_forward_hook(watch, with_kwargs=True))
    try:
        found = _outputs(module, few)
    finally:
        for handle in handles:
            handle.remove()
    made = {tensor.untyped_storage().data_ptr() for tensor in found}
    once = {name: called[0] for name, called in seen.items() if len(called) == 1}
    return {name: call for name, call in once.items() if call.same and call.result not in made}


def _call(given: Sequence[Any], gave: Any, alive: list[Tensor]) -> _Call:
    first = given[0] if given else None
    boxed = isinstance(gave, tuple) and len(gave) == 1
    result = gave[0] if boxed else gave
    if not isinstance(first, Tensor) or not isinstance(result, Tensor):
        return _Call(same=False, boxed=boxed, result=0)
    alive.append(result)
    same = first.shape == result.shape and first.dtype == result.dtype
    return _Call(same, boxed, result.untyped_storage().data_ptr())


def _outputs(module: nn.Module, examples: Split) -> tuple[Tensor, ...]:
    with torch.no_grad(), watchable(module):
        return outputs(module, batch(examples, slice(0, len(examples)))[0])


def _skip(module: nn.Module, gone: Sequence[Removable]) -> dict[str, nn.Module]:
    """Let layers of the module itself pass on what they get; those that stood there, by name."""
    stood = {}
    for item in gone:
        for name in (item.name, *item.followers):
            stood[name] = module.get_submodule(name)
            module.set_submodule(name, Skipped(boxed=item.boxed).train(module.training))
    return stood


@contextmanager
def _skipping(module: nn.Module, gone: Sequence[Removable]) -> Iterator[None]:
    """Within, the module itself is without some layers: a large one is not copied to be tried."""
    stood = _skip(module, gone)
    try:
        yield
    finally:
        for name, layer in stood.items():
            module.set_submodule(name, layer)


def _shapes(module: nn.Module, few: Split, gone: Sequence[Removable] = ()) -> list[torch.Size] | None:
    """Shapes of the outputs without some layers; None where the module does not run without them."""
    try:
        with _skipping(module, gone):
            return [item.shape for item in _outputs(module, few)]
    except TRACING_ERRORS:
        return None


def _least_missed(module: nn.Module, found: Sequence[Removable], count: int, examples: Split) -> list[Removable]:
    """`count` of the layers, each the one of those left without which the outputs change least."""
    tried = copy.deepcopy(module)  # whose normalisations are estimated anew for each
    reference = _outputs(module, examples)
    gone: list[Removable] = []
    while len(gone) < count:
        left = [item for item in found if item not in gone]
        changes = [_change(tried, [*gone, item], examples, reference) for item in left]
        gone.append(left[min(range(len(left)), key=lambda index: (changes[index], index))])
    return gone


def _change(module: nn.Module, gone: Sequence[Removable], examples: Split, reference: tuple[Tensor, ...]) -> float:
    """Squared error of the outputs without some layers, relative to `reference`; infinite where they are not finite."""
    try:
        with _skipping(module, gone):
            reestimate_batchnorm(module, examples)
            found = _outputs(module, examples)
    except TRACING_ERRORS:
        return math.inf
    pairs = [(ours.double(), theirs.double()) for ours, theirs in zip(found, reference, strict=True)]
    parts = [float((ours - theirs).square().sum() / theirs.square().sum().clamp_min(1e-12)) for ours, theirs in pairs]
    return sum(parts) if all(map(math.isfinite, parts)) else math.inf


__all__ = ["Removable", "Skipped", "candidates", "depth_facts", "prune_layers", "removable", "without"]
