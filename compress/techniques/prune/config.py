"""What a recipe may ask of pruning."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from weighbridge.compress.steps import StepConfig
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.documents import parse_quantity

_PATTERN = re.compile(r"([1-9]\d?):([1-9]\d?)")
_OWN = {
    **dict.fromkeys(("sparsity", "pattern", "schedule"), ("magnitude",)),
    **dict.fromkeys(("macs", "params", "importance", "round_to"), ("structured",)),
    "ratio": ("structured", "depth"),
    **dict.fromkeys(("scope", "max_drop", "rounds", "validation"), ("magnitude", "structured")),
}
"""Keys that belong to some methods alone."""


def _count(value: Any) -> Any:
    return parse_quantity(value, "count") if isinstance(value, str) else value


Amount = Annotated[float, BeforeValidator(_count), Field(gt=0)]
"""Below 1 a share of what the model has; from 1 on a count, `2M` and `300k` are read too."""


class PruneConfig(StepConfig):
    """Remove weights one by one (`magnitude`), whole channels (`structured`) or whole layers (`depth`)."""

    method: Literal["magnitude", "structured", "depth"] = "magnitude"
    """`magnitude`: the smallest weights become zero and stay zero through every later step; the file shrinks when it
    is packed or compressed. `structured`: whole channels go, so that the file is smaller and runs faster as it is.
    `depth`: whole layers go, of those that give the shape they get; what they would have got is passed on."""
    scope: Literal["global", "global-once", "layer"] | None = None
    """Rank weights or channels over all layers together, or in each layer by itself. Unset: `global` for magnitude,
    `layer` for structured. `global-once` (magnitude): over all layers together before any training; each layer keeps
    its share while `schedule: cubic` chooses anew within it, so that `explain` knows how many zeros each will have."""
    layers: list[str] | None = None
    """Names or patterns of the layers to prune; all that can be where it is not set: layers whose channels cannot be
    followed to where they end stay whole then. Of `depth` the layers that go, or where `ratio` is given those of
    which it is a share."""
    keep: list[str] = Field(default_factory=list)
    """Names or patterns of layers to leave whole. Structured pruning always keeps the layers that make the outputs."""
    finetune: Finetune | None = None
    """Training that follows, or with `schedule: cubic` and `max_drop` accompanies, the pruning."""

    sparsity: float | None = Field(default=None, gt=0, lt=1)
    """Share of the weights that become zero (magnitude)."""
    pattern: str | None = None
    """`N:M`, e.g. `2:4`: of every M weights in a row along the inputs of an output, N are kept (magnitude)."""
    schedule: Literal["one-shot", "cubic"] = "one-shot"
    """`cubic`: sparsity rises along s·(1 - (1 - t)³) during the first 60 % of the fine-tuning (Zhu and Gupta, "To
    prune, or not to prune", 2017, arXiv:1710.01878), which loses less accuracy at high sparsity (magnitude)."""

    ratio: float | None = Field(default=None, gt=0, lt=1)
    """Share of the channels that go (structured): a share r of all channels is about 1 - (1 - r)² of the parameters.
    Of `depth` the share of the removable layers, one at least; first those without which the outputs change least."""
    macs: Amount | None = None
    """MACs that may be left, instead of `ratio`: a share of the model's (0.5) or a count (`2M`)."""
    params: Amount | None = None
    """Parameters that may be left, instead of `ratio`: a share or a count."""
    importance: Literal["l1", "l2", "bn", "taylor"] = "l2"
    """How a channel is ranked, over all layers that lose it together: norm of its weights, scale of its
    normalisation (Network Slimming, arXiv:1708.06519), or first-order change of the loss (arXiv:1906.10771)."""
    round_to: int = Field(default=8, ge=1, le=1024)
    """Channels that are left are a multiple of this, as the runtime's kernels like; layers with fewer stay whole."""

    max_drop: float | None = Field(default=None, gt=0, lt=1)
    """Prune in `rounds`, fine-tune after each, and stop before the drop on a validation part exceeds this. The part
    is held out of train, and the drop is against the unpruned model after the same fine-tuning. The baseline was
    trained on that part too, so what is forgotten of it counts as lost: the stop errs on the safe side."""
    rounds: int = Field(default=4, ge=2, le=100)
    """Equal steps towards the target (with `max_drop`)."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share of train that is held out (with `max_drop`)."""
    reestimate_bn: bool = True
    """Take the running statistics of batch normalisations anew from train after pruning, before any fine-tuning."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        foreign = sorted(key for key in self.model_fields_set if self.method not in _OWN.get(key, (self.method,)))
        if foreign:
            raise ValueError(f"{', '.join(foreign)} does not apply to method {self.method}")
        if self.method == "depth":
            if self.ratio is None and self.layers is None:
                raise ValueError("method depth needs 'layers', 'ratio' or both")
            return self
        targets = {"magnitude": ("sparsity", "pattern"), "structured": ("ratio", "macs", "params")}[self.method]
        given = [name for name in targets if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"method {self.method} needs exactly one of {', '.join(targets)}; found {', '.join(given) or 'none'}"
            )
        if self.method == "structured" and self.scope == "global-once":
            raise ValueError("scope global-once is of zeros; channels are ranked before any training as it is")
        self._check_schedule()
        return self

    def _check_schedule(self) -> None:
        if self.pattern is not None:
            kept, of = self.kept_of()
            if kept >= of:
                raise ValueError(f"pattern {self.pattern} keeps everything; N must be smaller than M")
            if self.schedule == "cubic" or self.max_drop is not None or self.scope is not None:
                raise ValueError(
                    "a pattern fixes the sparsity of every group: schedule, max_drop and scope do not apply"
                )
        if self.schedule == "cubic" and self.finetune is None:
            raise ValueError("schedule cubic prunes while it trains: it needs 'finetune'")
        if self.schedule == "cubic" and self.max_drop is not None:
            raise ValueError("max_drop prunes in rounds of its own; leave out 'schedule'")
        if self.max_drop is not None and self.finetune is None:
            raise ValueError("max_drop fine-tunes after each round: it needs 'finetune'")
        if self.max_drop is not None and self.finetune is not None and self.finetune.distill is not None:
            raise ValueError("max_drop stops by itself, so that a control without teacher would be another model")
        if self.max_drop is not None and (self.macs is not None or self.params is not None):
            raise ValueError("max_drop goes towards a ratio; give 'ratio' instead of 'macs' or 'params'")

    def kept_of(self) -> tuple[int, int]:
        """`pattern` as (N, M)."""
        match = _PATTERN.fullmatch(self.pattern or "")
        if not match:
            raise ValueError(f"pattern {self.pattern!r} is not N:M with N and M from 1 to 99")
        return int(match[1]), int(match[2])
