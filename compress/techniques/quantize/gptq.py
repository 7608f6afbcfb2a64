"""Weights of matrix products in blocks of few bits, for MatMulNBits: to the nearest value, or as GPTQ rounds.

Rounding to the nearest moves each weight as little as it can, and the product as far as it happens to. GPTQ rounds one
row after the other and lets the rows that are still open make up for the error, as the inputs of calibration data say.
Source: Frantar et al., "GPTQ", ICLR 2023 (arXiv:2210.17323), algorithm 1, blocks in place of its lazy batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from weighbridge.compress.graph.lowering import Array
from weighbridge.compress.graph.sessions import batches, session
from weighbridge.core.errors import InvariantError
from weighbridge.data import Split

CLIPS = np.linspace(1.0, 0.6, 21)
"""Shares of a block's range that are tried as its end."""
DAMPING = 0.01
"""Of the mean of the diagonal, added to it: the same as in the source."""
MOMENTS_BYTES = 1 << 30
"""Of second moments in memory at once; the model is run again for the others."""
EXAMPLES = 16
"""In one inference on calibration data."""


@dataclass(frozen=True)
class BlockForm:
    """How a block of weights is stored."""

    bits: int
    """4 or 8: what the file has for each weight."""
    levels: int
    """Values that a weight may have, at most 2 ** bits."""
    block: int
    """Weights of one output that share a scale."""
    symmetric: bool

    @property
    def middle(self) -> int:
        """The code of zero where the file has no zero points."""
        return 1 << (self.bits - 1)

    @property
    def ends(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        low = self.middle - self.levels // 2 if self.symmetric else 0
        return low, low + self.levels - 1


@dataclass(frozen=True)
class Rounded:
    """A matrix (k, n) in blocks along k, the last one filled up with zeros."""

    codes: Array
    """(blocks, block, n), unsigned; a weight is scale · (code - zero)."""
    scales: Array
    """(blocks, n), float32."""
    zeros: Array
    """(blocks, n), unsigned."""

    def values(self, rows: int) -> Array:
        """The weights that these codes stand for (rows, n)."""
        steps = self.codes.astype(np.float32) - self.zeros[:, None].astype(np.float32)
        return np.asarray((steps * self.scales[:, None]).reshape(-1, self.codes.shape[2])[:rows])


def rounded(weight: Array, form: BlockForm, moments: Array | None = None) -> Rounded:
    """A matrix (k, n) in few bits; `moments` (k, k) are its inputs' second moments, without them to the nearest."""
    rows, columns = weight.shape
    work = weight.astype(np.float64)
    factor = None if moments is None else _factor(moments)
    count = -(-rows // form.block)
    scales, zeros = np.ones((count, columns), np.float32), np.full((count, columns), form.middle, np.uint8)
    codes = np.zeros((count, form.block, columns), np.uint8)
    for index, start in enumerate(range(0, rows, form.block)):
        block = work[start : start + form.block]
        scales[index], zeros[index] = _grid(block, form)
        codes[index] = zeros[index]
        if factor is None:
            codes[index, : len(block)] = _coded(block, scales[index], zeros[index], form)
            continue
        stop = start + len(block)
        errors = np.zeros_like(block)
        for row in range(len(block)):  # later rows change as earlier ones are rounded
            code = _coded(block[row], scales[index], zeros[index], form)
            codes[index, row] = code
            place = start + row
            error = (block[row] - _decoded(code, scales[index], zeros[index])) / factor[place, place]
            block[row + 1 :] -= np.outer(factor[place, place + 1 : stop], error)
            errors[row] = error
        work[stop:] -= factor[start:stop, stop:].T @ errors
    return Rounded(codes, scales, zeros)


def _coded(values: Array, scale: Array, zero: Array, form: BlockForm) -> Array:
    return np.asarray(np.clip(np.rint(values / scale) + zero, *form.ends).astype(np.uint8))


def _decoded(codes: Array, scale: Array, zero: Array) -> Array:
    return np.asarray(scale.astype(np.float64) * (codes.astype(np.float64) - zero))


def _factor(moments: Array) -> Array:
    """Upper triangle U with Uᵀ·U the inverse of the damped moments; inputs that are always zero decide nothing."""
    damped = moments.astype(np.float64)
    diagonal = damped.diagonal().copy()
    diagonal[diagonal == 0] = 1.0
    np.fill_diagonal(damped, diagonal + DAMPING * diagonal.mean())
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T)


def _grid(block: Array, form: BlockForm) -> tuple[Array, Array]:
    """Scale and zero point of each column of a block (m, n): the end of its range with the least squared error."""
    extreme = np.take_along_axis(block, np.abs(block).argmax(axis=0)[None], axis=0)[0]
    low, high = np.minimum(block.min(axis=0), 0.0), np.maximum(block.max(axis=0), 0.0)
    best = np.full(block.shape[1], np.inf)
    scales, zeros = np.ones(block.shape[1], np.float32), np.full(block.shape[1], form.middle, np.uint8)
    for clip in CLIPS if form.levels < 256 else CLIPS[:1]:
        if form.symmetric:  # the largest weight has the end that has one value more: a scale may be negative
            scale, zero = clip * extreme / -(form.levels // 2), np.full(len(extreme), form.middle)
        else:
            scale = clip * (high - low) / (form.levels - 1)
            zero = np.clip(np.rint(-clip * low / np.where(scale == 0, 1.0, scale)), *form.ends)
        scale = np.where(np.abs(scale) < np.finfo(np.float32).tiny, 1.0, scale).astype(np.float32)
        zero = zero.astype(np.uint8)
        error = np.square(_decoded(_coded(block, scale, zero, form), scale, zero) - block).sum(axis=0)
        better = error < best
        scales, zeros = np.where(better, scale, scales), np.where(better, zero, zeros)
        best = np.minimum(error, best)
    return scales, zeros


def product(
    node: NodeProto, stem: str, weight: Array, form: BlockForm, moments: Array | None
) -> tuple[NodeProto, list[TensorProto]]:
    """A MatMul whose right side is `weight` (k, n) as MatMulNBits, and its tensors, whose names begin with `stem`."""
    found = rounded(weight, form, moments)
    codes = found.codes.transpose(2, 0, 1)
    packed = codes if form.bits == 8 else codes[..., 0::2] | (codes[..., 1::2] << 4)
    tensors = {"codes": packed, "scales": found.scales.T}
    if not form.symmetric:
        tensors["zeros"] = _packed_zeros(found.zeros.T, form.bits)
    made = helper.make_node(
        "MatMulNBits",
        [node.input[0], *(f"{stem}/{name}" for name in tensors)],
        list(node.output),
        name=f"{node.name}_Q{form.bits}",
        domain="com.microsoft",
        K=weight.shape[0],
        N=weight.shape[1],
        bits=form.bits,
        block_size=form.block,
    )
    stored = [numpy_helper.from_array(np.ascontiguousarray(array), f"{stem}/{name}") for name, array in tensors.items()]
    return made, stored


def _packed_zeros(zeros: Array, bits: int) -> Array:
    """Zero points (n, blocks) as the operator reads them: two in a byte for 4 bits, the first in its lower half."""
    if bits == 8:
        return zeros
    even = np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2)))
    return np.asarray(even[:, 0::2] | (even[:, 1::2] << 4))


