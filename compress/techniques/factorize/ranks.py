"""The rank of each layer: asked for, by energy, or within a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from weighbridge.compress.graph.layers import WEIGHTED, Call, calls, matching
from weighbridge.compress.techniques.factorize.config import FactorizeConfig, Layer
from weighbridge.compress.techniques.factorize.lowrank import (
    CONVOLUTIONS,
    Convolution,
    Ranks,
    energy_ranks,
    form_of,
    full_ranks,
    spectra,
)
from weighbridge.core.errors import InputError, InvariantError

BISECTIONS = 60


@dataclass(frozen=True)
class RankChoice:
    """A layer that can be factorized, with what it costs now and the singular values behind its ranks."""

    name: str
    layer: Layer
    call: Call
    spectra: tuple[Tensor, ...]

    def pays(self, ranks: Ranks) -> bool:
        """Whether parameters and MACs both fall."""
        weight = self.layer.weight
        macs = ranks.macs(weight, self.call.inputs, self.call.outputs)
        return ranks.params(weight) < weight.numel() and macs < weight.numel() * self.call.outputs

    def at_energy(self, method: Literal["svd", "tucker2"], energy: float) -> Ranks:
        """The smallest ranks that keep this part of the layer's energy."""
        return Ranks(form_of(self.layer, method), energy_ranks(self.spectra, energy))


def ranks_of_layers(
    config: FactorizeConfig, module: nn.Module, inputs: Mapping[str, Tensor]
) -> list[tuple[RankChoice, Ranks]]:
    """Each layer that can be factorized with the ranks that it gets, in the order of the network."""
    candidates = list(_candidates(config, module, inputs))
    if config.params is not None:
        plan = _within_budget(config, candidates, params(module))
    else:
        plan = [(candidate, _ranks(config, candidate)) for candidate in candidates]
    if config.layers is None:
        paying = [(candidate, ranks) for candidate, ranks in plan if candidate.pays(ranks)]
        if not paying:
            raise InvariantError(
                "no layer would have fewer parameters and fewer multiply-accumulates: factorizing changes nothing",
                where="factorize",
                fix="choose a smaller rank",
            )
        return paying
    for candidate, ranks in plan:
        if config.params is None and not candidate.pays(ranks):
            shown = " and ".join(map(str, ranks.values))
            raise InvariantError(
                f"layer {candidate.name!r} would not get smaller at rank {shown}",
                where="factorize",
                fix="choose a smaller rank, or leave the layer out",
            )
    return [(candidate, ranks) for candidate, ranks in plan if candidate.pays(ranks)]


def _candidates(config: FactorizeConfig, module: nn.Module, inputs: Mapping[str, Tensor]) -> Iterator[RankChoice]:
    layers = {name: layer for name, layer in module.named_modules() if name and isinstance(layer, WEIGHTED)}
    kept = set(matching(list(layers), config.keep, "factorize: keep"))
    named = config.layers is not None
    chosen = matching(list(layers), config.layers, "factorize: layers") if config.layers is not None else list(layers)
    cost = calls(module, inputs)
    above: dict[str, int] = {}
    fit = False
    for name in chosen:
        reason = _unsupported(name, layers, cost)
        if name in kept or (reason and not named):
            continue
        layer = layers[name]
        if reason or not isinstance(layer, nn.Linear | Convolution):
            raise InputError(f"layer {name!r} {reason}", where="factorize: layers", fix="name it in 'keep'")
        full = min(full_ranks(layer, config.method))
        if config.rank is not None and config.rank > full:
            above[name] = full
            if not named:
                continue
            raise _above_full(config.rank, above)
        fit = True
        yield RankChoice(name, layer, cost[name], spectra(layer, config.method))
    if config.rank is not None and above and not fit:
        raise _above_full(config.rank, above)


def _above_full(rank: int, full: Mapping[str, int]) -> InputError:
    """Says which layer comes closest."""
    name = max(full, key=lambda name: full[name])
    return InputError(f"rank {rank} is above the full rank {full[name]} of layer {name!r}", where="factorize: rank")


def _unsupported(name: str, layers: Mapping[str, nn.Module], cost: Mapping[str, Call]) -> str:
    """Why a layer cannot be factorized, as the end of a sentence; empty where it can."""
    layer = layers[name]
    owner = layers.get(name.rpartition(".")[0])
    if isinstance(owner, nn.MultiheadAttention):
        return "belongs to nn.MultiheadAttention, which reads its weight directly, and cannot be factorized"
    if isinstance(layer, _ConvNd) and layer.groups > 1:
        return f"is a convolution of {layer.groups} groups, whose kernels have no inputs in common to factorize"
    if not isinstance(layer, (nn.Linear, *CONVOLUTIONS)):
        return f"is {type(layer).__name__}; linear layers and plain convolutions can be factorized"
    if name not in cost:
        return "is not called on the data, and cannot be factorized"
    return ""


def _ranks(config: FactorizeConfig, candidate: RankChoice) -> Ranks:
    form = form_of(candidate.layer, config.method)
    full = full_ranks(candidate.layer, config.method)
    if config.rank is not None:
        return Ranks(form, tuple(config.rank for _ in full))
    if config.ratio is not None:
        return Ranks(form, tuple(max(1, round(config.ratio * most)) for most in full))
    assert config.energy is not None
    return candidate.at_energy(config.method, config.energy)


def _within_budget(
    config: FactorizeConfig, candidates: Sequence[RankChoice], params: int
) -> list[tuple[RankChoice, Ranks]]:
    """Ranks of the largest common energy whose parameters fit; layers that do not pay at theirs stay whole."""
    assert config.params is not None
    budget = round(config.params * params) if config.params < 1 else round(config.params)

    def plan(energy: float) -> tuple[int, list[tuple[RankChoice, Ranks]]]:
        ranked = [(candidate, candidate.at_energy(config.method, energy)) for candidate in candidates]
        paying = [(candidate, ranks) for candidate, ranks in ranked if candidate.pays(ranks)]
        saved = sum(
            candidate.layer.weight.numel() - ranks.params(candidate.layer.weight) for candidate, ranks in paying
        )
        return params - saved, paying

    if params <= budget:
        raise InvariantError(
            f"the model has {params} parameters already, within {budget}: factorizing changes nothing",
            where="factorize: params",
        )
    least, best = plan(0.0)
    if least > budget:
        raise InputError(
            f"even at rank 1 the model has {least} parameters, more than {budget}",
            where="factorize: params",
            fix="raise the budget, or let more layers be factorized",
        )
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found, ranked = plan(middle)
        if found <= budget:
            low, best = middle, ranked
        else:
            high = middle
    return best


def params(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
