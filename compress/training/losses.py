"""What training minimizes: the losses by name, and the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from weighbridge.compress.graph.forward import outputs
from weighbridge.core.answers.decisions import IGNORED
from weighbridge.core.callables import import_callable
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError

Loss = Callable[[nn.Module, dict[str, Tensor], Tensor, Tensor], Tensor]
"""(module, inputs by name, labels, indices into the split) → a scalar. `indices` lets distillation look up
a teacher's answers that were computed once."""


def default_loss(settings: TrainSection) -> Loss:
    """The loss that `settings.loss` names, of the first output, or the user's function of all outputs."""
    if settings.own_loss:
        return _own_loss(settings.loss)
    function = _LOSSES[settings.loss]

    def loss(module: nn.Module, inputs: dict[str, Tensor], labels: Tensor, _: Tensor) -> Tensor:
        return function(outputs(module, inputs)[0], labels, settings.label_smoothing)

    return loss


def counted(labels: NDArray[Any], settings: TrainSection) -> int:
    """How many terms the mean of the loss of a batch is over: examples, or places whose labels count."""
    if settings.loss in ("cross_entropy", "token_cross_entropy") and labels.dtype.kind in "iu":
        return int((labels != IGNORED).sum())
    return len(labels)


def one_score(found: Tensor | NDArray[Any]) -> bool:
    """Whether outputs (n, …) are one score per example: yes and no."""
    return bool(np.prod(found.shape[1:]) == 1)


def _cross_entropy(found: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Classes along axis 1; one score per example is yes and no. Labels of -100 do not count."""
    if one_score(found):
        return _binary(found, labels, smoothing)
    return F.cross_entropy(found, labels, label_smoothing=smoothing, ignore_index=IGNORED)


def _token_cross_entropy(found: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    return F.cross_entropy(found.flatten(0, -2), labels.flatten(), label_smoothing=smoothing, ignore_index=IGNORED)


def _binary(found: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Of logits, or of probabilities where the module ends in a sigmoid."""
    wanted = labels.to(found.dtype).reshape(found.shape) * (1 - smoothing) + smoothing / 2
    if _ends_in_sigmoid(found):
        with torch.autocast(found.device.type, enabled=False):  # refused within mixed precision
            return F.binary_cross_entropy(found, wanted)
    return F.binary_cross_entropy_with_logits(found, wanted)


_SHAPING = (
    "View",
    "UnsafeView",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Select",
    "Slice",
    "Permute",
    "Transpose",
    "Clone",
    "ToCopy",
)


def _ends_in_sigmoid(found: Tensor) -> bool:
    """Whether a tensor comes from a sigmoid, by the graph that autograd recorded; changes of shape do not count."""
    node: Any = found.grad_fn
    while node is not None and node.name().startswith(_SHAPING):
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith("Sigmoid")


def _mse(found: Tensor, labels: Tensor, _: float) -> Tensor:
    return F.mse_loss(found, labels.to(found.dtype).reshape(found.shape))


def _cosine(found: Tensor, labels: Tensor, _: float) -> Tensor:
    return 1 - F.cosine_similarity(found, labels.to(found.dtype), dim=-1).mean()


_LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "token_cross_entropy": _token_cross_entropy,
    "binary_cross_entropy": _binary,
    "mse": _mse,
    "cosine": _cosine,
}
"""Loss by its name in params: (outputs, labels, label smoothing) → a scalar."""


def _own_loss(reference: str) -> Loss:
    where = "params.yaml: train.loss"
    function = import_callable(reference, where)

    def own(module: nn.Module, inputs: dict[str, Tensor], labels: Tensor, _: Tensor) -> Tensor:
        found = outputs(module, inputs)
        try:
            value = function(found[0] if len(found) == 1 else found, labels)
        except Exception as error:  # a user's function may raise anything
            raise InputError(f"{reference} failed: {error!r}", where=where) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise InputError(f"{reference} gave {value!r:.80}", where=where, fix="give a tensor of one value")
        return value.reshape(())

    return own
