"""Lines of text as the OCR networks see them: 48 × 192, upright or turned by half."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from weighbridge.data import Data, Split

HEIGHT, WIDTH = 48, 192
LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"))


def _split(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(count):
        shade = int(rng.integers(180, 256))
        image = Image.new("RGB", (WIDTH, HEIGHT), (shade, shade, shade))
        text = "".join(rng.choice(LETTERS, rng.integers(4, 9)))
        size = int(rng.integers(22, 32))
        place = int(rng.integers(4, 20)), int(rng.integers(4, 12))
        ink = tuple(int(value) for value in rng.integers(0, 90, 3))
        ImageDraw.Draw(image).text(place, text, fill=ink, font=ImageFont.load_default(size))
        turned = int(rng.integers(0, 2))
        pixels = np.asarray(image.rotate(180 * turned), np.float32).transpose(2, 0, 1)
        rows.append((pixels + rng.normal(0, 6, pixels.shape)) / 127.5 - 1)
        labels.append(turned)
    return Split({"x": np.asarray(rows, np.float32)}, np.asarray(labels))


def load() -> Data:
    """Labels: 1 where the line is turned."""
    return Data(train=_split(64, 1), calibration=_split(128, 2), test=_split(1000, 3))
