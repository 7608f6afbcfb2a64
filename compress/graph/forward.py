"""One forward pass: a module called on named inputs, its outputs as tensors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from weighbridge.compress.graph.feeds import declared
from weighbridge.core.errors import InputError


def outputs(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Call a module on named inputs (n, …); its outputs as a tuple of tensors, examples along their first axis.

    By keyword where `forward` has all the names, else positionally in the inputs' order. Inputs that params declare
    (`inputs`) have their examples where the module takes them.
    """
    inputs = placed(inputs)
    found = module(**inputs) if takes_keywords(module, tuple(inputs)) else module(*inputs.values())
    tensors = tuple(map(_full, tensors_of(found, module)))
    axes = carried_axes()
    names = output_names(len(tensors))
    return tuple(
        tensor.movedim(axes[name], 0) if axes.get(name) else tensor for name, tensor in zip(names, tensors, strict=True)
    )


@contextmanager
def watchable(module: nn.Module) -> Iterator[None]:
    """Within, the module is in eval mode, and every layer inside is called as itself.

    The fused path of attention blocks skips the layers inside them, and with them their hooks.
    """
    was_training, fast = module.training, torch.backends.mha.get_fastpath_enabled()
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        module.train(was_training)


def _full(tensor: Tensor) -> Tensor:
    """An output of mixed precision in float32, in which losses are computed."""
    lower = tensor.is_floating_point() and tensor.dtype.itemsize < 4 and torch.is_autocast_enabled(tensor.device.type)
    return tensor.float() if lower else tensor


def tensors_of(found: object, module: nn.Module) -> tuple[Tensor, ...]:
    """What a module returned as a tuple of tensors; an `InputError` where there are none."""
    if isinstance(found, Tensor):
        return (found,)
    items = list(found.values()) if isinstance(found, Mapping) else found
    tensors = tuple(item for item in items if isinstance(item, Tensor)) if isinstance(items, Sequence) else ()
    if not tensors:
        raise InputError(f"{type(module).__name__}.forward returned no tensor", where="model.factory")
    return tensors


def placed(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs (n, …) as the module takes them: examples along the declared axis, or one value for all."""
    told, found = declared(), dict(inputs)
    for name in told.keys() & inputs.keys():
        if told[name].constant:
            found[name] = inputs[name][0]
        elif told[name].axis:
            found[name] = inputs[name].movedim(0, told[name].axis)
    return found


def output_names(count: int) -> list[str]:
    """What the outputs of a module are called: `output`, or `output0`, `output1`, …"""
    return ["output"] if count == 1 else [f"output{index}" for index in range(count)]


def carried_axes() -> dict[str, int]:
    """Of outputs that are fed back: the axis along which they have examples, as their inputs do."""
    return {section.carry: section.axis for section in declared().values() if section.carry}


def takes_keywords(module: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether `forward` has a parameter of each name."""
    parameters = inspect.signature(module.forward).parameters
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return all(name in parameters and parameters[name].kind in named for name in names)
