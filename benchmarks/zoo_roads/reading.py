"""Lines of words as an OCR network reads them, 48 pixels high and as wide as the words are; what it has read."""

import re
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import onnx
from PIL import Image, ImageDraw, ImageFont

from weighbridge.data import Data, Split

HEIGHT, STEP = 48, 32
"""Pixels; widths are whole multiples of the step, so that some lines have the same."""
LONGEST = 32
"""Letters of a line."""
Array = np.ndarray[Any, Any]


def letters() -> list[str]:
    """The network's classes in their order: nothing, the letters that its file names, a space."""
    props = onnx.load(Path(__file__).with_name("model.onnx")).metadata_props
    return ["", *next(item.value for item in props if item.key == "character").split("\n"), " "]


def words() -> list[str]:
    """Words of the language reference that Python ships, each once."""
    return sorted(set(re.findall(r"[A-Za-z][a-z]{2,11}|[0-9]{2,4}", " ".join(topics.values()))))


def _line(text: str, rng: np.random.Generator) -> Array:
    """(3, 48, width) from -1 to 1: dark letters of some size on light paper, with noise."""
    font = ImageFont.load_default(int(rng.integers(24, 33)))
    left, top = int(rng.integers(4, 12)), int(rng.integers(3, 9))
    width = -(-int(left + font.getlength(text) + 8) // STEP) * STEP
    shade = int(rng.integers(200, 256))
    image = Image.new("RGB", (width, HEIGHT), (shade, shade, shade))
    ImageDraw.Draw(image).text((left, top), text, fill=tuple(int(ink) for ink in rng.integers(0, 80, 3)), font=font)
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
    return ((pixels + rng.normal(0, 6, pixels.shape)) / 127.5 - 1).astype(np.float32)


def _split(count: int, seed: int) -> Split:
    rng, known = np.random.default_rng(seed), words()
    lines = []
    while len(lines) < count:
        text = " ".join(rng.choice(known, rng.integers(1, 5)))
        if len(text) <= LONGEST:
            lines.append(text)
    places = {letter: place for place, letter in enumerate(letters())}
    labels = np.zeros((count, LONGEST), np.int64)
    for row, text in zip(labels, lines, strict=True):
        row[: len(text)] = [places[letter] for letter in text]
    return Split({"x": [_line(text, rng) for text in lines]}, labels)


def load() -> Data:
    """Labels: the classes of a line's letters, 0 behind them."""
    return Data(train=_split(16, 1), calibration=_split(48, 2), test=_split(160, 3))


def read(scores: Array) -> list[int]:
    """The classes that a line (steps, classes) shows: the likeliest of each step, once where it goes on, no spaces."""
    found = scores.argmax(1)
    new = np.append(True, found[1:] != found[:-1])
    return [int(place) for place in found[new] if place not in (0, scores.shape[1] - 1)]


def distance(first: list[int], second: list[int]) -> int:
    """Letters to insert, delete or replace (Levenshtein)."""
    row = list(range(len(second) + 1))
    for above, letter in enumerate(first, 1):
        before, row[0] = row[0], above
        for place, other in enumerate(second, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (letter != other))
    return row[-1]


def alike(ours: list[Array], theirs: list[Array]) -> Array:
    """Of each line the share of letters that both have read, from 0 to 1."""
    pairs = [(read(first), read(second)) for first, second in zip(ours[0], theirs[0], strict=True)]
    return np.array([1 - distance(*pair) / max(1, *map(len, pair)) for pair in pairs])


def right(outputs: list[Array], labels: Array) -> Array:
    """Of each line one less the letters wrong, missing or too many, as a share of those that are there; no spaces."""
    space = outputs[0].shape[2] - 1
    wanted = [[int(place) for place in row if place not in (0, space)] for row in labels]
    wrong = [distance(read(scores), row) / len(row) for scores, row in zip(outputs[0], wanted, strict=True)]
    return np.maximum(0, 1 - np.array(wrong))
