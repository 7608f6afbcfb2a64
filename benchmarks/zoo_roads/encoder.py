"""A BERT whose parts have the names of its checkpoint, and sentences of the standard library's documentation."""

import inspect
import json
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from weighbridge.data import Data, Split

WIDTH, HEADS, LAYERS, WORDS, TOKENS = 384, 12, 6, 30_522, 32
MODULES = (
    "argparse", "asyncio", "ast", "collections", "csv", "datetime", "decimal", "email.message", "fractions",
    "functools", "heapq", "inspect", "json", "logging", "pathlib", "random", "shutil", "statistics", "string",
    "subprocess", "tarfile", "tempfile", "threading", "typing", "unittest", "urllib.parse", "zipfile",
)  # fmt: skip


class Embeddings(nn.Module):
    """Words, places and the one segment."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(WORDS, WIDTH)
        self.position_embeddings = nn.Embedding(512, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.register_buffer("position_ids", torch.arange(512)[None])  # the checkpoint has it

    def forward(self, ids: Tensor) -> Tensor:
        """(n, tokens) → (n, tokens, width)."""
        places = self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + places + self.token_type_embeddings.weight[0])


def _dense(inside: int, outside: int, *, norm: bool) -> nn.ModuleDict:
    parts = {"dense": nn.Linear(inside, outside)}
    return nn.ModuleDict({**parts, "LayerNorm": nn.LayerNorm(outside, eps=1e-12)} if norm else parts)


class Layer(nn.Module):
    """Attention and two dense layers, each with its residual and norm."""

    def __init__(self) -> None:
        super().__init__()
        names = ("query", "key", "value")
        own = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in names})
        self.attention = nn.ModuleDict({"self": own, "output": _dense(WIDTH, WIDTH, norm=True)})
        self.intermediate = _dense(WIDTH, 4 * WIDTH, norm=False)
        self.output = _dense(4 * WIDTH, WIDTH, norm=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(n, tokens, width) with a mask that is added to scores (n, 1, 1, tokens)."""
        own, count = self.attention["self"], x.shape[1]
        heads = [own[name](x).reshape(-1, count, HEADS, WIDTH // HEADS).transpose(1, 2) for name in own]
        scores = heads[0] @ heads[1].transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + mask
        mixed = (scores.softmax(-1) @ heads[2]).transpose(1, 2).reshape(-1, count, WIDTH)
        out = self.attention["output"]
        x = out["LayerNorm"](x + out["dense"](mixed))
        inner = nn.functional.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](inner))


class Encoder(nn.Module):
    """Sentences to unit vectors: the mean over tokens that are no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(LAYERS))})
        self.pooler = _dense(WIDTH, WIDTH, norm=False)  # the checkpoint has it; sentences are means

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, tokens) integers and 0 or 1 → (n, width)."""
        return nn.functional.normalize(self.mean(input_ids, attention_mask), dim=1)

    def mean(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The same before it has length 1."""
        kept = attention_mask.to(torch.float32)
        x, mask = self.embeddings(input_ids), (1 - kept[:, None, None, :]) * -1e4
        for layer in self.encoder["layer"]:
            x = layer(x, mask)
        return (x * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)


def build() -> nn.Module:
    """The network; its weights come from the checkpoint."""
    return Encoder()


def sentences() -> list[str]:
    """First sentences of docstrings, each once, in order."""
    found = []
    for name in MODULES:
        for _, thing in inspect.getmembers(import_module(name)):
            text = inspect.getdoc(thing) if inspect.isclass(thing) or inspect.isroutine(thing) else None
            first = re.split(r"(?<=[.!?])\s|\n\n", text.strip(), maxsplit=1)[0] if text else ""
            if 20 < len(first) < 200:
                found.append(" ".join(first.split()))
    return sorted(set(found))


def pieces(text: str, words: dict[str, int]) -> list[int]:
    """WordPiece by the longest match, as BERT has it, lower case."""
    found = [words["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            stop = next((end for end in range(len(word), start, -1) if mark + word[start:end] in words), 0)
            found.append(words[mark + word[start:stop]] if stop else words["[UNK]"])
            start = stop or len(word)
    return [*found[: TOKENS - 1], words["[SEP]"]]


def encoded(texts: Sequence[str]) -> np.ndarray:
    """Token ids (n, tokens), 0 where there is no more."""
    words = json.loads(Path(__file__).with_name("tokenizer.json").read_text())["model"]["vocab"]
    ids = np.zeros((len(texts), TOKENS), np.int64)
    for index, text in enumerate(texts):
        row = pieces(text, words)
        ids[index, : len(row)] = row
    return ids


def load() -> Data:
    """No labels: the vectors of the checkpoint are what is held to."""
    ids = encoded(sentences())
    ids = ids[np.random.default_rng(1).permutation(len(ids))]
    mask = (ids != 0).astype(np.int64)

    def part(chosen: slice) -> Split:
        return Split({"input_ids": ids[chosen], "attention_mask": mask[chosen]})

    return Data(train=part(slice(0, 64)), calibration=part(slice(64, 192)), test=part(slice(192, 592)))
