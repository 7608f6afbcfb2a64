"""What must hold after every step and on the final file. Each check raises `InvariantError` or says what it found.

They look at outcomes (weights, bytes, outputs), not at what a technique says of itself, so that a technique that
did nothing, or undid another, is caught whatever it reports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from weighbridge.compress.graph.constants import effective_weights
from weighbridge.compress.steps import Constraint, Facts
from weighbridge.core.documents import Sizes
from weighbridge.core.errors import InvariantError

Array = NDArray[Any]

SPARSE = 0.05
"""From this share of zeros on, a weight counts as pruned."""
SHARED = 256
"""Up to so many distinct values, and at least four weights to each, a weight counts as shared."""


@dataclass(frozen=True)
class Claim:
    """What module steps left in one weight, which the file that ships must still show."""

    parameter: str
    count: int
    """Weights in it."""
    zeros: int
    distinct: int | None
    """Distinct values, zero included, where the weight is shared."""


def state_digest(module: nn.Module) -> str:
    """SHA-256 over the names, shapes, types and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def changed(before: object, after: object, where: str) -> None:
    """A step that changed nothing is an error."""
    if before == after:
        raise InvariantError("the step changed nothing", where=where, fix="remove it, or give it something to do")


def finite_weights(module: nn.Module, where: str) -> None:
    """No weight or buffer is NaN or infinite."""
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InvariantError(f"{name} holds NaN or infinite values", where=where)


def finite(outputs: Iterable[Array], where: str) -> None:
    """No output on the calibration examples is NaN or infinite."""
    for index, output in enumerate(outputs):
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            bad = int((~np.isfinite(output)).reshape(len(output), -1).any(axis=1).sum())
            raise InvariantError(
                f"output {index} is NaN or infinite for {bad} of {len(output)} calibration examples", where=where
            )


def constraints_hold(constraints: Sequence[Constraint], module: nn.Module, where: str) -> None:
    """Masks and codebooks of this and all earlier steps are intact."""
    for constraint in constraints:
        broken = constraint.violation(module)
        if broken is not None:
            raise InvariantError(f"broke the {constraint.name}: {broken}", where=where)


def constraints_kept(before: Sequence[Constraint], after: Sequence[Constraint], where: str) -> None:
    """A step may replace an earlier constraint by one of the same name, never lose it."""
    names = {constraint.name for constraint in after}
    for constraint in before:
        if constraint.name not in names:
            raise InvariantError(f"lost the {constraint.name} of an earlier step", where=where)


def fell(names: Sequence[str], before: Sizes, after: Sizes, where: str) -> None:
    """Each named size is smaller than it was before the step."""
    for name in names:
        was, now = getattr(before, name), getattr(after, name)
        assert was is not None, name  # sizes that must fall are asked for
        assert now is not None, name
        if now >= was:
            raise InvariantError(f"{name} did not fall: {was} before the step, {now} after", where=where)


def claims(module: nn.Module) -> list[Claim]:
    """Which weights are sparse or shared, and how: read off the module after its last step."""
    return _claims({name: parameter.detach().numpy() for name, parameter in module.named_parameters()})


def claims_read(made: Sequence[Claim], module: nn.Module, weights: Mapping[str, Array]) -> list[Claim]:
    """The same of what an exported file reads, by its weights: of positions, those that its inputs have."""
    sizes = {values.size for values in weights.values()}
    parameters = dict(module.named_parameters())
    found: list[Claim] = []
    for claim in made:
        rows = None if claim.count in sizes else _rows_of(parameters[claim.parameter].detach().numpy(), weights)
        found += [claim] if rows is None else _claims({claim.parameter: rows})
    return found


def _rows_of(table: Array, weights: Mapping[str, Array]) -> Array | None:
    """Rows of a table, one after the other, that are a weight of the file; `None` where there are none."""
    row = table[0].size
    for values in weights.values():
        if values.size < table.size and values.size and values.size % row == 0:
            part = values.reshape(-1, *table.shape[1:])
            first = np.flatnonzero((table == part[0]).reshape(len(table), -1).all(axis=1))
            if any(np.array_equal(table[start : start + len(part)], part) for start in first):
                return part
    return None


