"""Prune single weights by magnitude: in one shot, or more and more while training (Zhu and Gupta, 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from weighbridge.compress.graph.layers import Weight, choose_weights
from weighbridge.compress.steps import Constraint, Context, Facts, Subject
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.techniques.prune.masks import Mask, pattern, shares, smallest
from weighbridge.compress.training.finetune import finetune
from weighbridge.compress.training.loop import History
from weighbridge.compress.training.optimizing import steps_a_pass
from weighbridge.core.errors import InvariantError

RAMP = 0.6
"""Share of the fine-tuning after which a cubic schedule has reached its sparsity; the rest recovers."""
UPDATES = 100
"""How often at most a cubic schedule chooses its masks anew."""


def prune_once(config: PruneConfig, subject: Subject, sparsity: float | None) -> Subject:
    """`subject` with masks at `sparsity` (by pattern where it is None), their weights zero. Earlier zeros stay."""
    chosen = choose_weights(subject.module, config.layers, config.keep, "prune")
    masks = pattern(chosen, *config.kept_of()) if sparsity is None else smallest(chosen, sparsity, scope_of(config))
    return with_masks(subject, masks)


def with_masks(subject: Subject, masks: dict[str, Tensor]) -> Subject:
    """`subject` with one mask a parameter, joined with the masks that it has already."""
    mine = []
    for name, kept in masks.items():
        earlier = [item.kept for item in subject.constraints if isinstance(item, Mask) and item.parameter == name]
        for before in earlier:
            kept &= before  # noqa: PLW2901  # the masks were made for this call
        mine.append(Mask(name, kept))
    others: list[Constraint] = [
        item for item in subject.constraints if not (isinstance(item, Mask) and item.parameter in masks)
    ]
    for mask in mine:
        mask.project(subject.module)
    return Subject(subject.module, [*others, *mine], subject.notes)


def prune_gradually(config: PruneConfig, subject: Subject, context: Context) -> tuple[Subject, History]:
    """Fine-tune while sparsity rises along the cubic schedule to `config.sparsity`; the module is trained in place."""
    assert config.sparsity is not None  # the config demands both for this schedule
    assert config.finetune is not None
    settings = config.finetune.settings(context.train)
    chosen = choose_weights(subject.module, config.layers, config.keep, "prune")
    a_pass = steps_a_pass(context.data.train.kinds(), settings.examples_a_step)
    steps = settings.steps if settings.steps is not None else settings.epochs * a_pass
    fixed = shares(chosen, config.sparsity) if config.scope == "global-once" else None
    growing = GrowingMasks(chosen, config.sparsity, scope_of(config), steps, fixed)
    constraints = [*subject.constraints, growing]
    history = finetune(subject.module, config.finetune, context, constraints=constraints, stage="prune")
    return with_masks(subject, growing.masks), history


@dataclass
class GrowingMasks:
    """Masks of all chosen weights that are widened while the training loop runs; a `Constraint` of that loop alone."""

    weights: list[Weight]
    sparsity: float
    scope: str
    steps: int
    """Optimizer steps of the whole training."""
    shares: dict[str, float] | None = None
    """Of each parameter the share of zeros at the end; None: all are ranked together each time."""
    masks: dict[str, Tensor] = field(default_factory=dict)
    taken: int = 0

    @property
    def name(self) -> str:
        """Technique and schedule."""
        return "prune masks of the cubic schedule"

    def before_step(self, module: nn.Module) -> None:
        """Widen the masks where the schedule says so, then leave pruned weights without a gradient."""
        ramp = max(1, int(RAMP * self.steps))
        every = max(1, ramp // UPDATES)
        if self.taken <= ramp and (self.taken % every == 0 or self.taken == ramp):
            self.masks = self._chosen(1 - (1 - self.taken / ramp) ** 3)
        self.taken += 1
        for name, kept in self.masks.items():
            gradient = module.get_parameter(name).grad
            if gradient is not None:
                gradient.mul_(kept.to(gradient.device))

    def _chosen(self, part: float) -> dict[str, Tensor]:
        """Masks at a part of the sparsity. Pruned weights are zero, so they rank last and stay pruned."""
        if self.shares is None:
            return smallest(self.weights, self.sparsity * part, self.scope)
        return {
            name: mask
            for weight in self.weights
            for name, mask in smallest([weight], self.shares[weight.name] * part, "layer").items()
        }

    def project(self, module: nn.Module) -> None:
        """Pruned weights are zero."""
        with torch.no_grad():
            for name, kept in self.masks.items():
                parameter = module.get_parameter(name)
                parameter.mul_(kept.to(parameter.device))

    def state(self) -> dict[str, Tensor]:
        """The masks and the steps so far, for a training that goes on after a kill."""
        return {**self.masks, "": torch.tensor(self.taken)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.masks = {name: kept for name, kept in state.items() if name}
        self.taken = int(state[""])

    def violation(self, module: nn.Module) -> str | None:
        """The masks of this schedule hold."""
        broken = (Mask(name, kept).violation(module) for name, kept in self.masks.items())
        return next((item for item in broken if item is not None), None)


def scope_of(config: PruneConfig) -> str:
    """Where weights are ranked at once; unset means over all layers."""
    return "layer" if config.scope == "layer" else "global"


def sparsity_facts(config: PruneConfig, subject: Subject) -> Facts:
    """Zeros as they really are, by parameter; an `InvariantError` where they are fewer than were asked for."""
    chosen = choose_weights(subject.module, config.layers, config.keep, "prune")
    zeros = {weight.name: int((weight.tensor == 0).sum()) for weight in chosen}
    counts = {weight.name: weight.tensor.numel() for weight in chosen}
    total = sum(counts.values())
    reached = sum(zeros.values()) / total
    if config.max_drop is None and sum(zeros.values()) < _asked(config, counts.values()):
        raise InvariantError(
            f"sparsity is {reached:.4f}; {config.pattern or config.sparsity} was asked for", where="prune"
        )
    by_layer = {name: round(zeros[name] / counts[name], 4) for name in counts}
    return {"sparsity": round(reached, 6), "zeros": sum(zeros.values()), "weights": total, "by_layer": by_layer}


def _asked(config: PruneConfig, counts: Iterable[int]) -> int:
    """Zeros that the config asks of tensors of so many weights, rounded where `smallest` and `pattern` round."""
    if config.sparsity is None:
        kept, of = config.kept_of()
        return sum(count - count * kept // of for count in counts)
    parts = counts if scope_of(config) == "layer" else [sum(counts)]
    return sum(round(config.sparsity * part) for part in parts)
