"""The state of a training on disk, so that one that was killed goes on where it was, and ends in the same bytes.

Within `resumable` every training keeps its state in a folder, in a file that is named after everything that determines
the run: what the stage says of data, code and recipe, the settings, the seed, and the weights that it starts from. The
state of another run has another name, and is left alone. The folder goes when the stage succeeds.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError
from weighbridge.core.files import atomic_path, canonical_json, sha256_bytes

WRITING = 20
"""A state is written again after this many times what writing took: at most a twentieth of the time goes there."""


@dataclass
class Scratch:
    """Where the trainings of one run of a stage keep their states."""

    folder: Path
    depends: str
    """Digest of what determines the stage: data, code, recipe."""
    trained: int = 0
    """Trainings so far: the second has another state than the first."""


_CURRENT: ContextVar[Scratch | None] = ContextVar("scratch", default=None)


@contextmanager
def resumable(folder: Path, depends: Mapping[str, Any]) -> Iterator[Scratch]:
    """Trainings inside keep their states below `folder`, which goes on success and stays on any error.

    `depends` is everything that determines them besides their own settings, as JSON values.
    """
    scratch = Scratch(folder, sha256_bytes(canonical_json(dict(depends))))
    token = _CURRENT.set(scratch)
    try:
        yield scratch
    finally:
        _CURRENT.reset(token)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Position:
    """How far a training is."""

    taken: int = 0
    """Optimizer steps."""
    epoch: int = 1
    """The pass over the data that it is in, from 1."""
    done: int = 0
    """Optimizer steps of that pass."""
    value: float = 0.0
    """Sum of the losses of that pass, by example."""
    seen: int = 0
    """Examples of that pass."""
    losses: list[float] = field(default_factory=list)
    """Mean losses of the passes before."""

    def count(self, loss: float, examples: int) -> None:
        """One step more."""
        self.taken += 1
        self.done += 1
        self.value += loss * examples
        self.seen += examples

    def next_pass(self) -> None:
        """The pass is at its end."""
        self.losses.append(self.value / self.seen)
        self.epoch, self.done, self.value, self.seen = self.epoch + 1, 0, 0.0, 0


@dataclass
class Parts:
    """What a training consists of, besides its position."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    order: torch.Generator
    """Draws the order of the examples; its state at the start of the pass is what is kept."""
    changes: torch.Generator
    """What `train.augment` draws from."""
    constraints: Sequence[Any]


