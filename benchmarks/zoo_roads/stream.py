"""A recurrent net that reads source one character at a time and hands its state on: trained and exported here."""

from collections.abc import Sequence

import numpy as np
import torch
from highlight import CODES, HELD, KINDS, TRAIN, lines
from torch import Tensor, nn

from weighbridge.data import Data, Split

STATE, STEPS = 96, 64


class Stream(nn.Module):
    """A step of a gated recurrent unit, and the kind of token that the character is part of."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.cell = nn.Embedding(CODES, 64), nn.GRUCell(64, STATE)
        self.kinds = nn.Linear(STATE, len(KINDS))

    def forward(self, code: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """A character (n, 1) and a state (n, width) → scores (n, kinds) and the next state."""
        new = self.cell(self.letters(code[:, 0]), state)
        return self.kinds(new), new


def _streams(modules: Sequence[str], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and kinds (streams, steps), each from some line on."""
    known = lines(modules)
    rng = np.random.default_rng(seed)
    codes, kinds = np.zeros((count, STEPS), np.int64), np.zeros((count, STEPS), np.int64)
    for index, start in enumerate(rng.choice(len(known) - STEPS, count, replace=False)):
        text = "".join(f"{line}\n" for line, _ in known[start : start + STEPS])
        marks = [kind for _, row in known[start : start + STEPS] for kind in (*row, 0)]
        codes[index], kinds[index] = [ord(letter) for letter in text[:STEPS]], marks[:STEPS]
    return codes, kinds


def _split(modules: Sequence[str], count: int, seed: int) -> Split:
    codes, kinds = _streams(modules, count, seed)
    return Split({"code": codes.reshape(-1, 1)}, kinds.reshape(-1), groups=np.arange(codes.size) // STEPS)


def load() -> Data:
    """Streams of 64 characters, a group each."""
    return Data(train=_split(TRAIN, 8, 1), calibration=_split(TRAIN, 8, 2), test=_split(HELD, 40, 3))


def make() -> None:
    """Train for 250 steps over whole streams, and write `model.onnx`."""
    torch.manual_seed(5)
    net, (codes, kinds) = Stream(), _streams(TRAIN, 2000, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for rows in torch.randint(0, len(codes), (250, 48), generator=torch.Generator().manual_seed(1)):
        letters, wanted, state = torch.from_numpy(codes[rows]), torch.from_numpy(kinds[rows]), torch.zeros(48, STATE)
        loss = torch.zeros(())
        for step in range(STEPS):
            scores, state = net(letters[:, step : step + 1], state)
            loss += nn.functional.cross_entropy(scores, wanted[:, step]) / STEPS
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.onnx.export(
        net.eval(),
        (torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, STATE)),
        "model.onnx",
        input_names=["code", "state"],
        output_names=["scores", "new_state"],
        dynamic_shapes=({0: "n"}, {0: "n"}),
        external_data=False,
    )
