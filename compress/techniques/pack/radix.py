"""Digits in words: the densest packing of small integers that standard ONNX operators can take apart.

A word is the number that its digits write in base K, least significant first. `Mod(Div(word, powers), K)` gives the
digits back, for any K, also where K is no power of two: base 3 takes 1.64 bits a digit, base 9 takes 3.37.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LARGEST = 2**63 - 1
"""Largest word of type int64; Div has no unsigned 64-bit form in onnxruntime."""


@dataclass(frozen=True)
class RadixBase:
    """How digits of one base lie in words."""

    base: int
    digits: int
    """Digits in one word."""
    dtype: type[np.uint8 | np.int64]

    @property
    def bits(self) -> float:
        """Stored bits a digit."""
        return np.dtype(self.dtype).itemsize * 8 / self.digits

    @property
    def powers(self) -> list[int]:
        """What a word is divided by to bring each digit to the front."""
        return [self.base**place for place in range(self.digits)]

    def size(self, count: int) -> int:
        """Bytes of `count` digits."""
        return -(-count // self.digits) * np.dtype(self.dtype).itemsize


def best_base(base: int) -> RadixBase:
    """The word type with the fewest bits a digit; bytes where both need as many."""
    wide = RadixBase(base, _fitting(base, LARGEST), np.int64)
    if base > 256:
        return wide
    narrow = RadixBase(base, _fitting(base, 255), np.uint8)
    return narrow if narrow.bits <= wide.bits else wide


def _fitting(base: int, largest: int) -> int:
    """How many digits of `base` every word up to `largest` can hold."""
    digits = 1
    while base ** (digits + 1) - 1 <= largest:
        digits += 1
    return digits


def encode(digits: Array, form: RadixBase) -> Array:
    """Words (m, 1) from digits (n,) in [0, base); the last word is filled up with zeros.

    Raises `ValueError` for digits out of range.
    """
    if digits.size and (digits.min() < 0 or digits.max() >= form.base):
        raise ValueError(f"digits lie in [{digits.min()}, {digits.max()}], the base is {form.base}")
    padded = np.zeros(-(-digits.size // form.digits) * form.digits, np.int64)
    padded[: digits.size] = digits
    words = padded.reshape(-1, form.digits) @ np.array(form.powers, np.int64)
    return np.asarray(words.astype(form.dtype)[:, None])


def decode(words: Array, form: RadixBase) -> Array:
    """All digits of words (m, 1), fillers included: what the graph computes."""
    return np.asarray((words.astype(np.int64) // np.array(form.powers, np.int64) % form.base).reshape(-1))
