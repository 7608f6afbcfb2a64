"""How long `weighbridge explain` takes on an encoder of 22 million parameters, as a command from start to end.

With the bytecode of all modules in place, as `pip install` or the first run leaves it: some machines are told to write
none, and compile torch anew for every command. The first run of each recipe, which writes it, is told beside.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.sizing.stage_process import run

BAR_SECONDS = 10.0
TIMES = 3
RECIPES = {
    "dynamic-int8": [{"quantize": {"scheme": "dynamic-int8"}}],
    "weight-int4": [{"quantize": {"scheme": "weight-int4"}}],
    "pruned": [
        {"prune": {"method": "magnitude", "sparsity": 0.5, "scope": "layer"}},
        {"quantize": {"scheme": "weight-int8"}},
    ],
}

ENCODER = '''
"""Six layers of 384, a vocabulary of 30,522: MiniLM's shape, with fresh weights."""

import numpy as np
import torch
from torch import nn

from weighbridge.data import Data, Split

HIDDEN, HEADS, VOCABULARY, LENGTH = 384, 12, 30522, 64


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.up, self.down = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)
        self.first, self.last = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)

    def forward(self, x, mask):
        n, length, _ = x.shape
        split = lambda layer: layer(x).view(n, length, HEADS, HIDDEN // HEADS).transpose(1, 2)
        query, key, value = split(self.query), split(self.key), split(self.value)
        weights = (query @ key.transpose(-1, -2) / (HIDDEN // HEADS) ** 0.5 + mask).softmax(-1)
        x = self.first(x + self.out((weights @ value).transpose(1, 2).reshape(n, length, HIDDEN)))
        return self.last(x + self.down(torch.nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, HIDDEN), nn.Embedding(512, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(6))
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, tokens, mask):
        x = self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]])
        shut = (1 - mask.float())[:, None, None] * -1e4
        for layer in self.layers:
            x = layer(x, shut)
        kept = mask.float()[..., None]
        return self.head((x * kept).sum(1) / kept.sum(1))


def load():
    rng = np.random.default_rng(1)

    def draw(count):
        inputs = {"tokens": rng.integers(0, VOCABULARY, (count, LENGTH)), "mask": np.ones((count, LENGTH), np.int64)}
        return Split(inputs, rng.integers(0, 3, count))

    return Data(train=draw(128), test=draw(128))
'''


def project(folder: Path) -> None:
    """`params.yaml` and the encoder."""
    folder.mkdir()
    (folder / "encoder.py").write_text(ENCODER)
    content = {
        "model": {"name": "encoder", "factory": "encoder:Encoder"},
        "data": {"factory": "encoder:load"},
        "recipes": {name: {"steps": steps} for name, steps in RECIPES.items()},
        "budgets": [{"metric": "size.bytes", "max_ratio": 0.6}],
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def explained(work: Path) -> dict[str, Any]:
    """Recipe → seconds of each of a few runs, of processor time too, and of the run before them."""
    project(work / "encoder")
    command = [sys.executable, "-m", "weighbridge", "explain", "--root", str(work / "encoder")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(work / "bytecode")
    found = {}
    for name in RECIPES:
        first, *runs = [run([*command, name], work, environment) for _ in range(1 + TIMES)]
        found[name] = {
            "first": first.seconds,
            "seconds": [one.seconds for one in runs],
            "processor": [one.processor for one in runs],
        }
    return found


def rows(found: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, median seconds and bar."""
    return [
        (f"explain: {name}: seconds", float(statistics.median(item["seconds"])), BAR_SECONDS)
        for name, item in found.items()
    ]
