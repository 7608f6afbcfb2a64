"""MobileNetV2 (Sandler et al., 2018) with the names of its widely used checkpoint, and crops of photographs."""

import zipfile
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image
from torch import Tensor, nn

from weighbridge.data import Data, Split

SIDE = 224
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, how many, stride of the first: table 2 of the paper."""
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
"""Those of scikit-image that show a thing of some class; two more come with scikit-learn."""


def _unit(inside: int, outside: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU6())


class Block(nn.Module):
    """Widen, filter each channel, narrow; a residual where shapes allow it."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        first = [_unit(inside, wide, 1)] if expansion > 1 else []
        last = (nn.Conv2d(wide, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.conv = nn.Sequential(*first, _unit(wide, wide, 3, stride, wide), *last)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, h, w) → (n, outside, h / stride, w / stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Images to scores of the thousand classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(3, 32, 3, 2)]
        inside = 32
        for expansion, outside, count, stride in BLOCKS:
            for index in range(count):
                layers.append(Block(inside, outside, stride if index == 0 else 1, expansion))
                inside = outside
        self.features = nn.Sequential(*layers, _unit(inside, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, image: Tensor) -> Tensor:
        """(n, 3, 224, 224) → (n, 1000)."""
        return self.classifier(self.features(image).mean((2, 3)))


def build() -> nn.Module:
    """The network; its weights come from the checkpoint."""
    return MobileNetV2()


def _photographs() -> list[Image.Image]:
    found = [Image.fromarray(sklearn.datasets.load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    with zipfile.ZipFile(Path(__file__).with_name("photographs.zip")) as archive:
        for name in PHOTOGRAPHS:
            with archive.open(f"skimage/data/{name}") as file:
                found.append(Image.open(file).convert("RGB"))
    return found


def _crops(images: list[Image.Image], count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        image = images[index % len(images)]
        side = min(image.size) * rng.uniform(0.6, 1.0)
        left, top = (rng.uniform(0, length - side) for length in image.size)
        crop = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        pixels = np.asarray(crop, np.float64) / 255 * rng.uniform(0.8, 1.2)
        pixels = pixels[:, ::-1] if rng.integers(0, 2) else pixels
        rows.append(((np.clip(pixels, 0, 1) - MEAN) / SPREAD).transpose(2, 0, 1))
    return Split({"image": np.asarray(rows, np.float32)})


def load() -> Data:
    """No labels: the classes that the network in float32 gives are what is held to.

    Crops differ between the splits, the seven photographs do not.
    """
    images = _photographs()
    return Data(train=_crops(images, 7, 1), calibration=_crops(images, 21, 2), test=_crops(images, 140, 3))
