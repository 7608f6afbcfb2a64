"""The one loop that trains, fine-tunes, distils and does quantization-aware training.

Float32, one thread, Adam with a one-cycle learning rate; the same seed, data and module give the same bits on one
type of CPU. Constraints of earlier steps (masks, codebooks) are kept at every optimizer step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.steps import Constraint
from weighbridge.core.documents import TrainSection, Written
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.progress import Progress
from weighbridge.data import Split

Loss = Callable[[nn.Module, dict[str, Tensor], Tensor, Tensor], Tensor]
"""(module, inputs by name, labels, indices into the split) → a scalar. `indices` lets distillation look up
a teacher's answers that were computed once."""

TEACHER = r"^(baseline|sha256:[0-9a-f]{64})$"
"""How a recipe names a teacher."""

_USER_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)


class Teaching(Written):
    """A teacher for fine-tuning: the loss is (1 - weight) · task + weight · T² · KL(teacher / T, model / T).

    Every recipe that has one is also run without its teachers, and both are reported, compared on a part of train that
    neither saw.
    """

    teacher: str = Field(default="baseline", pattern=TEACHER)
    """`baseline`, or the digest `sha256:…` of a registered version's artifact. A recipe has one teacher."""
    temperature: float = Field(default=4.0, gt=0, le=100)
    """Softens both distributions; 1 leaves them as they are."""
    weight: float = Field(default=0.5, gt=0, le=1)
    """Share of the teacher in the loss; the rest is the task's own loss on the labels."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Part of train that the whole recipe leaves out to compare; the same in every step of it."""


class Finetune(Written):
    """Training within a recipe; what is not set is taken from the section `train`."""

    epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Passes over the training split."""
    lr: float | None = Field(default=None, gt=0, lt=10)
    """Peak learning rate of the one-cycle schedule."""
    batch_size: int | None = Field(default=None, ge=1)
    """Examples in one optimizer step."""
    weight_decay: float | None = Field(default=None, ge=0, lt=1)
    """Decoupled weight decay (AdamW)."""
    distill: Teaching | None = None
    """Learn from a teacher as well as from the labels."""

    def settings(self, train: TrainSection) -> TrainSection:
        """`train` with the values that are set here."""
        return train.model_copy(update=self.model_dump(exclude_none=True, exclude={"distill"}))


@dataclass(frozen=True)
class History:
    """What a training gave: the mean loss of each epoch, in order."""

    losses: tuple[float, ...]
    steps: int
    """Optimizer steps in all."""
    teacher: str | None = None
    """Digest of the artifact that taught, where one did."""


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """One thread, deterministic kernels and a seeded generator; the process's own state comes back afterwards."""
    threads, was = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        try:
            torch.manual_seed(seed)
            torch.set_num_threads(1)
            torch.use_deterministic_algorithms(True)
            # Nothing here reads memory that it did not write; filling it would only cost time.
            memory.fill_uninitialized_memory = False
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(was)
            memory.fill_uninitialized_memory = fill


def one_cycle(step: int, total: int) -> float:
    """Share of the peak learning rate at `step` of `total`: up in a line for 30 %, then down along a cosine.

    Source: Smith and Topin, "Super-convergence", 2018 (arXiv:1708.07120), as commonly simplified.
    """
    rise = 0.3 * total
    if step < rise:
        return 0.04 + 0.96 * step / rise
    return max(0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1))), 1e-4)


