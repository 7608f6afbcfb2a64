"""A tiny real network and data for each task, as a user's project would name them in `params.yaml`."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from weighbridge.data import Data, Split

WORDS, LENGTH = 40, 12


def tokens(count: int, seed: int) -> dict[str, NDArray[Any]]:
    """Token numbers (n, 12) with a mask of their lengths."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, WORDS, (count, LENGTH))
    mask = (np.arange(LENGTH) < rng.integers(4, LENGTH + 1, (count, 1))).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask}


class Encoder(nn.Module):
    """Token numbers and mask (n, 12) → sentence embeddings (n, 192): means over what the mask leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 64)
        self.hidden, self.out = nn.Linear(64, 256), nn.Linear(256, 192)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        weights = attention_mask.unsqueeze(2).to(torch.float32)
        found = torch.relu(self.hidden(self.words(input_ids)))
        pooled = (found * weights).sum(1) / weights.sum(1)
        return nn.functional.normalize(self.out(pooled), dim=1)


def sentences() -> Data:
    """Sentences without labels."""
    return Data(train=Split(tokens(200, 0)), test=Split(tokens(300, 1)))


class Tagger(nn.Module):
    """Token numbers and mask (n, 12) → scores of four tags for each token (n, 12, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.tags = nn.Embedding(WORDS, 32), nn.Linear(32, 4)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.tags(torch.relu(self.words(input_ids)) * attention_mask.unsqueeze(2).to(torch.float32))


def tagged() -> Data:
    """Tags by word, -100 at padding."""

    def split(count: int, seed: int) -> Split:
        inputs = tokens(count, seed)
        return Split(inputs, np.where(inputs["attention_mask"] == 1, inputs["input_ids"] % 4, -100))

    return Data(train=split(300, 0), test=split(200, 1))


def numbers(count: int, seed: int, width: int = 16) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


class YesNo(nn.Module):
    """Features (n, 16) → one sigmoid (n, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.score = nn.Linear(16, 32), nn.Linear(32, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.score(torch.relu(self.hidden(features))))


def yes_no() -> Data:
    """Yes where the features' sum is positive."""

    def split(count: int, seed: int) -> Split:
        x = numbers(count, seed)
        return Split({"features": x}, (x.sum(1) > 0).astype(np.int64), {"first": x[:, 0] > 0, "other": x[:, 0] <= 0})

    return Data(train=split(400, 0), test=split(500, 1))


class Topics(nn.Module):
    """Features (n, 16) → logits of five labels (n, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.scores = nn.Linear(16, 48), nn.Linear(48, 5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.scores(torch.relu(self.hidden(features)))


def topics() -> Data:
    """Label k where feature k is positive."""

    def split(count: int, seed: int) -> Split:
        x = numbers(count, seed)
        return Split({"features": x}, (x[:, :5] > 0).astype(np.int64))

    return Data(train=split(400, 0), test=split(400, 1))


class Numbers(nn.Module):
    """Features (n, 16) → two numbers (n, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(16, 48), nn.Linear(48, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.hidden(features)))


def measured() -> Data:
    """Sums of features, in groups of five."""

    def split(count: int, seed: int) -> Split:
        x = numbers(count, seed)
        labels = np.stack([x.sum(1), x[:, 0] - x[:, 1]], 1)
        return Split({"features": x}, labels, groups=np.arange(count) // 5)

    return Data(train=split(400, 0), test=split(300, 1))


class Segmenter(nn.Module):
    """Images (n, 1, 8, 8) → scores of two classes for each pixel (n, 2, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.more, self.out = (
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Conv2d(8, 24, 3, padding=1),
            nn.Conv2d(24, 2, 1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.more(torch.relu(self.stem(image)))))


def bright() -> Data:
    """Bright pixels are class 1; the rim does not count."""

    def split(count: int, seed: int) -> Split:
        x = np.random.default_rng(seed).standard_normal((count, 1, 8, 8)).astype(np.float32)
        labels = (x[:, 0] > 0).astype(np.int64)
        labels[:, 0] = -100
        return Split({"image": x}, labels)

    return Data(train=split(200, 0), test=split(200, 1))


class Detector(nn.Module):
    """Features (n, 16), three boxes among them → boxes (n, 3, 4), scores (n, 3), classes (n, 3) by where a box lies."""

    def __init__(self) -> None:
        super().__init__()
        self.spread, self.gather = nn.Linear(16, 64), nn.Linear(64, 15)
        with torch.no_grad():
            self.gather.weight.copy_(torch.linalg.pinv(self.spread.weight)[:15])
            self.gather.bias.copy_(-self.gather.weight @ self.spread.bias)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = self.gather(self.spread(features))
        boxes = found[:, :12].reshape(-1, 3, 4)
        return boxes, torch.sigmoid(found[:, 12:]), (boxes[:, :, 0] > 50).long()


def boxed() -> Data:
    """Two boxes or three in each example: the third one's score is low where there is none."""

    def split(count: int, seed: int) -> Split:
        rng = np.random.default_rng(seed)
        corner, size = rng.uniform(0, 100, (count, 3, 2)), rng.uniform(20, 60, (count, 3, 2))
        boxes = np.concatenate([corner, corner + size], axis=2).astype(np.float32)
        there = np.ones((count, 3), np.bool_)
        there[:, 2] = rng.random(count) < 0.5
        rest = np.where(there, 3, -3).astype(np.float32)
        x = np.concatenate([boxes.reshape(count, 12), rest, np.zeros((count, 1), np.float32)], axis=1)
        classes = np.where(there, boxes[:, :, 0] > 50, -1).astype(np.float32)
        return Split({"features": x}, np.concatenate([classes[:, :, None], boxes], axis=2))

    return Data(train=split(100, 0), test=split(120, 1))


class Two(nn.Module):
    """Features (n, 16) → numbers (n, 2), and a state (n, 8) that a task of the user's own looks at too."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out, self.state = nn.Linear(16, 48), nn.Linear(48, 2), nn.Linear(48, 8)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = torch.relu(self.hidden(features))
        return self.out(found), self.state(found)


def plain() -> Data:
    """Features alone."""
    return Data(train=Split({"features": numbers(200, 0)}), test=Split({"features": numbers(200, 1)}))


def near(ours: list[NDArray[Any]], theirs: list[NDArray[Any]]) -> NDArray[Any]:
    """The user's: an answer agrees where both outputs lie near the baseline's."""
    far = [np.abs(mine - other).max(axis=1) / np.abs(other).max() for mine, other in zip(ours, theirs, strict=True)]
    return (np.maximum(*far) < 0.1).astype(float)


def spread(outputs: Any, labels: object) -> float:
    """The user's metric, of the outputs alone."""
    return float(np.std(outputs[0]))
