"""One forward pass: a module called on named inputs, its outputs as tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import Tensor, nn

from weighbridge.core.errors import InputError


def outputs(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Call a module on named inputs; its outputs as a tuple of tensors.

    By keyword where `forward` has all the names, else positionally in the inputs' order.
    """
    found = module(**inputs) if takes_keywords(module, tuple(inputs)) else module(*inputs.values())
    if isinstance(found, Tensor):
        return (found,)
    if isinstance(found, Mapping):
        found = list(found.values())
    tensors = tuple(item for item in found if isinstance(item, Tensor))
    if not tensors:
        raise InputError(f"{type(module).__name__}.forward returned no tensor", where="model.factory")
    return tensors


def takes_keywords(module: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether `forward` has a parameter of each name."""
    parameters = inspect.signature(module.forward).parameters
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return all(name in parameters and parameters[name].kind in named for name in names)