def moments_of(proto: ModelProto, sizes: Mapping[str, int], split: Split, where: str) -> Iterator[tuple[str, Array]]:
    """Second moments (k, k) of tensors (…, k) on a split, by name; `sizes` has each k.

    In groups that fit `MOMENTS_BYTES`, so that use each before the next is asked for.
    """
    for names in _groups(sizes):
        tapped = ModelProto()
        tapped.CopyFrom(proto)
        given = {value.name for value in tapped.graph.input}
        known = {value.name for value in tapped.graph.output}
        inner = [name for name in names if name not in given]
        tapped.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner if name not in known
        )
        runner = session(tapped, where, level="basic")
        sums = {name: np.zeros((sizes[name], sizes[name])) for name in names}
        for feed in batches(tapped, split, EXAMPLES):
            found = {**feed, **(dict(zip(inner, runner.run(inner, feed), strict=True)) if inner else {})}
            for name in names:
                rows = found[name].reshape(-1, sizes[name]).astype(np.float64)
                sums[name] += rows.T @ rows
        for name in names:
            moments = sums.pop(name)
            if not np.isfinite(moments).all():
                raise InvariantError(f"{name} is not finite on calibration data", where=where)
            yield name, moments


def _groups(sizes: Mapping[str, int]) -> list[Sequence[str]]:
    groups: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if groups[-1] and held + 8 * size**2 > MOMENTS_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += 8 * size**2
    return list(groups)
