"""torch parametrizations (weight_norm, spectral_norm, adapters): the weight that they compute, made a parameter."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm


def plain(module: nn.Module) -> nn.Module:
    """`module` itself, in eval mode, with its parametrized tensors made the parameters that they compute.

    Its outputs in eval mode are the same; not a copy, which would share torch's parametrized classes. Steps that
    prune, share or factorize see the weights that compute, not the factors behind them. Others are left alone.
    """
    if not any(_parametrized(layer) for layer in module.modules()):
        return module
    module.eval()
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer):
            for name in list(layer.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        for name, remove in _old_hooks(layer):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                remove(layer, name)
    return module


def _parametrized(layer: nn.Module) -> bool:
    return parametrize.is_parametrized(layer) or bool(_old_hooks(layer))


def _old_hooks(layer: nn.Module) -> list[tuple[str, Callable[[nn.Module, str], nn.Module]]]:
    """Names of the tensors under torch's older weight_norm and spectral_norm, and what removes each."""
    removers = {"WeightNorm": remove_weight_norm, "SpectralNorm": remove_spectral_norm}
    hooks: list[Any] = list(layer._forward_pre_hooks.values())  # noqa: SLF001  # the hooks have no public list
    return [(hook.name, removers[type(hook).__name__]) for hook in hooks if type(hook).__name__ in removers]
