"""Characters of the standard library's source with the kind of token that each is part of, and a tagger for them."""

import importlib.util
import io
import keyword
import token
import tokenize
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from weighbridge.data import Data, Split

LENGTH, CODES = 96, 128
KINDS = ("space", "name", "keyword", "number", "string", "comment", "operator")
TRAIN = ("argparse", "ast", "calendar", "csv", "datetime", "decimal", "difflib", "dis", "doctest", "enum", "ftplib")
HELD = ("heapq", "imaplib", "inspect", "ipaddress", "mailbox", "pdb", "pickle", "platform")
"""Modules to train with, and those that are read only for the test."""


def _kind(found: tokenize.TokenInfo) -> int:
    if found.type == token.NAME:
        return KINDS.index("keyword" if keyword.iskeyword(found.string) else "name")
    by_type = {token.NUMBER: "number", token.STRING: "string", token.COMMENT: "comment", token.OP: "operator"}
    return KINDS.index(by_type.get(found.type, "space"))


def lines(modules: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Lines of ASCII with the kind of each character; strings of several lines count as strings in each."""
    found = []
    for name in modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text(encoding="utf-8")
        rows = source.splitlines(keepends=True)
        kinds = [[0] * len(row) for row in rows]
        for item in tokenize.generate_tokens(io.StringIO(source).readline):
            (top, left), (bottom, right) = item.start, item.end
            for index in range(top - 1, min(bottom, len(rows))):
                begin, end = left if index == top - 1 else 0, right if index == bottom - 1 else len(rows[index])
                kinds[index][begin:end] = [_kind(item)] * len(kinds[index][begin:end])
        pairs = zip(rows, kinds, strict=True)
        found += [(row.rstrip(), kind[: len(row.rstrip())]) for row, kind in pairs if row.strip() and row.isascii()]
    return found


def _split(modules: Sequence[str], count: int, seed: int) -> Split:
    known = lines(modules)
    chosen = np.random.default_rng(seed).choice(len(known), count, replace=False)
    codes, tags = np.zeros((count, LENGTH), np.int64), np.full((count, LENGTH), -100)
    for place, index in enumerate(chosen):
        text, kinds = known[index]
        row = [ord(letter) for letter in text[:LENGTH]]
        codes[place, : len(row)] = row
        tags[place, : len(row)] = kinds[:LENGTH]
    return Split({"codes": codes, "mask": (codes != 0).astype(np.int64)}, tags)


class Tagger(nn.Module):
    """Characters to kinds: an embedding and four convolutions that look ever further."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(CODES, 48)
        self.near = nn.ModuleList(
            nn.Conv1d(48 if step == 1 else 96, 96, 5, padding=2 * step, dilation=step) for step in (1, 2, 4, 8)
        )
        self.tags = nn.Linear(96, len(KINDS))

    def forward(self, codes: Tensor, mask: Tensor) -> Tensor:
        """(n, characters) codes and 0 or 1 → (n, characters, kinds)."""
        x = (self.letters(codes) * mask[:, :, None].to(torch.float32)).transpose(1, 2)
        for layer in self.near:
            x = torch.relu(layer(x))
        return self.tags(x.transpose(1, 2))


def build() -> nn.Module:
    """The network with fresh weights."""
    torch.manual_seed(5)
    return Tagger()


def load() -> Data:
    """Lines of modules to train with; the test's lines are of other modules."""
    return Data(train=_split(TRAIN, 4000, 1), calibration=_split(TRAIN, 128, 2), test=_split(HELD, 800, 3))
