"""Which layers suffer most: quantize one at a time and see how far the outputs move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from weighbridge.compress.graph.lowering import Array, agreement

Ranking = list[tuple[str, float]]
"""Layer names with the relative error of the outputs when that layer alone is quantized, worst first."""


def rank(names: Sequence[str], outputs_with: Callable[[str], Sequence[Array]], reference: Sequence[Array]) -> Ranking:
    """Rank layers by the error of `outputs_with(layer)` against `reference`; ties keep the layers' order."""
    errors = [(name, agreement(outputs_with(name), reference)["relative_error"]) for name in dict.fromkeys(names)]
    return sorted(errors, key=lambda item: -item[1])


def too_sensitive(ranking: Ranking, limit: float) -> list[str]:
    """The `limit` worst layers where it is a whole number, or those whose error exceeds it where it is below 1."""
    if isinstance(limit, int):
        return [name for name, _ in ranking[:limit]]
    return [name for name, error in ranking if error > limit]


def as_facts(ranking: Ranking) -> list[dict[str, Any]]:
    """The ranking as JSON values."""
    return [{"layer": name, "relative_error": float(f"{error:.4g}")} for name, error in ranking]
