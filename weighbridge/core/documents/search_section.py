"""The section `search:` of `params.yaml`: what of the recipe grammar a search may use, and how far it goes."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from weighbridge.core.documents.base import Written
from weighbridge.core.facts.targets import TARGETS

Technique = Literal["prune-layers", "prune-channels", "factorize", "prune-weights", "share", "quantize"]
Share = Annotated[float, Field(gt=0, lt=1)]
SCHEMES = tuple(dict.fromkeys(scheme for row in TARGETS.values() for scheme in row.schemes))


class SearchSection(Written):
    """What `weighbridge search` and `weighbridge advise` may try. What is not set is the whole grammar."""

    techniques: list[Technique] = list(get_args(Technique))
    """Kinds of steps. `pack` follows by itself where zeros or shared values would else change no byte."""
    depths: list[Share] = [0.25, 0.5]
    """Shares of the layers that can go; where these are eight or fewer, each is chosen by itself instead."""
    widths: list[Share] = [0.25, 0.5, 0.75]
    """Shares of a layer's channels that may go."""
    factors: list[Share] = [0.25, 0.5]
    """Ranks that `factorize` may keep, as shares of full rank."""
    sparsities: list[Share] = [0.5, 0.7, 0.8, 0.87, 0.92]
    """Shares of the weights that may become zero."""
    bits: list[Annotated[int, Field(ge=1, le=8)]] = [2, 3, 4, 5]
    """Bits of shared weights."""
    schemes: list[str] | None = None
    """Schemes of `quantize`; all that the target has a form of where it is not set."""
    teacher: bool = True
    """Whether fine-tuning may learn from the baseline as well."""
    keep: list[str] = []
    """Names or patterns of layers that are left alone by every step."""
    epochs: int = Field(default=10, ge=0, le=1000)
    """Epochs of fine-tuning in one recipe at most; rungs of 0 and 3 come before."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for scheme in self.schemes or ():
            if scheme not in SCHEMES:
                raise ValueError(f"unknown scheme {scheme!r}; known: {', '.join(SCHEMES)}")
        for name in ("techniques", "depths", "widths", "factors", "sparsities", "bits", "schemes"):
            values = getattr(self, name) or []
            if len(set(values)) != len(values):
                raise ValueError(f"{name!r} names one value twice")
        return self
