"""Factorize: replace a layer by a chain of thinner ones that computes nearly the same.

Linear layers and 1x1 convolutions become two by the singular value decomposition; larger convolutions become a
k x k convolution with few outputs and a 1x1 (`svd`), or 1x1, k x k and 1x1 (`tucker2`, Kim et al., 2016,
arXiv:1511.06530). Unless layers are named, only those are replaced whose parameters and multiply-accumulates fall.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.graph.layers import WEIGHTED, Call, calls, matching, row
from weighbridge.compress.steps import Context, Facts, Step, StepConfig, Subject
from weighbridge.compress.techniques.factorize.lowrank import (
    CONVOLUTIONS,
    Convolution,
    Ranks,
    energy_ranks,
    factors,
    form_of,
    full_ranks,
    spectra,
)
from weighbridge.compress.techniques.prune.config import Amount
from weighbridge.compress.training.finetune import facts_of, finetune
from weighbridge.compress.training.loop import Finetune, batch
from weighbridge.core.errors import InputError, InvariantError

Layer = nn.Linear | Convolution
BISECTIONS = 60


class FactorizeConfig(StepConfig):
    """Replace layers by low-rank chains. Exactly one of `ratio`, `energy`, `rank` and `params` chooses the ranks."""

    method: Literal["svd", "tucker2"] = "svd"
    """Form of convolutions with more than one kernel position; all else is factorized by `svd`."""
    ratio: float | None = Field(default=None, gt=0, lt=1)
    """Rank as a part of each layer's full rank."""
    energy: float | None = Field(default=None, gt=0, lt=1)
    """Part of each layer's squared singular values to keep."""
    rank: int | None = Field(default=None, ge=1)
    """The same rank for all layers chosen."""
    params: Amount | None = None
    """Parameters that may be left: a share of the model's (0.5) or a count (`300k`). All layers keep the same
    energy, as much as fits."""
    layers: list[str] | None = None
    """Names or patterns of layers to factorize; where not set, all for which it pays."""
    keep: list[str] = Field(default_factory=list)
    """Names or patterns of layers to leave alone."""
    finetune: Finetune | None = None
    """Train the model after factorizing."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = [name for name in ("ratio", "energy", "rank", "params") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of ratio, energy, rank, params; found {', '.join(given) or 'none'}")
        return self


@dataclass(frozen=True)
class _Candidate:
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


def factorize(config: FactorizeConfig, subject: Subject, context: Context) -> tuple[Subject, Facts]:
    """Replace the layers chosen, fine-tune, and report ranks, kept energy and parameters of each.

    Raises `InputError` naming the layer for a pattern that matches nothing, a kind of layer that cannot be
    factorized, a rank above full and a budget that cannot be met; `InvariantError` where no layer gets smaller.
    """
    inputs, _ = batch(context.data.train, slice(0, 1))
    plan = _plan(config, subject.module, inputs)
    module = copy.deepcopy(subject.module).eval()
    layers = {}
    for candidate, ranks in plan:
        chain = factors(candidate.layer, ranks)
        layers[candidate.name] = _layer_facts(candidate, ranks, chain)
        module.set_submodule(candidate.name, chain)
    _leave_fused_path(module, {candidate.name for candidate, _ in plan})
    _check_forward(module, inputs, [candidate.name for candidate, _ in plan])
    facts: Facts = {
        "layers": layers,
        "params": {"before": _params(subject.module), "after": _params(module)},
    }
    if config.finetune is not None:
        constraints = subject.constraints
        facts |= facts_of(finetune(module, config.finetune, context, constraints=constraints, stage="factorize"))
    return replace(subject, module=module), facts


def refuses(_: FactorizeConfig, before: Sequence[Step]) -> str | None:
    """The factors of a sparse or shared matrix are neither."""
    for step in before:
        if step.name == "share" or (step.name == "prune" and getattr(step.config, "method", "") != "structured"):
            return f"the factors of a weight do not keep what {step.name} did to it: put factorize before {step.name}"
    return None


def explain(config: FactorizeConfig, subject: Subject, context: Context) -> list[Facts]:
    """Parameters, MACs and bytes of every layer that will be replaced, as rows; nothing is trained."""
    inputs, _ = batch(context.data.train, slice(0, 1))
    rows = []
    for candidate, ranks in _plan(config, subject.module, inputs):
        weight, call = candidate.layer.weight, candidate.call
        bias = 0 if candidate.layer.bias is None else candidate.layer.bias.numel()
        was, becomes = weight.numel() + bias, ranks.params(weight) + bias
        macs = ranks.macs(weight, call.inputs, call.outputs)
        rows.append(row(candidate.name, weight.shape, (was, call.macs, 4 * was), (becomes, macs, 4 * becomes)))
    return rows


def _plan(config: FactorizeConfig, module: nn.Module, inputs: Mapping[str, Tensor]) -> list[tuple[_Candidate, Ranks]]:
    candidates = list(_candidates(config, module, inputs))
    if config.params is not None:
        plan = _within_budget(config, candidates, _params(module))
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


def _candidates(config: FactorizeConfig, module: nn.Module, inputs: Mapping[str, Tensor]) -> Iterator[_Candidate]:
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
        yield _Candidate(name, layer, cost[name], spectra(layer, config.method))
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


def _ranks(config: FactorizeConfig, candidate: _Candidate) -> Ranks:
    form = form_of(candidate.layer, config.method)
    full = full_ranks(candidate.layer, config.method)
    if config.rank is not None:
        return Ranks(form, tuple(config.rank for _ in full))
    if config.ratio is not None:
        return Ranks(form, tuple(max(1, round(config.ratio * most)) for most in full))
    assert config.energy is not None
    return candidate.at_energy(config.method, config.energy)


def _within_budget(
    config: FactorizeConfig, candidates: Sequence[_Candidate], params: int
) -> list[tuple[_Candidate, Ranks]]:
    """Ranks of the largest common energy whose parameters fit; layers that do not pay at theirs stay whole."""
    assert config.params is not None
    budget = round(config.params * params) if config.params < 1 else round(config.params)

    def plan(energy: float) -> tuple[int, list[tuple[_Candidate, Ranks]]]:
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


def _layer_facts(candidate: _Candidate, ranks: Ranks, chain: nn.Sequential) -> Facts:
    weight = candidate.layer.weight
    return {
        "form": ranks.form,
        "ranks": list(ranks.values),
        "full": [len(spectrum) for spectrum in candidate.spectra],
        "error": _error(candidate.layer, chain),
        "params": {"before": weight.numel(), "after": ranks.params(weight)},
        "macs": {
            "before": candidate.call.macs,
            "after": ranks.macs(weight, candidate.call.inputs, candidate.call.outputs),
        },
    }


def _error(layer: Layer, chain: nn.Sequential) -> float:
    """The relative error of the weight that the chain stands for, in the Frobenius norm."""
    with torch.no_grad():
        weight = layer.weight.double()
        into, *core, out = [value.double() for name, value in chain.named_parameters() if name.endswith("weight")]
        if core:
            rebuilt = torch.einsum("os,sr...,ri->oi...", out.flatten(1), core[0], into.flatten(1))
        else:
            rebuilt = (out.flatten(1) @ into.flatten(1)).reshape(weight.shape)
        return float((rebuilt - weight).norm() / weight.norm().clamp(min=1e-300))


def _leave_fused_path(module: nn.Module, replaced: set[str]) -> None:
    """Let transformer blocks call their linear layers: the fused path of eval mode reads weights directly."""
    for name, block in module.named_modules():
        if isinstance(block, nn.TransformerEncoderLayer) and any(item.startswith(f"{name}.") for item in replaced):
            # The attribute that torch documents as "which activation the fused kernel has": none that it knows.
            block.activation_relu_or_gelu = 0


def _check_forward(module: nn.Module, inputs: Mapping[str, Tensor], names: Sequence[str]) -> None:
    try:
        with torch.no_grad():
            outputs(module, inputs)
    except AttributeError as error:
        raise InputError(
            f"the model reads attributes of a layer that was replaced ({error}); one of: {', '.join(names)}",
            where="factorize: layers",
            fix="name the layer in 'keep'",
        ) from error


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
