"""Low-rank forms of one layer: linear by SVD, convolutions by two factors or by Tucker-2, as plain torch layers.

Factors are computed in float64 with a fixed sign, so that the same weights give the same bits.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Form = Literal["svd", "tucker2"]
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ROUNDS = 20
"""Rounds of higher-order orthogonal iteration at most."""
SETTLED = 1e-10
"""Relative gain of captured energy below which the iteration ends."""


@dataclass(frozen=True)
class Ranks:
    """How a layer is factorized: one rank for `svd`, (input, output) ranks for `tucker2`."""

    form: Form
    values: tuple[int, ...]

    def params(self, weight: Tensor) -> int:
        """Weights of the factors of a layer with this weight; the bias stays as it is and is not counted."""
        inputs, outputs, kernel = _sizes(weight)
        if self.form == "svd":
            return self.values[0] * (inputs * kernel + outputs)
        first, second = self.values
        return inputs * first + first * second * kernel + second * outputs

    def macs(self, weight: Tensor, read: int, written: int) -> int:
        """Multiply-accumulates of the factors, for the positions that the layer reads and writes."""
        inputs, outputs, kernel = _sizes(weight)
        if self.form == "svd":
            return self.params(weight) * written
        first, second = self.values
        return inputs * first * read + (first * second * kernel + second * outputs) * written


def _sizes(weight: Tensor) -> tuple[int, int, int]:
    """Inputs, outputs, kernel positions."""
    return weight.shape[1], weight.shape[0], math.prod(weight.shape[2:])


def form_of(layer: nn.Linear | Convolution, wanted: Form) -> Form:
    """Tucker-2 where it is wanted and the kernel has more than one position; else the SVD of a matrix."""
    return "tucker2" if wanted == "tucker2" and math.prod(layer.weight.shape[2:]) > 1 else "svd"


def full_ranks(layer: nn.Linear | Convolution, wanted: Form) -> tuple[int, ...]:
    """The largest rank of each factor: beyond it a factorization only grows."""
    inputs, outputs, kernel = _sizes(layer.weight)
    if form_of(layer, wanted) == "svd":
        return (min(inputs * kernel, outputs),)
    return (min(inputs, outputs * kernel), min(outputs, inputs * kernel))


def spectra(layer: nn.Linear | Convolution, wanted: Form) -> tuple[Tensor, ...]:
    """The singular values behind each rank, descending, float64: of the matrix, or of both unfoldings."""
    weight = layer.weight.detach().double()
    if form_of(layer, wanted) == "svd":
        return (torch.linalg.svdvals(weight.flatten(1)),)
    return (torch.linalg.svdvals(weight.transpose(0, 1).flatten(1)), torch.linalg.svdvals(weight.flatten(1)))


def energy_ranks(values: tuple[Tensor, ...], energy: float) -> tuple[int, ...]:
    """The smallest ranks that keep `energy` (0 … 1) of the squared singular values."""
    ranks = []
    for spectrum in values:
        kept = torch.cumsum(spectrum**2, 0)
        # The last sum may be a rounding error short of the total.
        enough = (kept >= energy * kept[-1] * (1 - 1e-12)).nonzero()
        ranks.append(int(enough[0]) + 1)
    return tuple(ranks)


def factors(layer: nn.Linear | Convolution, ranks: Ranks) -> nn.Sequential:
    """The layer as a chain of smaller ones: `reduce` → `expand`, or `reduce` → `core` → `expand`.

    At full rank the chain equals the layer to rounding. The bias moves to the last of the chain.
    """
    with torch.no_grad():
        if isinstance(layer, nn.Linear):
            return _linear(layer, ranks.values[0])
        if ranks.form == "svd":
            return _two_convolutions(layer, ranks.values[0])
        return _tucker2(layer, *ranks.values)


def _halves(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Left (rows, rank) and right (rank, columns) factors of the best approximation, of equal scale."""
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    u, vh = _signed(u[:, :rank], vh[:rank])
    root = s[:rank].sqrt()
    return u * root, root[:, None] * vh


