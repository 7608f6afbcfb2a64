"""Optimizer steps of our own loop: batches, gradients that add up, mixed precision, constraints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weighbridge.compress.steps import Constraint
from weighbridge.compress.training.accelerator import Accelerator
from weighbridge.compress.training.losses import Loss, counted
from weighbridge.compress.training.objective import Augment, augmentation, batch
from weighbridge.compress.training.resuming import Parts, Position
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InvariantError
from weighbridge.data import Split


def one_cycle(step: int, total: int) -> float:
    """Share of the peak learning rate at `step` of `total`: up in a line for 30 %, then down along a cosine.

    Source: Smith and Topin, "Super-convergence", 2018 (arXiv:1708.07120), as commonly simplified.
    """
    rise = 0.3 * total
    if step < rise:
        return 0.04 + 0.96 * step / rise
    return max(0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1))), 1e-4)


def steps_a_pass(kinds: Sequence[NDArray[np.int64]], size: int) -> int:
    """Optimizer steps of `size` examples at most in one pass over examples of several shapes, by indices of each."""
    return sum(-(-len(places) // size) for places in kinds)


def drawn(kinds: Sequence[NDArray[np.int64]], size: int, order: torch.Generator) -> list[Tensor]:
    """The examples of each step of a pass, `size` at most, alike in shape within a step, in random order.

    Parts of equal length: no last batch of a single example, on which batch normalisation fails.
    """
    parts: list[Tensor] = []
    for places in kinds:
        mixed = torch.from_numpy(places)[torch.randperm(len(places), generator=order)]
        parts.extend(torch.tensor_split(mixed, math.ceil(len(places) / size)))
    if len(kinds) == 1:
        return parts
    return [parts[index] for index in torch.randperm(len(parts), generator=order).tolist()]


@dataclass
class Optimizing:
    """One training: what it is made of, and how a step is taken."""

    parts: Parts
    loss: Loss
    settings: TrainSection
    place: Accelerator
    total: int
    """Optimizer steps in all."""
    stage: str
    augment: Augment | None

    def step(self, split: Split, chosen: Tensor, position: Position) -> float:
        """One optimizer step on the chosen examples; gives the loss before it."""
        parts = self.parts
        for group in parts.optimizer.param_groups:
            group["lr"] = self.settings.lr * one_cycle(position.taken, self.total)
        parts.optimizer.zero_grad(set_to_none=True)
        number = sum(self._gradients(split, part, share) for part, share in self._shares(split, chosen))
        if not math.isfinite(number):
            raise InvariantError(
                f"training diverged: the loss is {number} at epoch {position.epoch}, "
                f"step {position.taken + 1} of {self.total}",
                where=self.stage,
                fix="lower lr",
            )
        parts.scaler.unscale_(parts.optimizer)
        for constraint in parts.constraints:
            constraint.before_step(parts.module)
        parts.scaler.step(parts.optimizer)
        parts.scaler.update()
        for constraint in parts.constraints:
            constraint.project(parts.module)
        return number

    def _shares(self, split: Split, chosen: Tensor) -> list[tuple[Tensor, float]]:
        """The batches of one step, and the share of each in its loss: together they weigh what one batch would."""
        parts = torch.tensor_split(chosen, math.ceil(len(chosen) / self.settings.batch_size))
        if len(parts) == 1:
            return [(chosen, 1.0)]
        counts = [counted(split.rows(part.numpy())[1], self.settings) for part in parts]
        shares = [(part, count / sum(counts)) for part, count in zip(parts, counts, strict=True) if count]
        return shares or [(chosen, 1.0)]

    def _gradients(self, split: Split, chosen: Tensor, share: float) -> float:
        """Add the gradients of one batch, its loss times `share`; gives that."""
        inputs, labels = batch(split, chosen.numpy())
        if self.augment is not None:
            inputs, labels = self.augment(inputs, labels)
            chosen = chosen[:0]  # a teacher answers what the student sees, not the examples as they were
        device = self.place.device
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        with self.place.mixed():
            value = self.loss(self.parts.module, inputs, labels.to(device), chosen)
        value = value if share == 1 else value * share
        number = float(value.detach())
        if math.isfinite(number):  # else the step is not taken
            self.parts.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        return number


def optimizing(  # noqa: PLR0913  # what `fit` was given
    module: nn.Module,
    settings: TrainSection,
    place: Accelerator,
    *,
    seed: int,
    loss: Loss,
    constraints: Sequence[Constraint],
    kinds: Sequence[NDArray[np.int64]],
    stage: str,
) -> Optimizing:
    """A training of a module that is on its device already."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    order, changes = (torch.Generator().manual_seed(seed) for _ in range(2))
    parts = Parts(module, optimizer, place.scaler(), order, changes, constraints)
    a_pass = steps_a_pass(kinds, settings.examples_a_step)
    total = settings.steps if settings.steps is not None else settings.epochs * a_pass
    return Optimizing(parts, loss, settings, place, total, stage, augmentation(settings, changes))
