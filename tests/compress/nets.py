"""Small models of many kinds, small data sets, and the context that steps run in."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from weighbridge.compress.steps import Context
from weighbridge.compress.training.splits import calibration
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError
from weighbridge.data import Data, Split


class Residual(nn.Module):
    """Images (n, 1, 8, 8) → logits (n, 3): a stem, one residual block, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.one, self.one_norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.classes = nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem_norm(self.stem(image)))
        x = x + self.two(torch.relu(self.one_norm(self.one(x))))
        return self.classes(x.mean((2, 3)))


class Separable(nn.Module):
    """Images (n, 1, 8, 8) → logits (n, 3): a depthwise-separable convolution between two others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.pointwise = nn.Conv2d(8, 16, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.classes = nn.Linear(16, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.pointwise(self.depthwise(self.stem(image)))
        return self.classes(torch.relu(self.norm(x)).mean((2, 3)))


class MLP(nn.Module):
    """Features (n, 16) → logits (n, 3)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, width)
        self.more = nn.Linear(width, width)
        self.classes = nn.Linear(width, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.classes(torch.relu(self.more(torch.relu(self.hidden(features)))))


class Recurrent(nn.Module):
    """Sequences (n, 6, 5) → logits (n, 3): an LSTM and a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8, batch_first=True)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.classes = nn.Linear(8, 3)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        found, _ = self.gru(self.lstm(sequence)[0])
        return self.classes(found[:, -1])


class Transformer(nn.Module):
    """Sequences (n, 6, 5) → logits (n, 3): one encoder block with a learned position."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 16)
        self.position = nn.Parameter(torch.randn(1, 6, 16) * 0.1)
        block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, 1, enable_nested_tensor=False)
        self.classes = nn.Linear(16, 3)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        return self.classes(self.encoder(self.embed(sequence) + self.position).mean(1))


def images(count: int = 96, seed: int = 0) -> Split:
    """Images with a bright corner, row or column: three classes that a small net learns."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    image = rng.normal(0, 0.5, (count, 1, 8, 8)).astype(np.float32)
    for index, label in enumerate(labels):
        part = [np.s_[0, :3, :3], np.s_[0, 4, :], np.s_[0, :, 5]][label]
        image[index][part] += 1.5
    return Split({"image": image}, labels)


def features(count: int = 96, seed: int = 0) -> Split:
    """Three clouds in 16 dimensions."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centers = np.random.default_rng(99).normal(size=(3, 16))
    return Split({"features": (centers[labels] + rng.normal(0, 0.7, (count, 16))).astype(np.float32)}, labels)


def sequences(count: int = 96, seed: int = 0) -> Split:
    """Three slow waves over six steps of five channels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    wave = np.sin(np.arange(6)[None, :, None] * (labels[:, None, None] + 1) + np.arange(5))
    return Split({"sequence": (wave + rng.normal(0, 0.3, wave.shape)).astype(np.float32)}, labels)


KINDS = {
    "residual": (Residual, images),
    "separable": (Separable, images),
    "mlp": (MLP, features),
    "recurrent": (Recurrent, sequences),
    "transformer": (Transformer, sequences),
}


def build(kind: str, seed: int = 1) -> tuple[nn.Module, Context]:
    """A net of one kind with seeded weights, in eval mode, and its context."""
    factory, make = KINDS[kind]
    torch.manual_seed(seed)
    module = factory().eval()
    return module, context(module, make())


def context(
    module: nn.Module | None,
    train: Split,
    epochs: int = 2,
    seed: int = 5,
    lr: float = 0.01,
    loss: str = "cross_entropy",
) -> Context:
    """The context of one step: `module` is the baseline and the only teacher."""
    settings = TrainSection(epochs=epochs, batch_size=32, lr=lr, seed=seed, loss=loss)

    def teacher(name: str) -> tuple[Any, str]:
        if name != "baseline":
            raise InputError(f"there is no version {name}", where="distill: teacher")
        return copy.deepcopy(module).eval(), "sha256:" + "0" * 64

    return Context(
        data=Data(train=train, test=train, calibration=calibration(train, None, 0, "data")),
        train=settings,
        seed=seed,
        baseline=lambda: copy.deepcopy(module).eval(),
        teacher=teacher,
        progress=lambda *_, **__: None,
    )
