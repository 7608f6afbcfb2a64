"""Sentences of reviews, editorials and tweets with the mean of what twenty people rated them, and a BERT for them."""

import html
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from encoder import LAYERS, WIDTH, Encoder, encoded
from safetensors.torch import load_file
from torch import Tensor, nn

from weighbridge.data import Data, Split

SOURCES = {"movie": "movieReview", "amazon": "amazonReview", "nyt": "nytEditorial", "tweets": "tweets"}
SIZES = {"train": 600, "calibration": 60, "test": 250}
"""Sentences of each source."""
TRAINED = 2
"""Layers that are trained; those below stay as the checkpoint has them."""


class Reader(nn.Module):
    """The encoder's mean over tokens, and one linear layer."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.body = Encoder()
        self.body.load_state_dict(load_file(Path(__file__).with_name("model.safetensors")))
        del self.body.pooler
        below = [self.body.embeddings, *self.body.encoder["layer"][: LAYERS - TRAINED]]
        for part in below:
            part.requires_grad_(requires_grad=False)
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, tokens) integers and 0 or 1 → (n, outputs)."""
        return self.head(self.body.mean(input_ids, attention_mask))


def classifier() -> nn.Module:
    """Two scores: rated below zero, or not."""
    torch.manual_seed(5)
    return Reader(2)


def regressor() -> nn.Module:
    """The mean rating, from -4 to 4."""
    torch.manual_seed(5)
    return Reader(1)


def rated(source: str) -> list[tuple[str, float, str]]:
    """(document, rating, sentence) of one source, shuffled by document so that no document is in two splits."""
    with tarfile.open(Path(__file__).with_name("ratings.tar.gz")) as archive:
        name = SOURCES[source]
        file = f"hutto_ICWSM_2014/{name}{'Snippets' if name != 'tweets' else ''}_GroundTruth.txt"
        member = archive.extractfile(file)
        assert member is not None
        lines = member.read().decode("utf-8", errors="replace").splitlines()
    rows = [line.split("\t", 2) for line in lines]
    found = [(f"{source} {row[0].split('_')[0]}", float(row[1]), html.unescape(row[2])) for row in rows]
    documents = sorted({document for document, _, _ in found})
    place = dict(zip(documents, np.random.default_rng(3).permutation(len(documents)), strict=True))
    return sorted(found, key=lambda row: place[row[0]])


def _split(rows: Sequence[tuple[str, float, str]], *, numbers: bool) -> Split:
    ids = encoded([sentence for _, _, sentence in rows])
    ratings = np.array([rating for _, rating, _ in rows], np.float32)
    slices = {name: np.array([row[0].startswith(f"{name} ") for row in rows]) for name in SOURCES}
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64)}
    return Split(inputs, ratings if numbers else (ratings >= 0).astype(np.int64), slices)


def _data(*, numbers: bool) -> Data:
    splits: dict[str, list[tuple[str, float, str]]] = {name: [] for name in SIZES}
    for source in SOURCES:
        rows, taken = rated(source), 0
        for name, size in SIZES.items():
            end = taken + size
            while rows[end][0] == rows[end - 1][0]:
                end += 1  # the whole document
            splits[name] += rows[taken:end]
            taken = end
    return Data(**{name: _split(rows, numbers=numbers) for name, rows in splits.items()})


def classes() -> Data:
    """Labels: 1 where the mean rating is not below zero. Slices: the four sources."""
    return _data(numbers=False)


def ratings() -> Data:
    """Labels: the mean rating."""
    return _data(numbers=True)
