"""A training loop of the user's own, with the constraints of a recipe enforced around it.

`train.loop: module:callable` names a function of one argument, a `Training`. It trains `training.module` in place. It
may use any `torch.optim` optimizer: each of its steps is followed by the recipe's constraints (masks, codebooks),
through the hooks that PyTorch calls around every optimizer step. A loop that changes weights by other means calls
`training.after_step()` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from weighbridge.compress.steps import Constraint
from weighbridge.compress.training.accelerator import Accelerator
from weighbridge.core.callables import import_callable
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

WHERE = "params.yaml: train.loop"


@dataclass(frozen=True)
class Training:
    """What a user's loop gets."""

    module: nn.Module
    """In training mode, float32, on `device`; train it in place."""
    data: Split
    """The training examples: `data.inputs[name]` and `data.labels` are numpy arrays (n, …), mapped from a file;
    `data.rows(indices)` gives both for a batch."""
    epochs: int
    """Passes over `data` that the recipe grants."""
    steps: int
    """Optimizer steps that these are, which `train.steps` may set lower than whole passes."""
    batch_size: int
    accumulate_grad_batches: int
    """Batches in one optimizer step."""
    lr: float
    weight_decay: float
    seed: int
    """torch's global generator is seeded with it already; seed whatever else draws numbers."""
    device: torch.device
    """Where `train.device` has the training run."""
    precision: str
    """`fp32`, `bf16` or `fp16`; `loss` runs the module in it, and fp16 needs a `torch.amp.GradScaler` of yours."""
    scratch: Path | None
    """An empty folder of this training, which a run after a kill finds as it was left; None outside the pipeline."""
    loss: Callable[[dict[str, Tensor], Tensor], Tensor]
    """(inputs by name, labels) → a scalar: the task's loss, with the teacher's where the recipe has one. Takes tensors
    to `device`."""
    after_step: Callable[[], None]
    """Puts the weights back onto the recipe's constraints; called for you after each step of a torch optimizer."""
    progress: Callable[[int, float], None]
    """(epoch from 1, mean loss of the epoch): shown, and kept as the history of the training."""


@dataclass
class _Watch:
    """Counts steps and losses of one run of a user's loop, and keeps the constraints."""

    module: nn.Module
    constraints: Sequence[Constraint]
    steps: int = 0
    losses: list[float] = field(default_factory=list)

    def before(self, optimizer: Any, _: Any, __: Any) -> None:
        """Adjust gradients before a step of an optimizer that holds weights of the module."""
        if self._ours(optimizer):
            for constraint in self.constraints:
                constraint.before_step(self.module)

    def after(self, optimizer: Any, _: Any, __: Any) -> None:
        """Project after a step of such an optimizer."""
        if self._ours(optimizer):
            self.project()

    def project(self) -> None:
        """Put the weights back onto the constraints."""
        self.steps += 1
        for constraint in self.constraints:
            constraint.project(self.module)

    def _ours(self, optimizer: Any) -> bool:
        own = {id(parameter) for parameter in self.module.parameters()}
        return any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"])

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks around every optimizer's step of this process, for as long as the loop runs."""
        hooks = (register_optimizer_step_pre_hook(self.before), register_optimizer_step_post_hook(self.after))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def run_loop(  # noqa: PLR0913  # what `fit` was given
    module: nn.Module,
    split: Split,
    settings: TrainSection,
    *,
    seed: int,
    constraints: Sequence[Constraint],
    loss: Callable[[dict[str, Tensor], Tensor], Tensor],
    on_progress: Callable[[int, float], None],
    stage: str,
    place: Accelerator,
    scratch: Path | None,
) -> tuple[tuple[float, ...], int]:
    """Run the loop that `settings.loop` names; gives the losses that it reported and how many steps it took.

    Raises `InputError` where the loop cannot be imported or raises, `InvariantError` where it took no step, left
    weights that are not finite, or left a constraint broken.
    """
    assert settings.loop is not None  # callers ask first
    watch = _Watch(module, constraints)

    def progress(epoch: int, value: float) -> None:
        watch.losses.append(float(value))
        on_progress(epoch, float(value))

    training = Training(
        module=module.train(),
        data=split,
        epochs=settings.passes_for(len(split)),
        steps=settings.steps_for(len(split))[1],
        batch_size=settings.batch_size,
        accumulate_grad_batches=settings.accumulate_grad_batches,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        seed=seed,
        device=place.device,
        precision=place.precision,
        scratch=scratch,
        loss=loss,
        after_step=watch.project,
        progress=progress,
    )
    _call(settings.loop, training, watch, stage)
    _check(module, watch, constraints, settings.loop, stage)
    return tuple(watch.losses), watch.steps


def _call(name: str, training: Training, watch: _Watch, stage: str) -> None:
    loop = import_callable(name, WHERE)
    with watch.watching():
        try:
            loop(training)
        except InvariantError:
            raise
        except Exception as error:  # a user's loop may raise anything
            raise InputError(f"{name} failed in {stage}: {error!r}", where=WHERE) from error


def _check(module: nn.Module, watch: _Watch, constraints: Sequence[Constraint], loop: str, stage: str) -> None:
    if watch.steps == 0:
        raise InvariantError(
            f"{loop} took no optimizer step",
            where=stage,
            fix="train with a torch.optim optimizer, or call training.after_step() after each update",
        )
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InvariantError(f"{loop} left NaN or infinite values in {name!r}", where=stage, fix="lower lr")
    for constraint in constraints:
        broken = constraint.violation(module)
        if broken is not None:
            raise InvariantError(
                f"{loop} broke the {constraint.name}: {broken}",
                where=stage,
                fix="call training.after_step() after each change of the weights",
            )
