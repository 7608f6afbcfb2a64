"""What a technique is, and what travels between the steps of a recipe.

Techniques act in two phases. *Module* steps turn a `torch.nn.Module` into another one; *lowering* steps turn
the exported graph into another graph for one target. Quantization-aware training does both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import onnx
from torch import nn

from weighbridge.core.documents import TaskSection, TrainSection, Written
from weighbridge.core.errors import InputError
from weighbridge.core.progress import Progress
from weighbridge.data import Data

Facts = dict[str, Any]
"""What a step proved of itself, as JSON values: sparsity, distinct values, channels, ranks, tensors …"""


class StepConfig(Written):
    """Base of every technique's config: unknown keys are refused, values are frozen."""


class Constraint(Protocol):
    """Something that a step established and that every later step must preserve: a mask, a codebook.

    The training loop calls `before_step` between the backward pass and the optimizer's step, and `project` after
    it, so that masks and codebooks survive fine-tuning. One that changes while it is kept has `state()`, tensors by
    name, and `restore(state)` besides, so that a training goes on after a kill.
    """

    @property
    def name(self) -> str:
        """Technique and layer, e.g. `prune mask of features.0.weight`."""
        ...

    def before_step(self, module: nn.Module) -> None:
        """Adjust gradients in place, e.g. zero those of pruned weights or sum those of shared ones."""
        ...

    def project(self, module: nn.Module) -> None:
        """Put the module's weights back onto the constraint, in place."""
        ...

    def violation(self, module: nn.Module) -> str | None:
        """What is broken, in a clause; None while the constraint holds."""
        ...


@dataclass
class Subject:
    """The model between module steps."""

    module: nn.Module
    constraints: list[Constraint] = field(default_factory=list)
    notes: Facts = field(default_factory=dict)
    """What a module step hands to its own lowering half, e.g. observed ranges of quantization-aware training."""


@dataclass(frozen=True)
class Graph:
    """The model between lowering steps: one self-contained ONNX model, exporter metadata stripped."""

    proto: onnx.ModelProto
    notes: Facts = field(default_factory=dict)
    """Notes of the module steps; `parameters` maps an initializer's name to the module parameter it came from."""

    @property
    def model(self) -> onnx.ModelProto:
        """What the target writes."""
        return self.proto

    @property
    def network(self) -> onnx.ModelProto:
        """What parameters and multiply-accumulates are counted on."""
        return self.proto


def _no_project(path: str) -> onnx.ModelProto:
    raise InputError("is a file of a project, and there is none", where=path)


@dataclass(frozen=True)
class Context:
    """What every step may use besides its own config: data, training defaults, teachers, progress."""

    data: Data
    """`data.calibration` is always set (class-balanced, from train); techniques never see `data.test`'s labels."""
    train: TrainSection
    seed: int
    baseline: Callable[[], nn.Module]
    """A fresh copy of the trained baseline in eval mode (an `InputError` where the model is an ONNX file)."""
    teacher: Callable[[str], tuple[nn.Module, str]]
    """`baseline`, or `sha256:…` of a registered version → (module in eval mode, digest of its artifact)."""
    progress: Progress
    task: TaskSection | None = None
    """What quality means for the model; None: by the form of its first output."""
    finished: Callable[[str], onnx.ModelProto] = _no_project
    """Path from the project's folder → a finished ONNX model, in the form in which `model.onnx` enters."""


ModuleFunction = Callable[[Any, Subject, Context], tuple[Subject, Facts]]
LoweringFunction = Callable[[Any, Graph, Context], tuple[Graph, Facts]]


@dataclass(frozen=True)
class Technique:
    """One row of the table `TECHNIQUES`."""

    config: type[StepConfig]
    module: ModuleFunction | None = None
    lower: LoweringFunction | None = None
    phases: Callable[[Any], tuple[str, ...]] | None = None
    """Which of `module` and `lower` a given config uses; all that are present where it is None."""
    explain: Callable[[Any, Any, Context], list[Facts]] | None = None
    """(config, Subject or Graph, context) → what the step will do to each layer, without training: rows of a table
    with the columns `layer`, `shape`, `params`, `macs`, `bytes`, each but the first as `before → after`."""
    refuses: Callable[[Any, Sequence[Step]], str | None] | None = None
    """(config, the steps before it) → why this step cannot follow them, e.g. because it would undo one; else None."""
    falls: Callable[[Any], tuple[str, ...]] | None = None
    """(config) → which of the exported file's `bytes`, `gzip`, `zstd`, `params` and `macs` this step must lower.
    Where it is None: `bytes` for a step that lowers, nothing for one that works on the module alone."""
    exact: bool = False
    """Whether the lowering keeps the outputs to float round-off (packing does, quantizing does not)."""

    agreement: Callable[[Any], float] | None = None
    """(config) → least share of calibration examples on which a lossy lowering must answer as the model did;
    `parity.AGREEMENT` where it is None. 0 asks for none, whatever the task says."""

    def phases_of(self, config: StepConfig) -> tuple[str, ...]:
        """`("module",)`, `("lower",)` or both, for this config."""
        if self.phases is not None:
            return self.phases(config)
        return tuple(name for name in ("module", "lower") if getattr(self, name) is not None)


@dataclass(frozen=True)
class Step:
    """One validated item of a recipe."""

    name: str
    """The technique's name in `TECHNIQUES`."""
    config: StepConfig
    where: str
    """File and key, for messages: `params.yaml: recipes.int8.steps[0].quantize`."""
