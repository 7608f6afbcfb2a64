"""Answers of a module over a split, and how good they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.training.objective import batch, deterministic
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError
from weighbridge.data import Split, import_callable

_USER_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)


def predict(module: nn.Module, split: Split, batch_size: int = 256) -> tuple[NDArray[Any], ...]:
    """Every output over a split, each (n, …), in eval mode; the module's mode comes back afterwards."""
    was_training = module.training
    module.eval()
    parts: list[tuple[Tensor, ...]] = []
    try:
        with deterministic(0), torch.inference_mode():
            parts.extend(
                outputs(module, batch(split, slice(start, start + batch_size))[0])
                for start in range(0, len(split), batch_size)
            )
    finally:
        module.train(was_training)
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))


def evaluate(module: nn.Module, split: Split, batch_size: int = 256) -> NDArray[Any]:
    """The first output over a split, (n, …): logits for a classifier. In eval mode."""
    if len(split) == 0:
        raise InputError("there are no examples to evaluate on", where="data")
    return predict(module, split, batch_size)[0]


def quality(found: NDArray[Any], labels: NDArray[Any], loss: str = "cross_entropy") -> float:
    """How good outputs are, higher is better: top-1 accuracy, or minus the loss."""
    if loss == "mse":
        return -float(np.mean((found - labels.reshape(found.shape)) ** 2))
    if loss != "cross_entropy":
        value = import_callable(loss, "params.yaml: train.loss")(torch.from_numpy(found), torch.from_numpy(labels))
        return -float(value)
    return float(np.mean(found.argmax(1) == labels))


def metric_name(settings: TrainSection) -> str:
    """What `quality` measures, in words for a report."""
    if settings.own_loss:
        return f"negative {settings.loss}"
    return "top1" if settings.loss == "cross_entropy" else "negative mean squared error"


def check_module(module: nn.Module, split: Split, settings: TrainSection, where: str) -> None:
    """Refuse, in one line, a module whose `forward` fails on the data or whose outputs do not fit the labels."""
    if not isinstance(module, nn.Module):
        raise InputError(f"returned {type(module).__name__}", where=where, fix="expected a torch.nn.Module")
    few = split.take(slice(0, 2))
    try:
        found = predict(module, few)[0]
    except _USER_ERRORS as error:
        shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in few.inputs.items())
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"forward fails on the data ({shapes}): {reason}", where=where) from error
    if len(found) != len(few):
        raise InputError(f"forward gives {len(found)} rows for {len(few)} examples", where=where)
    _check_labels(found, split, settings, where)


def _check_labels(found: NDArray[Any], split: Split, settings: TrainSection, where: str) -> None:
    labels = split.labels
    if settings.own_loss:
        return  # what labels are is between the data and that function
    if settings.loss == "mse":
        if found.reshape(len(found), -1).shape[1] != labels.reshape(len(labels), -1).shape[1]:
            raise InputError(f"outputs are {found.shape[1:]} per example, labels {labels.shape[1:]}", where=where)
        return
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels are {labels.dtype}; cross entropy needs classes", where=where, fix="train.loss: mse")
    if found.ndim != 2:
        raise InputError(f"outputs are {found.shape[1:]} per example; expected one row of logits", where=where)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= found.shape[1]:
        raise InputError(f"the model gives {found.shape[1]} classes; labels go from {low} to {high}", where=where)
