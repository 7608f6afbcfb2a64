"""A small convolutional network of 117,530 parameters."""

from __future__ import annotations

import torch
from torch import nn


def block(inputs: int, outputs: int) -> list[nn.Module]:
    """Two 3x3 convolutions, each normalised, then half the resolution."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return [*layers, nn.MaxPool2d(2)]


class FashionCNN(nn.Module):
    """Images (n, 1, 28, 28) in [0, 1] → logits (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*block(1, 16), *block(16, 32))
        self.hidden = nn.Linear(32 * 7 * 7, 64)
        self.classes = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify a batch of images."""
        flat = self.features(image).flatten(1)
        return self.classes(torch.relu(self.hidden(flat)))
