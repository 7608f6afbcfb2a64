"""Factorize: replace a layer by a chain of thinner ones that computes nearly the same.

Linear layers and 1x1 convolutions become two by the singular value decomposition; larger convolutions become a
k x k convolution with few outputs and a 1x1 (`svd`), or 1x1, k x k and 1x1 (`tucker2`, Kim et al., 2016,
arXiv:1511.06530). Unless layers are named, only those are replaced whose parameters and multiply-accumulates fall.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.graph.layers import row
from weighbridge.compress.steps import Context, Facts, Step, Subject
from weighbridge.compress.techniques.factorize.config import FactorizeConfig, Layer
from weighbridge.compress.techniques.factorize.lowrank import Ranks, factors
from weighbridge.compress.techniques.factorize.ranks import RankChoice, params, ranks_of_layers
from weighbridge.compress.training.finetune import facts_of, finetune
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import InputError


def factorize(config: FactorizeConfig, subject: Subject, context: Context) -> tuple[Subject, Facts]:
    """Replace the layers chosen, fine-tune, and report ranks, kept energy and parameters of each.

    Raises `InputError` naming the layer for a pattern that matches nothing, a kind of layer that cannot be
    factorized, a rank above full and a budget that cannot be met; `InvariantError` where no layer gets smaller.
    """
    inputs, _ = batch(context.data.train, slice(0, 1))
    plan = ranks_of_layers(config, subject.module, inputs)
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
        "params": {"before": params(subject.module), "after": params(module)},
    }
    if config.finetune is not None:
        constraints = subject.constraints
        facts |= facts_of(finetune(module, config.finetune, context, constraints=constraints, stage="factorize"))
    return replace(subject, module=module), facts


def refuses(_: FactorizeConfig, before: Sequence[Step]) -> str | None:
    """The factors of a sparse or shared matrix are neither."""
    for step in before:
        if step.name == "share" or (step.name == "prune" and getattr(step.config, "method", "") == "magnitude"):
            return f"the factors of a weight do not keep what {step.name} did to it: put factorize before {step.name}"
    return None


def explain(config: FactorizeConfig, subject: Subject, context: Context) -> list[Facts]:
    """Parameters, MACs and bytes of every layer that will be replaced, as rows; nothing is trained."""
    inputs, _ = batch(context.data.train, slice(0, 1))
    rows = []
    for candidate, ranks in ranks_of_layers(config, subject.module, inputs):
        weight, call = candidate.layer.weight, candidate.call
        bias = 0 if candidate.layer.bias is None else candidate.layer.bias.numel()
        was, becomes = weight.numel() + bias, ranks.params(weight) + bias
        macs = ranks.macs(weight, call.inputs, call.outputs)
        rows.append(row(candidate.name, weight.shape, (was, call.macs, 4 * was), (becomes, macs, 4 * becomes)))
    return rows


def _layer_facts(candidate: RankChoice, ranks: Ranks, chain: nn.Sequential) -> Facts:
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