def fit(  # noqa: PLR0913  # keyword-only choices of the one loop; every caller sets a few
    module: nn.Module,
    split: Split,
    settings: TrainSection,
    *,
    seed: int,
    constraints: Sequence[Constraint] = (),
    loss: Loss | None = None,
    progress: Progress | None = None,
    stage: str = "train",
    on_epoch: Callable[[int, nn.Module], None] | None = None,
) -> History:
    """Train `module` in place on `split` and leave it in eval mode.

    `loss` replaces the one that `settings.loss` names. After each epoch `on_epoch(epoch from 1, module)` is called
    with the module in eval mode. Raises `InvariantError` with stage, epoch and step where the loss is no finite
    number, `InputError` where the split is empty or labels do not fit the outputs.
    """
    if len(split) == 0:
        raise InputError("there are no examples to train on", where=stage)
    measure = loss or default_loss(settings)
    per_epoch = math.ceil(len(split) / settings.batch_size)
    losses = []
    with deterministic(seed):
        order = torch.Generator().manual_seed(seed)
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
        run = _Run(module, optimizer, measure, constraints, settings.lr, settings.epochs * per_epoch, stage)
        for epoch in range(1, settings.epochs + 1):
            module.train()
            total = 0.0
            # Parts of equal length: no last batch of a single example, on which batch normalisation fails.
            for chosen in torch.tensor_split(torch.randperm(len(split), generator=order), per_epoch):
                total += run.step(split, chosen, epoch) * len(chosen)
            losses.append(total / len(split))
            module.eval()
            if on_epoch is not None:
                on_epoch(epoch, module)
            if progress is not None:
                progress(stage, epoch, settings.epochs, f"loss {losses[-1]:.4f}")
    return History(tuple(losses), run.taken)


@dataclass
class _Run:
    module: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    constraints: Sequence[Constraint]
    peak: float
    total: int
    stage: str
    taken: int = 0

    def step(self, split: Split, chosen: Tensor, epoch: int) -> float:
        """One optimizer step on the chosen examples; gives the loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak * one_cycle(self.taken, self.total)
        inputs, labels = batch(split, chosen.numpy())
        self.optimizer.zero_grad(set_to_none=True)
        value = self.loss(self.module, inputs, labels, chosen)
        number = float(value.detach())
        if not math.isfinite(number):
            raise InvariantError(
                f"training diverged: the loss is {number} at epoch {epoch}, step {self.taken + 1} of {self.total}",
                where=self.stage,
                fix="lower lr",
            )
        value.backward()  # type: ignore[no-untyped-call]
        for constraint in self.constraints:
            constraint.before_step(self.module)
        self.optimizer.step()
        for constraint in self.constraints:
            constraint.project(self.module)
        self.taken += 1
        return number


def default_loss(settings: TrainSection) -> Loss:
    """Cross entropy with label smoothing, or mean squared error, of the module's first output."""

    def cross_entropy(module: nn.Module, inputs: dict[str, Tensor], labels: Tensor, _: Tensor) -> Tensor:
        return F.cross_entropy(outputs(module, inputs)[0], labels, label_smoothing=settings.label_smoothing)

    def mse(module: nn.Module, inputs: dict[str, Tensor], labels: Tensor, _: Tensor) -> Tensor:
        found = outputs(module, inputs)[0]
        return F.mse_loss(found, labels.to(found.dtype).reshape(found.shape))

    return cross_entropy if settings.loss == "cross_entropy" else mse


def batch(split: Split, chosen: NDArray[Any] | slice) -> tuple[dict[str, Tensor], Tensor]:
    """The chosen examples as tensors: floats as float32, labels as int64 classes or float32 values."""
    inputs = {name: _tensor(array[chosen]) for name, array in split.inputs.items()}
    labels = _tensor(split.labels[chosen])
    return inputs, labels if labels.is_floating_point() else labels.long()


def _tensor(array: NDArray[Any]) -> Tensor:
    if array.dtype.kind == "f" and array.dtype != np.float32:
        array = array.astype(np.float32)
    # Arrays from a memory map or of broadcasting are read-only, which torch warns about.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


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
    """How good outputs are, higher is better: top-1 accuracy, or minus the mean squared error."""
    if loss == "mse":
        return -float(np.mean((found - labels.reshape(found.shape)) ** 2))
    return float(np.mean(found.argmax(1) == labels))


def metric_name(settings: TrainSection) -> str:
    """What `quality` measures, in words for a report."""
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