def _signed(u: Tensor, vh: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the largest entry of each left vector positive: an SVD leaves signs open."""
    columns = torch.arange(u.shape[1])
    sign = torch.where(u[u.abs().argmax(0), columns] < 0, -1.0, 1.0).double()
    return u * sign, sign[:, None] * vh


def _linear(layer: nn.Linear, rank: int) -> nn.Sequential:
    left, right = _halves(layer.weight, rank)
    reduce = nn.Linear(layer.in_features, rank, bias=False)
    expand = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    _fill(reduce, right)
    _fill(expand, left, layer.bias)
    return nn.Sequential(OrderedDict(reduce=reduce, expand=expand))


def _two_convolutions(layer: Convolution, rank: int) -> nn.Sequential:
    left, right = _halves(layer.weight.flatten(1), rank)
    reduce = _like(layer, layer.in_channels, rank)
    expand = type(layer)(rank, layer.out_channels, 1, bias=layer.bias is not None)
    _fill(reduce, right)
    _fill(expand, left, layer.bias)
    return nn.Sequential(OrderedDict(reduce=reduce, expand=expand))


def _tucker2(layer: Convolution, first: int, second: int) -> nn.Sequential:
    core, into, out = tucker2(layer.weight, first, second)
    reduce = type(layer)(layer.in_channels, first, 1, bias=False)
    middle = _like(layer, first, second)
    expand = type(layer)(second, layer.out_channels, 1, bias=layer.bias is not None)
    _fill(reduce, into.T)
    _fill(middle, core)
    _fill(expand, out, layer.bias)
    return nn.Sequential(OrderedDict(reduce=reduce, core=middle, expand=expand))


def tucker2(weight: Tensor, first: int, second: int) -> tuple[Tensor, Tensor, Tensor]:
    """A kernel (outputs, inputs, …) as core (second, first, …), input factor (inputs, first), output factor.

    Starts from the truncated higher-order SVD and alternates until the captured energy settles (De Lathauwer, De
    Moor and Vandewalle, "On the best rank-1 and rank-(R1, …, RN) approximation", 2000); as used for convolutions by
    Kim et al., 2016 (arXiv:1511.06530).
    """
    kernel = weight.detach().double()
    tensor = kernel.flatten(2)
    into = _leading(tensor.transpose(0, 1).flatten(1), first)
    out = _leading(tensor.flatten(1), second)
    captured = 0.0
    for _ in range(ROUNDS):
        out = _leading(torch.einsum("oik,ir->ork", tensor, into).flatten(1), second)
        into = _leading(torch.einsum("oik,os->isk", tensor, out).flatten(1), first)
        core = torch.einsum("oik,ir,os->srk", tensor, into, out)
        energy = float(core.square().sum())
        if energy - captured <= SETTLED * max(energy, 1e-300):
            break
        captured = energy
    return core.reshape(second, first, *kernel.shape[2:]), into, out


def _leading(matrix: Tensor, rank: int) -> Tensor:
    """The leading left singular vectors (rows, rank)."""
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    # Of a flat unfolding there may be fewer vectors than rows; `full_ranks` bounds the rank by both.
    return _signed(u[:, :rank], vh[:rank])[0]


def _like(layer: Convolution, inputs: int, outputs: int) -> Convolution:
    """A convolution with the kernel, stride, padding and dilation of another, without bias."""
    return type(layer)(
        inputs,
        outputs,
        layer.kernel_size,  # type: ignore[arg-type]  # each class has the tuple of its own length
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        padding_mode=layer.padding_mode,
        bias=False,
    )


def _fill(layer: nn.Linear | Convolution, weight: Tensor, bias: Tensor | None = None) -> None:
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    if bias is not None and layer.bias is not None:
        layer.bias.copy_(bias)
