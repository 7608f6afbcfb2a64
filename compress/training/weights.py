"""Weights that a user trained elsewhere, loaded into the factory's module. Nothing is unpickled."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from weighbridge.core.errors import InputError

NESTED = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the state_dict within a larger checkpoint."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before every name."""
SHOWN = 3


def load_weights(path: Path, module: nn.Module, where: str) -> None:
    """Load `path` into `module` in place: safetensors, or a state_dict read with `weights_only=True`, onto the CPU.

    Every parameter and buffer of the module must be there with its shape, in a type that the module's holds exactly,
    and finite; a weight that is tied to another may stand under either name. Anything else is an `InputError` that
    names the tensor, and leaves the module as it was.
    """
    found = _unwrapped(_read(path, where), where)
    expected = module.state_dict()
    missing = [name for name in expected if name not in found and not _tied(name, expected, found)]
    surplus = [name for name in found if name not in expected]
    if missing or surplus:
        parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(surplus)} besides"] * bool(surplus)
        raise InputError(
            f"{path.name} does not fit the module: it {' and '.join(parts)}",
            where=where,
            fix="let the factory build the network that the weights belong to",
        )
    for name, tensor in found.items():
        _check(name, tensor, expected[name], path, where)
    module.load_state_dict(found, strict=False)


def _read(path: Path, where: str) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: file not found", where=where, fix="dvc pull, or correct the path")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path.name} is not a readable safetensors file: {error}", where=where) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path.name} is not a state_dict of plain tensors: {str(error).strip().splitlines()[0][:160]}",
            where=where,
            fix="save it with safetensors.torch.save_file(module.state_dict(), …)",
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path.name} contains a {type(content).__name__}, not a state_dict", where=where)
    return content


def _unwrapped(content: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The state_dict itself, without what training scripts put around it."""
    for key in NESTED:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    strange = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if strange or not content:
        problem = f"contains {_some(strange)}, which are not tensors" if strange else "contains no tensor"
        raise InputError(problem, where=where, fix="save the module's state_dict alone")
    names = {str(name): value for name, value in content.items()}
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in names):
            names = {name.removeprefix(prefix): value for name, value in names.items()}
    return names


def _tied(name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    """Whether the module's tensor shares its storage with one that the file has."""
    own = expected[name]
    return any(
        other in found and tensor.data_ptr() == own.data_ptr() and tensor.shape == own.shape and own.numel() > 0
        for other, tensor in expected.items()
    )


def _check(name: str, tensor: Tensor, own: Tensor, path: Path, where: str) -> None:
    if tensor.shape != own.shape:
        raise InputError(
            f"{name!r} is {tuple(tensor.shape)} in {path.name} and {tuple(own.shape)} in the module", where=where
        )
    if torch.promote_types(tensor.dtype, own.dtype) != own.dtype:
        raise InputError(
            f"{name!r} is {_type(tensor)} in {path.name} and {_type(own)} in the module, which cannot hold it exactly",
            where=where,
            fix="convert the weights, or the module in its factory",
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{name!r} in {path.name} contains NaN or infinite values", where=where)


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
