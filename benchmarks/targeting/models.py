"""Networks beside the quickstart's, on the same images: with a sum of two paths, and with depthwise convolutions."""

from __future__ import annotations

import torch
from torch import nn


def convolution(inputs: int, outputs: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A 3x3 convolution with its normalisation and ReLU."""
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Images (n, 1, 28, 28) → logits (n, 10), through two blocks that add their input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(1, 24, stride=2)
        self.first = nn.Sequential(convolution(24, 24), convolution(24, 24))
        self.narrow = convolution(24, 48, stride=2)
        self.second = nn.Sequential(convolution(48, 48), convolution(48, 48))
        self.classes = nn.Linear(48, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify a batch of images."""
        x = self.stem(image)
        x = self.narrow(x + self.first(x))
        x = x + self.second(x)
        return self.classes(x.mean((2, 3)))


class Separable(nn.Module):
    """Images (n, 1, 28, 28) → logits (n, 10), by depthwise and pointwise convolutions in turn."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2))
        layers: list[nn.Module] = [convolution(1, 16, stride=2)]
        for inputs, outputs, stride in widths:
            pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
            layers += [convolution(inputs, inputs, stride=stride, groups=inputs), pointwise]
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classes = nn.Linear(96, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify a batch of images."""
        return self.classes(self.features(image).mean((2, 3)))
