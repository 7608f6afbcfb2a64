"""MobileNetV2 (Sandler et al., 2018) with the names of its widely used checkpoint, and digits to transfer it to."""

from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor, nn

from weighbridge.data import Data, Split

MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, how many, stride of the first: table 2 of the paper."""
FIXED = 8
"""Parts of the network that a transfer leaves as they are."""
SMALL = 64
"""Pixels of a side of an enlarged digit."""


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


def transferred() -> nn.Module:
    """The same network with ten classes of its own; the first blocks stay as the checkpoint has them."""
    module = build()
    module.load_state_dict(torch.load(Path(__file__).with_name("mobilenet_v2.pth"), weights_only=True))
    torch.manual_seed(5)
    module.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 10))
    for part in module.features[:FIXED]:
        part.requires_grad_(requires_grad=False)
    return module


def digits() -> Data:
    """Handwritten digits, eight by eight pixels each, enlarged and in three equal colours."""
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8) / 16, np.ones((SMALL // 8, SMALL // 8)))
    rows = ((large[:, None] - MEAN[:, None, None]) / SPREAD[:, None, None]).astype(np.float32)
    order = np.random.default_rng(1).permutation(len(rows))
    first, second, third = np.split(order, [1000, 1100])
    parts = {"train": first, "calibration": second, "test": third}
    return Data(**{name: Split({"image": rows[chosen]}, labels[chosen]) for name, chosen in parts.items()})
