"""The language reference that Python itself ships (`pydoc_data.topics`, 465 kB, PSF licence), as bytes.

Whole topics are held out for testing. An example is 128 bytes; two that follow each other are one text, of which the
second is read with the cache of the first.
"""

from pydoc_data.topics import topics

import numpy as np

from weighbridge.data import Data, Split

PIECE, PIECES = 128, 2
LAYERS, HEADS, WIDTH = 6, 4, 128
TEXTS = {"train": 1600, "calibration": 48, "test": 180}
EVERY = 6
"""Of so many topics one is for testing."""


def text(*, held: bool) -> np.ndarray:
    """The topics' bytes, one after the other, of those that are held out or of the others."""
    names = sorted(topics)
    parts = [topics[name] for index, name in enumerate(names) if (index % EVERY == 0) == held]
    return np.frombuffer("\n\n".join(parts).encode(), np.uint8).astype(np.int64)


def split(source: np.ndarray, count: int, seed: int, *, pieces: int = PIECES, length: int = PIECE) -> Split:
    """`count` texts from random places that do not overlap; the labels are the bytes that follow."""
    size = pieces * length
    places = np.random.default_rng(seed).permutation((len(source) - 1) // size)[:count]
    rows = np.stack([source[place * size : (place + 1) * size + 1] for place in np.sort(places)])
    tokens, labels = rows[:, :-1].reshape(-1, length), rows[:, 1:].reshape(-1, length)
    past = np.zeros((len(tokens), 2 * LAYERS, HEADS, 0, WIDTH // HEADS), np.float32)
    return Split({"tokens": tokens, "past": past}, labels, groups=np.repeat(np.arange(len(rows)), pieces))


def load() -> Data:
    """Training reads whole texts at once; elsewhere a cache goes from the first piece to the second."""
    ours, theirs = text(held=False), text(held=True)
    train = split(ours, TEXTS["train"], 1, pieces=1, length=PIECES * PIECE)
    return Data(
        train=train,
        calibration=split(ours, TEXTS["calibration"], 2),
        test=split(theirs, TEXTS["test"], 3),
    )


def decode(tokens: list[int]) -> str:
    """Bytes as text."""
    return bytes(tokens).decode(errors="replace")
