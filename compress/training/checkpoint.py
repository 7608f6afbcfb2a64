"""The trained baseline on disk: safetensors, never a pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import nn

from weighbridge.core.errors import InputError
from weighbridge.core.files import atomic_write, read_bytes

NO_MODULE = {"format": "weighbridge", "module": "none"}
"""Metadata of the checkpoint that stands for a model without PyTorch source: it holds no tensor."""


def write_checkpoint(path: Path, module: nn.Module | None, device: str | None = None) -> None:
    """Write all parameters and buffers; None leaves a valid checkpoint without tensors.

    `device` is where it was trained, in which precision, where that is to be recorded. Each tensor is copied, so that
    tied weights, which safetensors refuses, are stored by each of their names.
    """
    if module is None:
        atomic_write(path, save({}, metadata=NO_MODULE))
        return
    state = {name: tensor.detach().clone().contiguous() for name, tensor in sorted(module.state_dict().items())}
    atomic_write(path, save(state, metadata=None if device is None else {"device": device}))


def trained_on(path: Path) -> str | None:
    """Where a checkpoint was trained, as far as it says so."""
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("device")


def read_checkpoint(path: Path, module: nn.Module) -> nn.Module:
    """Load a checkpoint into a fresh module, in eval mode; a mismatch is an `InputError` that names the tensor."""
    try:
        state = load(read_bytes(path))
    except SafetensorError as error:
        raise InputError(f"is not a readable safetensors file: {error}", where=str(path)) from error
    expected = module.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        if name not in state or name not in expected:
            where = "the checkpoint" if name not in state else "the model"
            raise InputError(f"{name!r} is missing in {where}", where=str(path), fix="train again: dvc repro train")
        if state[name].shape != expected[name].shape:
            raise InputError(
                f"{name!r} is {tuple(state[name].shape)} here and {tuple(expected[name].shape)} in the model",
                where=str(path),
                fix="train again: dvc repro train",
            )
    with torch.no_grad():
        module.load_state_dict(state)
    return module.eval()
