"""The one loop that trains, fine-tunes, distils and does quantization-aware training.

Float32, one thread, Adam with a one-cycle learning rate; the same seed, data and module give the same bits on one
type of CPU. Constraints of earlier steps (masks, codebooks) are kept at every optimizer step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weighbridge.compress.steps import Constraint
from weighbridge.compress.training.losses import Loss, counted, default_loss
from weighbridge.compress.training.objective import Augment, augmentation, batch, deterministic
from weighbridge.compress.training.user_loop import run_loop
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.progress import Progress
from weighbridge.core.ragged import buckets
from weighbridge.data import Split


@dataclass(frozen=True)
class History:
    """What a training gave: the mean loss of each epoch, in order."""

    losses: tuple[float, ...]
    steps: int
    """Optimizer steps in all."""
    teacher: str | None = None
    """Digest of the artifact that taught, where one did."""


def one_cycle(step: int, total: int) -> float:
    """Share of the peak learning rate at `step` of `total`: up in a line for 30 %, then down along a cosine.

    Source: Smith and Topin, "Super-convergence", 2018 (arXiv:1708.07120), as commonly simplified.
    """
    rise = 0.3 * total
    if step < rise:
        return 0.04 + 0.96 * step / rise
    return max(0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1))), 1e-4)


def _require_examples(split: Split, settings: TrainSection, loss: Loss | None, stage: str) -> None:
    if len(split) == 0:
        raise InputError("there are no examples to train on", where=stage)
    if not split.labelled and loss is None and settings.loop is None and not settings.own_loss:
        raise InputError("the examples have no labels to train on", where=stage, fix="add labels, or give train.loss")


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
    _require_examples(split, settings, loss, stage)
    measure = loss or default_loss(settings)
    if settings.loop is not None:
        return _fit_by_user(module, split, settings, measure, seed, constraints, progress, stage, on_epoch)
    kinds = buckets(split.inputs)
    a_pass = sum(-(-len(places) // settings.examples_a_step) for places in kinds)
    total = settings.steps if settings.steps is not None else settings.epochs * a_pass
    losses = []
    with deterministic(seed):
        order = torch.Generator().manual_seed(seed)
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
        run = _Run(module, optimizer, measure, constraints, settings, total, stage, augmentation(settings, seed))
        epochs = -(-total // a_pass)
        for epoch in range(1, epochs + 1):
            module.train()
            value, seen = 0.0, 0
            for chosen in _parts(kinds, settings.examples_a_step, order)[: total - run.taken]:
                value += run.step(split, chosen, epoch) * len(chosen)
                seen += len(chosen)
            losses.append(value / seen)
            module.eval()
            if on_epoch is not None:
                on_epoch(epoch, module)
            if progress is not None:
                progress(stage, epoch, epochs, f"loss {losses[-1]:.4f}")
    return History(tuple(losses), run.taken)


def _parts(kinds: Sequence[NDArray[np.int64]], size: int, order: torch.Generator) -> list[Tensor]:
    """An epoch's batches of `size` examples at most, each of examples that are alike in shape, in random order.

    Parts of equal length: no last batch of a single example, on which batch normalisation fails.
    """
    parts: list[Tensor] = []
    for places in kinds:
        drawn = torch.from_numpy(places)[torch.randperm(len(places), generator=order)]
        parts.extend(torch.tensor_split(drawn, math.ceil(len(places) / size)))
    return (
        parts if len(kinds) == 1 else [parts[index] for index in torch.randperm(len(parts), generator=order).tolist()]
    )


@dataclass
class _Run:
    module: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    constraints: Sequence[Constraint]
    settings: TrainSection
    total: int
    stage: str
    augment: Augment | None
    taken: int = 0

    def step(self, split: Split, chosen: Tensor, epoch: int) -> float:
        """One optimizer step on the chosen examples; gives the loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * one_cycle(self.taken, self.total)
        self.optimizer.zero_grad(set_to_none=True)
        number = sum(self._gradients(split, part, share) for part, share in self._parts(split, chosen))
        if not math.isfinite(number):
            raise InvariantError(
                f"training diverged: the loss is {number} at epoch {epoch}, step {self.taken + 1} of {self.total}",
                where=self.stage,
                fix="lower lr",
            )
        for constraint in self.constraints:
            constraint.before_step(self.module)
        self.optimizer.step()
        for constraint in self.constraints:
            constraint.project(self.module)
        self.taken += 1
        return number

    def _parts(self, split: Split, chosen: Tensor) -> list[tuple[Tensor, float]]:
        """The batches of one step, and the share of each in its loss: together they weigh what one batch would."""
        parts = torch.tensor_split(chosen, math.ceil(len(chosen) / self.settings.batch_size))
        if len(parts) == 1:
            return [(chosen, 1.0)]
        counts = [counted(split.rows(part.numpy())[1], self.settings) for part in parts]
        return [(part, count / sum(counts)) for part, count in zip(parts, counts, strict=True) if count] or [
            (chosen, 1.0)
        ]

    def _gradients(self, split: Split, chosen: Tensor, share: float) -> float:
        """Add the gradients of one batch, its loss times `share`; gives that."""
        inputs, labels = batch(split, chosen.numpy())
        if self.augment is not None:
            inputs, labels = self.augment(inputs, labels)
            chosen = chosen[:0]  # a teacher answers what the student sees, not the examples as they were
        value = self.loss(self.module, inputs, labels, chosen)
        value = value if share == 1 else value * share
        number = float(value.detach())
        if math.isfinite(number):  # else the step is not taken
            value.backward()  # type: ignore[no-untyped-call]
        return number


def _fit_by_user(  # noqa: PLR0913, PLR0917  # what `fit` was given
    module: nn.Module,
    split: Split,
    settings: TrainSection,
    loss: Loss,
    seed: int,
    constraints: Sequence[Constraint],
    progress: Progress | None,
    stage: str,
    on_epoch: Callable[[int, nn.Module], None] | None,
) -> History:
    """The same training by the user's loop; `on_epoch` is called where it reports an epoch, or once at the end."""
    seen = 0
    no_indices = torch.zeros(0, dtype=torch.int64)  # a teacher answers each batch itself

    def reported(epoch: int, value: float) -> None:
        nonlocal seen
        seen = epoch
        if on_epoch is not None:
            on_epoch(epoch, module.eval())
            module.train()
        if progress is not None:
            progress(stage, epoch, settings.passes_for(len(split)), f"loss {value:.4f}")

    with deterministic(seed):
        losses, steps = run_loop(
            module,
            split,
            settings,
            seed=seed,
            constraints=constraints,
            loss=lambda inputs, labels: loss(module, inputs, labels, no_indices),
            on_progress=reported,
            stage=stage,
        )
    module.eval()
    if on_epoch is not None and seen == 0:
        on_epoch(settings.passes_for(len(split)), module)
    return History(losses, steps)
