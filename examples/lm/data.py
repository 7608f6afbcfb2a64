"""The language reference that Python itself ships (`pydoc_data.topics`, 465 kB, PSF licence), as bytes.

Whole topics are held out for testing. An example is 128 bytes; two that follow each other are one text, of which the
second is read with the cache of the first.
"""

from __future__ import annotations

from pydoc_data.topics import topics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.data import Data, Split

LENGTH, PIECES = 128, 2
"""Bytes of an example, and examples of a text."""
CACHE = (2 * 6, 4, 128 // 4)
"""Keys and values of six layers, heads, and the width of each: as in `model.py`."""
TEXTS = {"train": 1600, "calibration": 48, "test": 180}
HELD_OUT = 6
"""One topic of so many is for testing."""


def text(*, held_out: bool) -> NDArray[Any]:
    """Bytes of the topics that are held out, or of the others, one topic after the other."""
    parts = [topics[name] for index, name in enumerate(sorted(topics)) if (index % HELD_OUT == 0) == held_out]
    return np.frombuffer("\n\n".join(parts).encode(), np.uint8).astype(np.int64)


def split(
    source: NDArray[Any],
    count: int,
    seed: int,
    *,
    shape: tuple[int, int] = (PIECES, LENGTH),
    cache: tuple[int, int, int] = CACHE,
) -> Split:
    """`count` texts from random places that do not overlap, each of `shape` (examples, bytes); labels are the bytes
    that follow.

    The cache of an example begins empty; the gate carries it on within a text (its group).
    """
    pieces, length = shape
    size = pieces * length
    places = np.random.default_rng(seed).permutation((len(source) - 1) // size)[:count]
    rows = np.stack([source[place * size : (place + 1) * size + 1] for place in np.sort(places)])
    tokens, labels = rows[:, :-1].reshape(-1, length), rows[:, 1:].reshape(-1, length)
    past = np.zeros((len(tokens), *cache[:2], 0, cache[2]), np.float32)
    return Split({"tokens": tokens, "past": past}, labels, groups=np.repeat(np.arange(len(rows)), pieces))


def load() -> Data:
    """Training reads whole texts at once; elsewhere a cache goes from the first example of a text to the second."""
    known, unknown = text(held_out=False), text(held_out=True)
    return Data(
        train=split(known, TEXTS["train"], 1, shape=(1, PIECES * LENGTH)),
        calibration=split(known, TEXTS["calibration"], 2),
        test=split(unknown, TEXTS["test"], 3),
    )
