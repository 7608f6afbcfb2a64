"""Ranges of activations that are the same whatever processor observed them.

Kernels for other instruction sets add in another order, so that an extreme differs in its last bits (about 1e-7 of it)
between processors, and with it every scale and every byte of a file that is quantized by it. Ranges are therefore
widened to a grid of 8 significant bits: at most 0.8 % wider, and two observations part only where the noise meets a
step of the grid, about once in 40,000 ranges.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 8
"""Significant bits of a range's ends."""
NOISE = 2.0**-18
"""Relative: ends this close beyond a step of the grid are taken for the step. Natural extremes lie on steps (the 1 of a
softmax), and must not be widened on the one processor that computed a little more."""

Array = NDArray[Any]


def widened(low: Array, high: Array) -> tuple[Array, Array]:
    """The range [low, high] with its ends moved outward to the grid, in float32; of tensors, or of their channels."""
    return _outward(low, up=False), _outward(high, up=True)


def _outward(end: Array, *, up: bool) -> Array:
    values = np.asarray(end, np.float64)
    mantissa, exponent = np.frexp(np.abs(values))
    grows = (values > 0) == up
    steps = np.where(grows, np.ceil(mantissa * (1 - NOISE) * 2**BITS), np.floor(mantissa * (1 + NOISE) * 2**BITS))
    return np.asarray(np.copysign(np.ldexp(steps, exponent - BITS), values), np.float32)
