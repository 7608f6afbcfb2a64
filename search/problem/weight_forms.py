"""The forms in which a recipe may store weights: each is the name that a search has for a few steps.

Most are a scheme of `quantize` as it is by default. The others are what makes a scheme lose less in a network of many
layers, where errors add up, or leave a table of words, often half of a text model, smaller than its products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.core.documents import SearchSection
from weighbridge.core.facts.targets import TargetFacts

NOTHING = "none"
SHARE = "share-"
"""Begins the forms with shared weights; their bits follow."""
CORRECTED, BLOCKS, TABLES = "+corrected", "+blocks", "+tables-int4"
"""What is added to a scheme."""
MANY_LAYERS = 8
"""A network with more layers is offered `CORRECTED` and `BLOCKS`."""
BLOCK = 32
"""Weights that share a scale: a whole row is too many for 4 bits where rows are long."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    CORRECTED: {"calibration": "percentile", "bias_correction": True, "float_outputs": True},
    BLOCKS: {"block_size": BLOCK},
}


@dataclass(frozen=True)
class Stored:
    """What of a model decides how it can be stored."""

    layers: int = 0
    """How many have weights."""
    tables: tuple[str, ...] = ()
    """Embeddings that are a large part of all weights."""
    smallest: tuple[str, ...] = ()
    """Layers whose weights are so small that nothing of them would be left among all: they get no zeros."""
    blocks: bool = False
    """Whether every weight is whole blocks of `BLOCK`."""


def forms(section: SearchSection, target: TargetFacts, stored: Stored, *, trains: bool) -> list[str]:
    """All that `section` leaves for a model, besides `NOTHING`."""
    use, wanted = set(section.techniques), target.schemes if section.schemes is None else tuple(section.schemes)
    found: list[str] = []
    if "quantize" in use:
        found += [name for name in wanted if name in target.schemes and (name != "qat-int8" or trains)]
        if target.options is None:  # of the others, none takes more than `keep`
            found += _refined(found, stored)
    if "pack" in target.steps and "share" in use:
        found += [f"{SHARE}{bits}" for bits in sorted(section.bits, reverse=True)]
    return found


def _refined(schemes: Sequence[str], stored: Stored) -> list[str]:
    found = []
    if stored.layers > MANY_LAYERS:
        found += [f"static-int8{CORRECTED}", *([f"weight-int4{BLOCKS}"] if stored.blocks else [])]
    if stored.tables and stored.blocks and "weight-int4" in schemes:
        found += [f"dynamic-int8{TABLES}", f"static-int8{TABLES}"]
    return [name for name in found if scheme_of(name) in schemes]


def scheme_of(form: str) -> str:
    """The scheme of `quantize` that a form is of."""
    return form.partition("+")[0]


def plain(form: str) -> bool:
    """Whether nothing is added to its scheme."""
    return form == scheme_of(form)


def quantizing(form: str, keep: Sequence[str], tables: Sequence[str]) -> list[dict[str, Any]]:
    """The steps of a form that is a scheme, with what is added to it."""
    scheme, kept = scheme_of(form), {"keep": list(keep)} if keep else {}
    more = form.removeprefix(scheme)
    if more != TABLES:
        return [{"quantize": {"scheme": scheme, **OPTIONS.get(more, {}), **kept}}]
    words = {"scheme": "weight-int4", "block_size": BLOCK, **kept}
    return [{"quantize": {"scheme": scheme, "keep": [*keep, *tables]}}, {"quantize": words}]


__all__ = [
    "BLOCK",
    "BLOCKS",
    "CORRECTED",
    "NOTHING",
    "SHARE",
    "TABLES",
    "Stored",
    "forms",
    "plain",
    "quantizing",
    "scheme_of",
]
