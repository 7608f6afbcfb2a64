"""Answers of a module over a split, and how good they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.training.losses import one_score
from weighbridge.compress.training.objective import batch, deterministic
from weighbridge.core.answers.agreement import cosines
from weighbridge.core.answers.decisions import IGNORED, threshold
from weighbridge.core.callables import import_callable
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError
from weighbridge.core.formats.example_stream import nameless_file, on_disk
from weighbridge.core.ragged import filled_up, joined, stacked
from weighbridge.data import Split

_USER_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)


MOST_BYTES = 1 << 28
"""Bytes of answers that are kept in memory; more lie in a file and are mapped."""


def predict(module: nn.Module, split: Split, batch_size: int = 256) -> tuple[NDArray[Any], ...]:
    """Every output over a split, each (n, …), in eval mode; the module's mode comes back afterwards.

    Many answers (see `MOST_BYTES`) are mapped from a file.
    """
    kinds = split.kinds()
    if len(kinds) > 1:
        one = [(chosen, predict(module, _alike(split, chosen), batch_size)) for chosen in kinds]
        wholes = [joined([(chosen, part[place]) for chosen, part in one]) for place in range(len(one[0][1]))]
        return tuple(filled_up(whole, split.labels) for whole in wholes)
    was_training = module.training
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    module.eval()
    columns: list[_Answers] = []
    try:
        with deterministic(0), torch.inference_mode():
            for start in range(0, len(split), batch_size):
                inputs, _ = batch(split, slice(start, start + batch_size))
                found = outputs(module, {name: tensor.to(device) for name, tensor in inputs.items()})
                if not columns:
                    share = MOST_BYTES * batch_size // (len(split) * len(found))
                    columns = [_Answers(spilled=tensor.nbytes > share) for tensor in found]
                for column, tensor in zip(columns, found, strict=True):
                    column.add(tensor.cpu().numpy())
    finally:
        module.train(was_training)
    return tuple(column.all() for column in columns)


class _Answers:
    """The parts of one output, in memory or in a file."""

    def __init__(self, *, spilled: bool) -> None:
        self.parts: list[NDArray[Any]] = []
        self.file = nameless_file() if spilled else None
        self.rows = 0

    def add(self, part: NDArray[Any]) -> None:
        self.rows += len(part)
        if self.file is None:
            self.parts.append(part)
            return
        self.file.write(np.ascontiguousarray(part).data)
        self.parts = [part[:0]]

    def all(self) -> NDArray[Any]:
        if self.file is None:
            return np.concatenate(self.parts)
        self.file.flush()
        return on_disk(self.file, (self.rows, *self.parts[0].shape[1:]), self.parts[0].dtype)


def _alike(split: Split, chosen: NDArray[Any]) -> Split:
    return Split(stacked(split.inputs, chosen), split.labels[chosen])


def evaluate(module: nn.Module, split: Split, batch_size: int = 256) -> NDArray[Any]:
    """The first output over a split, (n, …): logits for a classifier. In eval mode."""
    if len(split) == 0:
        raise InputError("there are no examples to evaluate on", where="data")
    return predict(module, split, batch_size)[0]


def quality(found: NDArray[Any], labels: NDArray[Any], loss: str = "cross_entropy") -> float:
    """How good outputs are, higher is better: the share of right decisions, cosine, or minus the loss."""
    if loss == "mse":
        return -float(np.mean((found - labels.reshape(found.shape)) ** 2))
    if loss == "cosine":
        return float(np.mean(cosines(found, labels)))
    if loss not in ("cross_entropy", "token_cross_entropy", "binary_cross_entropy"):
        value = import_callable(loss, "params.yaml: train.loss")(torch.from_numpy(found), torch.from_numpy(labels))
        return -float(value)
    if loss == "binary_cross_entropy" or (loss == "cross_entropy" and one_score(found)):
        chosen = (found > threshold(None, found)).reshape(labels.shape)
    else:
        chosen = found.argmax(-1 if loss == "token_cross_entropy" else 1)
    counted = labels != IGNORED
    return float(np.mean((chosen == labels)[counted])) if counted.any() else 0.0


def metric_name(settings: TrainSection) -> str:
    """What `quality` measures, in words for a report."""
    if settings.own_loss:
        return f"negative {settings.loss}"
    names = {"cross_entropy": "top1", "token_cross_entropy": "token accuracy", "binary_cross_entropy": "label accuracy"}
    return {**names, "cosine": "cosine", "mse": "negative mean squared error"}[settings.loss]


def check_module(module: nn.Module, split: Split, settings: TrainSection, where: str) -> None:
    """Refuse, in one line, a module whose `forward` fails on the data or whose outputs do not fit the labels."""
    if not isinstance(module, nn.Module):
        raise InputError(f"returned {type(module).__name__}", where=where, fix="expected a torch.nn.Module")
    few = split.take(slice(0, 2))
    try:
        found = predict(module, few)[0]
    except _USER_ERRORS as error:
        shapes = ", ".join(
            f"{name} {getattr(array, 'shape', 'ragged')} {array.dtype}" for name, array in few.inputs.items()
        )
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"forward fails on the data ({shapes}): {reason}", where=where) from error
    if len(found) != len(few):
        raise InputError(f"forward gives {len(found)} rows for {len(few)} examples", where=where)
    _check_labels(found, split, settings, where)


def _check_labels(found: NDArray[Any], split: Split, settings: TrainSection, where: str) -> None:
    labels = split.labels
    if settings.own_loss or not split.labelled:
        return  # what labels are is between the data and that function
    if settings.loss in ("mse", "cosine"):
        _check_values(found, labels, settings.loss, where)
        return
    if labels.dtype.kind not in "iu" and settings.loss != "binary_cross_entropy":
        raise InputError(f"labels are {labels.dtype}; cross entropy needs classes", where=where, fix="train.loss: mse")
    if settings.loss == "binary_cross_entropy" or one_score(found):
        _check_yes_and_no(found, labels, where)
        return
    _check_classes(found, labels, found.ndim - 1 if settings.loss == "token_cross_entropy" else 1, where)


def _check_values(found: NDArray[Any], labels: NDArray[Any], loss: str, where: str) -> None:
    """Numbers to compare outputs with: as many as there are outputs, for vectors in their shape."""
    shapes = [array.shape[1:] if loss == "cosine" else np.prod(array.shape[1:]) for array in (found, labels)]
    if shapes[0] != shapes[1]:
        raise InputError(f"outputs are {found.shape[1:]} per example, labels {labels.shape[1:]}", where=where)


def _check_classes(found: NDArray[Any], labels: NDArray[Any], axis: int, where: str) -> None:
    """Classes along an axis of the outputs, one label for each place along the others."""
    if found.ndim < 2 or found.shape[1:axis] + found.shape[axis + 1 :] != labels.shape[1:]:
        raise InputError(
            f"outputs are {found.shape[1:]} per example; expected one row of logits for labels {labels.shape[1:]}",
            where=where,
        )
    counted = labels[labels != IGNORED] if labels.ndim > 1 else labels
    if counted.size == 0:
        raise InputError(f"no label counts: all are {IGNORED}", where=where)
    low, high = int(counted.min()), int(counted.max())
    if low < 0 or high >= found.shape[axis]:
        raise InputError(f"the model gives {found.shape[axis]} classes; labels go from {low} to {high}", where=where)


def _check_yes_and_no(found: NDArray[Any], labels: NDArray[Any], where: str) -> None:
    if np.prod(found.shape[1:]) != np.prod(labels.shape[1:]):
        raise InputError(f"outputs are {found.shape[1:]} per example, labels {labels.shape[1:]}", where=where)
    if not np.isin(labels, (0, 1)).all():
        raise InputError("scores for yes and no need labels 0 and 1", where=where)
