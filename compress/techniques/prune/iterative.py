"""Prune a little, fine-tune, measure on examples held out of train, and stop before the accuracy budget breaks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

from weighbridge.compress.steps import Context, Facts, Subject
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.module_quality import evaluate, quality
from weighbridge.compress.training.splits import holdout
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InvariantError
from weighbridge.data import Split

Cut = Callable[[Subject, float, Context], Subject]
"""(subject, amount, context) → the same subject pruned to that amount in all; it may change the one it is given."""


def prune_until(config: PruneConfig, subject: Subject, context: Context, cut: Cut) -> tuple[Subject, Facts]:
    """Go towards the target in equal rounds; give back the last round within `config.max_drop`, and all rounds' facts.

    Raises `InvariantError` where the first round is over the budget already: the step would change nothing.
    """
    target = config.sparsity or config.ratio
    assert target is not None  # the config demands one of them with max_drop
    assert config.max_drop is not None
    assert config.finetune is not None
    part, held = holdout(context.data.train, config.validation, context.seed)
    judge = _Judge(part, held, config.finetune.settings(context.train), context)
    reference = judge.tuned(_copied(subject), "prune reference")
    best, rounds = None, []
    for number in range(1, config.rounds + 1):
        amount = target * number / config.rounds
        pruned = cut(_copied(best or subject), amount, replace(context, data=replace(context.data, train=part)))
        drop = reference - judge.tuned(pruned, f"prune round {number}")
        rounds.append({"amount": round(amount, 6), "drop": round(drop, 6), "kept": drop <= config.max_drop})
        context.progress("prune", number, config.rounds, f"{amount:.0%}, drop {drop:.4f}")
        if drop > config.max_drop:
            break
        best = pruned
    if best is None:
        raise InvariantError(
            f"the first round ({rounds[0]['amount']:g}) loses {rounds[0]['drop']} on {len(held)} held-out examples; "
            f"max_drop is {config.max_drop:g}",
            where="prune",
            fix="take more rounds, more epochs, or a larger max_drop",
        )
    return best, {"rounds": rounds, "reference": round(reference, 6), "validation_examples": len(held)}


@dataclass(frozen=True)
class _Judge:
    part: Split
    held: Split
    settings: TrainSection
    context: Context

    def tuned(self, subject: Subject, stage: str) -> float:
        """Fine-tune in place on the part to train on; how good the held-out part is answered."""
        fit(
            subject.module,
            self.part,
            self.settings,
            seed=self.context.seed,
            constraints=subject.constraints,
            progress=self.context.progress,
            stage=stage,
        )
        return quality(evaluate(subject.module, self.held), self.held.labels, self.settings.loss)


def _copied(subject: Subject) -> Subject:
    return Subject(copy.deepcopy(subject.module), list(subject.constraints), dict(subject.notes))
