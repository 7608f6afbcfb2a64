"""A Llama of bytes: RMS norms, rotary positions, gated linear units, and a cache that it takes and gives back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

VOCABULARY = 256
WIDTH, LAYERS, HEADS, INNER = 128, 6, 4, 352


class Attention(nn.Module):
    """Causal attention of new tokens to the cache and to each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, t, width), caches (n, heads, s, d) and angles (t, d / 2) → (n, t, width) and caches of s + t."""
        count, tokens, width = x.shape
        shape = (count, tokens, self.heads, width // self.heads)
        query, key, value = (part(x).reshape(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        keys = torch.cat([keys, rotated(key, angles)], dim=2)
        values = torch.cat([values, value], dim=2)
        total = keys.shape[2]
        seen = torch.arange(total)[None, :] <= (torch.arange(tokens) + (total - tokens))[:, None]
        scores = rotated(query, angles) @ keys.transpose(2, 3) / (width // self.heads) ** 0.5
        scores = torch.where(seen, scores, torch.full_like(scores, -1e4))
        mixed = (scores.softmax(-1) @ values).transpose(1, 2).reshape(count, tokens, width)
        return self.out(mixed), keys, values


class Block(nn.Module):
    """Attention and a gated unit, each with its norm and residual."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.first, self.second = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.attention = Attention(width, heads)
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Attention`."""
        mixed, keys, values = self.attention(self.first(x), keys, values, angles)
        x = x + mixed
        inner = self.second(x)
        return x + self.down(silu(self.gate(inner)) * self.up(inner)), keys, values


class Llama(nn.Module):
    """Bytes to logits for the byte after each; 1,271,808 parameters by default."""

    speeds: Tensor

    def __init__(self, width: int = WIDTH, layers: int = LAYERS, heads: int = HEADS, inner: int = INNER) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        half = width // heads // 2
        self.register_buffer("speeds", 10_000.0 ** (-torch.arange(half) / half), persistent=False)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes (n, t) and the cache of what was read before (n, 2 · layers, heads, s, d) → logits (n, t, 256) and the
        cache with s + t.
        """
        before = past.shape[3]
        angles = (torch.arange(tokens.shape[1]) + before)[:, None] * self.speeds
        x, present = self.embedding(tokens), []
        for index, block in enumerate(self.blocks):
            x, keys, values = block(x, past[:, 2 * index], past[:, 2 * index + 1], angles)
            present += [keys, values]
        return self.head(self.norm(x)), torch.stack(present, dim=1)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions: halves (n, heads, t, d / 2) rotated by angles (t, d / 2)."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
