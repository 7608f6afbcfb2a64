"""What a factorize step asks for."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import nn

from weighbridge.compress.steps import StepConfig
from weighbridge.compress.techniques.factorize.lowrank import Convolution
from weighbridge.compress.techniques.prune.config import Amount
from weighbridge.compress.training.settings import Finetune

Layer = nn.Linear | Convolution


class FactorizeConfig(StepConfig):
    """Replace layers by low-rank chains. Exactly one of `ratio`, `energy`, `rank` and `params` chooses the ranks."""

    method: Literal["svd", "tucker2"] = "svd"
    """Form of convolutions with more than one kernel position; all else is factorized by `svd`."""
    ratio: float | None = Field(default=None, gt=0, lt=1)
    """Rank as a part of each layer's full rank."""
    energy: float | None = Field(default=None, gt=0, lt=1)
    """Part of each layer's squared singular values to keep."""
    rank: int | None = Field(default=None, ge=1)
    """The same rank for all layers chosen."""
    params: Amount | None = None
    """Parameters that may be left: a share of the model's (0.5) or a count (`300k`). All layers keep the same
    energy, as much as fits."""
    layers: list[str] | None = None
    """Names or patterns of layers to factorize; where not set, all for which it pays."""
    keep: list[str] = Field(default_factory=list)
    """Names or patterns of layers to leave alone."""
    finetune: Finetune | None = None
    """Train the model after factorizing."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = [name for name in ("ratio", "energy", "rank", "params") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of ratio, energy, rank, params; found {', '.join(given) or 'none'}")
        return self
