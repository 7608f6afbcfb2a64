"""The one loop that trains, fine-tunes, distils and does quantization-aware training.

Adam with a one-cycle learning rate. On the CPU, which is the default, one thread: the same seed, data and module give
the same bits on one type of CPU. Constraints of earlier steps (masks, codebooks) are kept at every optimizer step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weighbridge.compress.steps import Constraint
from weighbridge.compress.training.accelerator import Accelerator, chosen
from weighbridge.compress.training.losses import Loss, default_loss
from weighbridge.compress.training.objective import deterministic
from weighbridge.compress.training.optimizing import Optimizing, drawn, optimizing, steps_a_pass
from weighbridge.compress.training.resuming import Kept, Position, kept_state
from weighbridge.compress.training.user_loop import run_loop
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError
from weighbridge.core.progress import Progress, silent
from weighbridge.data import Split


@dataclass(frozen=True)
class History:
    """What a training gave: the mean loss of each epoch, in order."""

    losses: tuple[float, ...]
    steps: int
    """Optimizer steps in all."""
    teacher: str | None = None
    """Digest of the artifact that taught, where one did."""
    device: str | None = None
    """Device and precision, where that was not the CPU in float32."""


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
    """Train `module` in place on `split` and leave it in eval mode, on the CPU.

    `loss` replaces the one that `settings.loss` names. After each epoch `on_epoch(epoch from 1, module)` is called
    with the module in eval mode. Within `resumable`, and without `on_epoch`, the training goes on where one that was
    killed had its last checkpoint. Raises `InvariantError` with stage, epoch and step where the loss is no finite
    number, `InputError` where the split is empty, labels do not fit the outputs, the device is missing or a checkpoint
    was changed.
    """
    _require_examples(split, settings, loss, stage)
    place = chosen(settings)
    measure = loss or default_loss(settings)
    kept = kept_state(module, settings, seed, stage, place.name) if on_epoch is None else None
    if settings.loop is not None:
        return _fit_by_user(module, split, settings, measure, seed, constraints, progress, stage, on_epoch, place, kept)
    with deterministic(seed), _on(place, module):
        run = optimizing(
            module,
            settings,
            place,
            seed=seed,
            loss=measure,
            constraints=constraints,
            kinds=split.kinds(),
            stage=stage,
        )
        position = _passes(run, split, kept, on_epoch, progress or silent)
    return History(tuple(position.losses), position.taken, device=place.recorded())


@contextmanager
def _on(place: Accelerator, module: nn.Module) -> Iterator[None]:
    """The module on its device while it trains; back on the CPU afterwards."""
    if place.device.type != "cpu":
        # Some of CUDA's operators have no deterministic form; its bits are not promised.
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        module.to(place.device)
        yield
    finally:
        module.to("cpu")


def _passes(
    run: Optimizing,
    split: Split,
    kept: Kept | None,
    on_epoch: Callable[[int, nn.Module], None] | None,
    progress: Progress,
) -> Position:
    """Every pass that is left; where the training ended."""
    module, order = run.parts.module, run.parts.order
    size, total, kinds = run.settings.examples_a_step, run.total, split.kinds()
    epochs = -(-total // steps_a_pass(kinds, size))
    found = kept.read(run.parts) if kept is not None else None
    position, begin = found or (Position(), order.get_state())
    if found is not None:
        progress(run.stage, len(position.losses), epochs, f"continued at step {position.taken} of {total}")
    while position.done or position.taken < total:
        order.set_state(begin)
        module.train()
        left = total - position.taken + position.done
        for rows in drawn(kinds, size, order)[position.done : left]:
            position.count(run.step(split, rows, position), len(rows))
            if kept is not None and kept.due():
                kept.write(run.parts, position, begin)
        position.next_pass()
        begin = order.get_state()
        module.eval()
        if on_epoch is not None:
            on_epoch(len(position.losses), module)
        progress(run.stage, len(position.losses), epochs, f"loss {position.losses[-1]:.4f}")
    if kept is not None:
        kept.finish(run.parts, position, begin)
    module.eval()
    return position


def _measured(module: nn.Module, loss: Loss, place: Accelerator) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """The loss of a batch as a user's loop asks for it: wherever its tensors are."""
    no_indices = torch.zeros(0, dtype=torch.int64)  # a teacher answers each batch itself

    def measured(inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        given = {name: tensor.to(place.device) for name, tensor in inputs.items()}
        with place.mixed():
            return loss(module, given, labels.to(place.device), no_indices)

    return measured


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
    place: Accelerator,
    kept: Kept | None,
) -> History:
    """The same training by the user's loop; `on_epoch` is called where it reports an epoch, or once at the end."""
    seen = 0

    def reported(epoch: int, value: float) -> None:
        nonlocal seen
        seen = epoch
        if on_epoch is not None:
            on_epoch(epoch, module.eval())
            module.train()
        if progress is not None:
            progress(stage, epoch, settings.passes_for(len(split)), f"loss {value:.4f}")

    with deterministic(seed), _on(place, module):
        losses, steps = run_loop(
            module,
            split,
            settings,
            seed=seed,
            constraints=constraints,
            loss=_measured(module, loss, place),
            on_progress=reported,
            stage=stage,
            place=place,
            scratch=kept.folder() if kept is not None else None,
        )
    module.eval()
    if on_epoch is not None and seen == 0:
        on_epoch(settings.passes_for(len(split)), module)
    return History(losses, steps, device=place.recorded())