class Kept:
    """The state of one training: written at most every so often, read back when the training starts again."""

    def __init__(self, path: Path, key: str, every: float) -> None:
        self.path, self.key, self.every = path, key, every
        self.wait = every
        self.started = self.last = time.monotonic()

    def folder(self) -> Path:
        """A folder for what a user's loop keeps of this training."""
        made = self.path.with_suffix("")
        made.mkdir(parents=True, exist_ok=True)
        return made

    def due(self) -> bool:
        """Whether it is time to write."""
        return self.every > 0 and time.monotonic() - self.last >= self.wait

    def finish(self, parts: Parts, position: Position, order: Tensor) -> None:
        """Keep the end of a long training, for a stage that is killed in a later one."""
        if self.every > 0 and time.monotonic() - self.started >= self.every:
            self.write(parts, position, order)

    def write(self, parts: Parts, position: Position, order: Tensor) -> None:
        """Write everything that the rest of the training depends on; `order` is its generator at the pass's start."""
        begun = time.monotonic()
        tensors = {name: tensor.detach().clone().contiguous().cpu() for name, tensor in _tensors(parts).items()}
        tensors["random.order"] = order
        said = json.dumps({"position": _exact(position), "scaler": parts.scaler.state_dict()}, sort_keys=True)
        with atomic_path(self.path) as temporary:
            metadata = {"key": self.key, "state": said, "digest": _digest(tensors, said)}
            save_file(tensors, temporary, metadata=metadata)
        self.last = time.monotonic()
        self.wait = max(self.every, WRITING * (self.last - begun))

    def read(self, parts: Parts) -> tuple[Position, Tensor] | None:
        """Put everything back; the position and the order's generator. None where nothing was kept.

        A file of another training, or one that was changed, is an `InputError` that names it.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        except (SafetensorError, OSError) as error:
            raise self._refused("is not readable") from error
        if metadata.get("key") != self.key:
            raise self._refused("is the state of another training")
        said = metadata.get("state", "")
        if metadata.get("digest") != _digest(tensors, said):
            raise self._refused("was changed after it was written")
        state = json.loads(said)
        _restore(parts, tensors, state["scaler"])
        given = state["position"]
        floats = {"value": float.fromhex(given["value"]), "losses": [float.fromhex(one) for one in given["losses"]]}
        return Position(**{**given, **floats}), tensors["random.order"]

    def _refused(self, problem: str) -> InputError:
        return InputError(problem, where=str(self.path), fix="delete it: the training then starts over")


def kept_state(module: nn.Module, settings: TrainSection, seed: int, stage: str, device: str) -> Kept | None:
    """Where the training that starts now keeps its state; None outside of `resumable`."""
    scratch = _CURRENT.get()
    if scratch is None:
        return None
    scratch.trained += 1
    state = module.state_dict()
    if not all(isinstance(value, Tensor) for value in state.values()):
        return None  # a module with a state of its own kind, which safetensors cannot hold
    depends = {
        "stage": scratch.depends,
        "training": [scratch.trained, stage, seed, settings.model_dump(mode="json", exclude={"checkpoint_seconds"})],
        "start": [_digest(state, ""), str(module)],
        "torch": [torch.__version__, device, torch.backends.cpu.get_cpu_capability()],
    }
    key = sha256_bytes(canonical_json(depends)).removeprefix("sha256:")
    return Kept(scratch.folder / f"{key[:32]}.safetensors", key, settings.checkpoint_seconds)


def _tensors(parts: Parts) -> dict[str, Tensor]:
    found = {f"module.{name}": tensor for name, tensor in parts.module.state_dict().items()}
    for index, values in parts.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    for index, constraint in enumerate(parts.constraints):
        for name, tensor in _state_of(constraint).items():
            found[f"constraint.{index}.{name}"] = tensor
    found["random.torch"] = torch.get_rng_state()
    found["random.changes"] = parts.changes.get_state()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["random.cuda"] = torch.cuda.get_rng_state()
    return found


def _state_of(constraint: Any) -> dict[str, Tensor]:
    """What a constraint changes while it is kept; most change nothing."""
    state: dict[str, Tensor] = constraint.state() if hasattr(constraint, "state") else {}
    return state


def _restore(parts: Parts, tensors: Mapping[str, Tensor], scaler: dict[str, Any]) -> None:
    def below(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    parts.module.load_state_dict(below("module."))
    groups = parts.optimizer.state_dict()["param_groups"]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in below("optimizer.").items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    parts.optimizer.load_state_dict({"state": state, "param_groups": groups})
    for index, constraint in enumerate(parts.constraints):
        if hasattr(constraint, "restore"):
            constraint.restore(below(f"constraint.{index}."))
    torch.set_rng_state(tensors["random.torch"])
    parts.changes.set_state(tensors["random.changes"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    parts.scaler.load_state_dict(scaler)


def _exact(position: Position) -> dict[str, Any]:
    """Floats as hexadecimal text, which loses no bit."""
    return {**vars(position), "value": position.value.hex(), "losses": [loss.hex() for loss in position.losses]}


def _digest(tensors: Mapping[str, Tensor], said: str) -> str:
    lines = [said]
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        lines.append(f"{name} {tensor.dtype} {tuple(tensor.shape)} {sha256_bytes(flat.numpy().data)}")
    return sha256_bytes("\n".join(lines).encode())
