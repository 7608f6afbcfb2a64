"""A search over a module whose inputs are declared: a state with its examples along the second axis, fed back."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.search.project import project
from weighbridge.data import Data, Split
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.run import search

WIDTH, STATE = 8, 32


class Steps(nn.Module):
    """`x` (n, 8), `state` (1, n, 32) → `output0` (n, 3), `output1` = tanh(x·a + state·b)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(WIDTH, STATE), nn.Linear(STATE, STATE), nn.Linear(STATE, 3)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.tanh(self.a(x) + 0.1 * self.b(state[0]))
        return self.c(new), new[None]


def streams() -> Data:
    """Thirty streams of twenty steps; the class is the largest of the first three inputs."""

    def split(seed: int, count: int) -> Split:
        x = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
        state = np.zeros((count, 1, STATE), np.float32)
        return Split({"x": x, "state": state}, x[:, :3].argmax(axis=1), groups=np.arange(count) // 20)

    return Data(train=split(0, 600), test=split(1, 60))


def test_a_search_feeds_states_as_params_say(tmp_path: Path) -> None:
    """Trained, built, answered and timed with the second axis as the batch, on whole streams."""
    root = project(
        tmp_path,
        model={"name": "tiny", "factory": "tests.search.test_search_declared:Steps"},
        data={"factory": "tests.search.test_search_declared:streams"},
        inputs={"state": {"batch_axis": 1, "carry": "output1"}},
        search={"techniques": ["quantize"], "schemes": ["weight-int8"], "epochs": 0},
        budgets=[{"metric": "size.bytes", "max_ratio": 0.95}, {"metric": "accuracy.top1", "max_drop": 0.2}],
    )
    found = search(SearchRequest(root=root, seconds=60, trials=1))
    assert found.failed == []
    (_, outcome), *_ = found.tried
    assert outcome.last.bytes < 0.95 * found.baseline.bytes
    assert outcome.timing is not None
    assert outcome.timing.ratio > 0
