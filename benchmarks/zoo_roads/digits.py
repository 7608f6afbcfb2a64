"""Handwritten digits on a canvas: a small network that finds them, and one that says for each pixel which it is of."""

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor, nn

from weighbridge.data import Data, Split

SIDE, DIGIT, CELL, MOST = 48, 16, 8, 3
CELLS = SIDE // CELL
INK = 6 / 16
"""A pixel darker than this belongs to its digit."""


def _canvases(count: int, seed: int, known: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (n, 1, 48, 48), boxes (n, 3, 5) and the digit of each pixel, from 1 on, (n, 48, 48)."""
    found = sklearn.datasets.load_digits()
    pictures, names = found.images[known] / 16, found.target[known]
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 0.2, (count, SIDE, SIDE))
    boxes, pixels = np.full((count, MOST, 5), -1.0, np.float32), np.zeros((count, SIDE, SIDE), np.int64)
    for index in range(count):
        corners: list[np.ndarray] = []
        while len(corners) < rng.integers(1, MOST + 1):
            corner = rng.integers(0, SIDE - DIGIT + 1, 2)
            if any(np.abs(corner - other).max() < DIGIT for other in corners):
                break
            picked = rng.integers(0, len(pictures))
            picture = np.kron(pictures[picked], np.ones((2, 2)))
            top, left = corner
            region = (index, slice(top, top + DIGIT), slice(left, left + DIGIT))
            images[region] += picture
            pixels[region] = np.where(picture > INK, names[picked] + 1, 0)
            boxes[index, len(corners)] = names[picked], left, top, left + DIGIT, top + DIGIT
            corners.append(corner)
    return images[:, None].astype(np.float32), boxes, pixels


def _layer(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


class Detector(nn.Module):
    """One box, score and class for each cell of 8 × 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        layers = ((1, 24, 1), (24, 32, 2), (32, 64, 2), (64, 96, 2), (96, 96, 1), (96, 96, 1))
        self.body = nn.Sequential(*(_layer(*layer) for layer in layers))
        self.head = nn.Conv2d(96, 15, 1)
        place = torch.arange(CELLS) * float(CELL) + CELL / 2
        centres = torch.stack([place.repeat(CELLS), place.repeat_interleave(CELLS)], 1)
        self.register_buffer("centres", centres)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(n, 1, 48, 48) → boxes (n, 36, 4), scores (n, 36), classes (n, 36), and their logits (n, 36, 10)."""
        found = self.head(self.body(image)).flatten(2).transpose(1, 2)
        centre, half = self.centres + CELL * found[..., 1:3], DIGIT / 2 * torch.exp(found[..., 3:5].clamp(-2, 2))
        logits = found[..., 5:]
        return torch.cat([centre - half, centre + half], 2), torch.sigmoid(found[..., 0]), logits.argmax(2), logits


def detector_loss(outputs: tuple[Tensor, Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
    """Of the cell that has the middle of a digit: score, place and class; of all others, the score alone."""
    boxes, scores, _, logits = outputs
    there, rows = labels[..., 0] >= 0, torch.arange(len(labels))[:, None].expand(labels.shape[:2])
    middle = ((labels[..., 1:3] + labels[..., 3:5]) / 2 / CELL).long().clamp(0, CELLS - 1)
    example, cell, wanted = rows[there], (middle[..., 1] * CELLS + middle[..., 0])[there], labels[there]
    target = torch.zeros_like(scores)
    target[example, cell] = 1
    score = nn.functional.binary_cross_entropy(scores, target) * CELLS
    place = nn.functional.smooth_l1_loss(boxes[example, cell], wanted[:, 1:]) / 4
    return score + place + nn.functional.cross_entropy(logits[example, cell], wanted[:, 0].long())


class Segmenter(nn.Module):
    """Down to a quarter of the side and up again, with what was there on the way down."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _layer(1, 24), _layer(24, 48, 2), _layer(48, 96, 2)
        self.middle = nn.Sequential(_layer(96, 96), _layer(96, 96))
        self.up, self.again = nn.ConvTranspose2d(96, 48, 2, 2), nn.ConvTranspose2d(48, 24, 2, 2)
        self.out = nn.Conv2d(24, 11, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1, 48, 48) → scores (n, 11, 48, 48): no digit, or which."""
        first = self.first(image)
        second = self.second(first)
        x = self.middle(self.third(second))
        return self.out(torch.relu(self.again(torch.relu(self.up(x) + second)) + first))


def segmenter_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy in which a pixel of no digit counts a tenth: nineteen in twenty are, and would be all it learns."""
    weights = torch.ones(scores.shape[1], device=scores.device)
    weights[0] = 0.1
    return nn.functional.cross_entropy(scores, labels, weights)


def detector() -> nn.Module:
    """With fresh weights."""
    torch.manual_seed(5)
    return Detector()


def segmenter() -> nn.Module:
    """With fresh weights."""
    torch.manual_seed(5)
    return Segmenter()


SPLITS = {
    "train": (2000, 1, slice(0, 1200)),
    "calibration": (64, 2, slice(0, 1200)),
    "test": (300, 3, slice(1200, None)),
}
"""Canvases, seed, and the digits on them: the test's were written by other people."""


def boxed() -> Data:
    """Labels: boxes."""
    made = {name: _canvases(*given) for name, given in SPLITS.items()}
    return Data(**{name: Split({"image": images}, boxes) for name, (images, boxes, _) in made.items()})


def painted() -> Data:
    """Labels: the digit of each pixel."""
    made = {name: _canvases(*given) for name, given in SPLITS.items()}
    return Data(**{name: Split({"image": images}, pixels) for name, (images, _, pixels) in made.items()})