def claims_of_file(file: ModelProto | Mapping[str, Array]) -> list[Claim]:
    """The same of a file (ONNX, or the weights of any other), which the next lowering step must leave as it is."""
    return _claims(file if isinstance(file, Mapping) else effective_weights(file))


def _claims(weights: Mapping[str, Array]) -> list[Claim]:
    found, seen = [], set()
    for name, values in weights.items():
        # Exporters store equal weights once.
        content = hashlib.sha256(np.sort(values, axis=None).tobytes()).digest()
        if values.ndim < 2 or not values.size or content in seen:
            continue
        seen.add(content)
        zeros = int(values.size - np.count_nonzero(values))
        distinct: int | None = len(np.unique(values))
        if distinct is not None and (distinct > SHARED or distinct * 4 > values.size):
            distinct = None
        if zeros >= SPARSE * values.size or distinct is not None:
            found.append(Claim(name, values.size, zeros, distinct))
    return found


def claims_hold(made: Sequence[Claim], file: ModelProto | Mapping[str, Array], where: str) -> Facts:
    """Every sparse or shared weight is found again in a file (ONNX, or the weights of any other): no fewer zeros, no
    more distinct values.

    Weights are compared as the runtime computes with them (decoded, dequantized), by their number and content,
    because lowering renames, transposes and packs them. Distinct values count over the tensor or, because
    quantization scales every channel by itself, over each slice along one axis.
    """
    if not made:
        return {}
    weights = dict(file) if isinstance(file, Mapping) else effective_weights(file)
    for claim in sorted(made, key=lambda item: (-item.zeros, item.distinct or SHARED + 1)):
        fits = [
            name
            for name, values in weights.items()
            if values.size == claim.count and _zeros(values) >= claim.zeros and _shared(values, claim.distinct)
        ]
        if not fits:
            raise InvariantError(_unmet(claim, weights), where=where)
        # The tightest fit, so that a sparser weight is left for the claim that needs it.
        del weights[min(fits, key=lambda name: _zeros(weights[name]))]
    return {
        "weights": len(made),
        "zeros": sum(claim.zeros for claim in made),
        "shared": sum(claim.distinct is not None for claim in made),
    }


def _unmet(claim: Claim, weights: Mapping[str, Array]) -> str:
    asked = f"{claim.zeros} zeros of {claim.count}"
    asked += f", {claim.distinct} distinct values" if claim.distinct is not None else ""
    same = [values for values in weights.values() if values.size == claim.count]
    if not same:
        return f"{claim.parameter} ({asked}) is not among the file's weights"
    found = max(same, key=_zeros)
    return f"{claim.parameter} had {asked}; the file has {_zeros(found)} zeros, {len(np.unique(found))} distinct values"


def _zeros(values: Array) -> int:
    return int(values.size - np.count_nonzero(values))


def _shared(values: Array, distinct: int | None) -> bool:
    if distinct is None or len(np.unique(values)) <= distinct:
        return True
    return any(
        all(len(np.unique(part)) <= distinct for part in np.moveaxis(values, axis, 0)) for axis in range(values.ndim)
    )


_INTEGER = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "MatMulNBits", "DequantizeLinear", "DynamicQuantize")


def integer_nodes(proto: ModelProto) -> int:
    """Nodes that compute on integers or read integer weights."""
    return sum(node.op_type.startswith(_INTEGER) for node in proto.graph.node)


def integers_kept(before: int, file: ModelProto | int, where: str) -> None:
    """A later lowering did not turn an integer model back into floats: a graph, or how many operators are integer."""
    if before and not (file if isinstance(file, int) else integer_nodes(file)):
        raise InvariantError(f"the {before} integer operators of an earlier step are gone", where=where)
