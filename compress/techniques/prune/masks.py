"""Masks: which weights stay, chosen by magnitude, and kept zero through every later optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from weighbridge.compress.graph.layers import Weight
from weighbridge.core.errors import InputError


@dataclass
class Mask:
    """Zeros of one parameter that every later step must keep; a `Constraint`."""

    parameter: str
    """The parameter's name in the module."""
    kept: Tensor
    """Boolean, of the parameter's shape: True where the weight stays."""

    @property
    def name(self) -> str:
        """Technique and parameter."""
        return f"prune mask of {self.parameter}"

    def before_step(self, module: nn.Module) -> None:
        """Pruned weights get no gradient, so that they do not stir the optimizer's moments."""
        gradient = module.get_parameter(self.parameter).grad
        if gradient is not None:
            gradient.mul_(self.kept.to(gradient.device))

    def project(self, module: nn.Module) -> None:
        """Pruned weights are zero again."""
        with torch.no_grad():
            parameter = module.get_parameter(self.parameter)
            parameter.mul_(self.kept.to(parameter.device))

    def violation(self, module: nn.Module) -> str | None:
        """What is broken; None while every pruned weight is zero."""
        try:
            parameter = module.get_parameter(self.parameter)
        except AttributeError:
            return "the parameter is gone"
        if parameter.shape != self.kept.shape:
            return f"the parameter is {tuple(parameter.shape)} now, the mask {tuple(self.kept.shape)}"
        back = int(((parameter != 0) & ~self.kept.to(parameter.device)).sum())
        return f"{back} pruned weights are not zero any more" if back else None


def smallest(weights: Sequence[Weight], sparsity: float, scope: str) -> dict[str, Tensor]:
    """Masks that drop the share `sparsity` of the weights of least magnitude, over all together or in each tensor.

    Exactly round(sparsity x weights) are dropped; among equal ones those that come first. An `InputError` where
    nothing of a layer, or nothing at all, would be left.
    """
    if scope == "layer":
        masks = {weight.name: _rank([weight], sparsity)[0] for weight in weights}
    else:
        masks = dict(zip((weight.name for weight in weights), _rank(weights, sparsity), strict=True))
    for name, mask in masks.items():
        if not bool(mask.any()):
            raise InputError(
                f"a sparsity of {sparsity:g} leaves no weight of {name}",
                where="prune",
                fix="lower it, use scope: layer, or keep that layer",
            )
    return masks


def shares(weights: Sequence[Weight], sparsity: float) -> dict[str, float]:
    """Share of each tensor's weights among the `sparsity` of least magnitude over all together."""
    masks = smallest(weights, sparsity, "global")
    return {name: float((~mask).sum()) / mask.numel() for name, mask in masks.items()}


def emptied(weights: Sequence[Weight], sparsity: float) -> list[str]:
    """Layers of which nothing would be left where weights are ranked over all together: those of a fresh head that is
    small beside what was trained.
    """
    masks = zip(weights, _rank(weights, sparsity) if weights else [], strict=True)
    return list(dict.fromkeys(weight.layer for weight, mask in masks if not bool(mask.any())))


def _rank(weights: Sequence[Weight], sparsity: float) -> list[Tensor]:
    magnitudes = torch.cat([weight.tensor.detach().abs().flatten() for weight in weights]).cpu()
    dropped = round(sparsity * len(magnitudes))
    kept = torch.ones(len(magnitudes), dtype=torch.bool)
    if dropped:
        # Selected, not sorted, which takes seconds for a large model, and by numpy, which takes a third of torch's
        # time; of equal weights the first ones go.
        known = magnitudes.float() if magnitudes.dtype is torch.bfloat16 else magnitudes  # numpy has no bfloat16
        largest = float(np.partition(known.numpy(), dropped - 1)[dropped - 1])
        smaller = magnitudes < largest
        equal = torch.nonzero(magnitudes == largest).flatten()
        kept = ~smaller
        kept[equal[: dropped - int(smaller.sum())]] = False
    parts = torch.split(kept, [weight.tensor.numel() for weight in weights])
    return [part.reshape(weight.tensor.shape) for part, weight in zip(parts, weights, strict=True)]


def pattern(weights: Sequence[Weight], kept: int, of: int) -> dict[str, Tensor]:
    """Masks that keep the `kept` largest of every `of` weights along the input axis (axis 1) of each tensor.

    An `InputError` names a layer whose inputs are not a multiple of `of`.
    """
    masks = {}
    for weight in weights:
        values = weight.tensor.detach().abs().movedim(1, -1)
        if values.shape[-1] % of:
            raise InputError(
                f"{weight.name} has {values.shape[-1]} inputs, which is no multiple of {of}",
                where="prune: pattern",
                fix=f"add {weight.layer or weight.name} to keep",
            )
        groups = values.reshape(-1, of)
        largest = torch.sort(groups, dim=1, descending=True, stable=True).indices[:, :kept]
        mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, largest, value=True)
        masks[weight.name] = mask.reshape(values.shape).movedim(-1, 1).contiguous()
    return masks
