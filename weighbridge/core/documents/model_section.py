"""Sections `model:`, `data:` and `train:` of `params.yaml`: what is compressed, and how its baseline comes about."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from weighbridge.core.documents.base import Factory, Written


def _slug(value: str) -> str:
    if not value or not value[0].isalnum() or not all(c.isalnum() or c in "-_" for c in value) or not value.isascii():
        raise ValueError("expected letters, digits, '-' and '_', starting with a letter or digit")
    return value


Name = Annotated[str, Field(max_length=64), AfterValidator(_slug)]


class ModelSection(Written):
    """What is versioned here."""

    name: Name
    """The model's name in the registry."""
    factory: Factory | None = None
    """A callable without arguments that returns a `torch.nn.Module` with fresh weights."""
    weights: str | None = None
    """Path of trained weights for `factory`: safetensors, or a state_dict that torch loads with `weights_only`."""
    onnx: str | None = None
    """Path of a finished ONNX file, instead of `factory`: recipes of lowering steps accept it as the baseline."""
    licence: str | None = None
    """SPDX identifier, copied into the registry's records."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.factory is None) == (self.onnx is None):
            raise ValueError("expected exactly one of 'factory' and 'onnx'")
        if self.weights is not None and self.factory is None:
            raise ValueError("'weights' belong to a 'factory'; an ONNX file has its own")
        return self


class DataSection(Written):
    """Where examples come from."""

    factory: Factory
    """A callable without arguments that returns a `weighbridge.data.Data`."""


class TrainSection(Written):
    """How the baseline is trained. Fine-tuning inside recipes takes what it does not set from here.

    `train: none` stands for `{epochs: 0}`.
    """

    epochs: int = Field(default=8, ge=0, le=10_000)
    """Passes over the training split; 0: the model is trained already, and its weights are the baseline."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps in all, in place of `epochs`. A stream of unknown length needs it: as many examples are read as
    these steps take."""
    batch_size: int = Field(default=128, ge=1)
    """Examples in one pass forward and back."""
    accumulate_grad_batches: int = Field(default=1, ge=1)
    """Batches whose gradients make one optimizer step: the effective batch is `batch_size` times this."""
    lr: float = Field(default=1e-3, gt=0, lt=10)
    """Peak learning rate of the one-cycle schedule (Adam)."""
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    seed: int = Field(default=7, ge=0, lt=2**31)
    loss: Literal["cross_entropy", "token_cross_entropy", "binary_cross_entropy", "mse", "cosine"] | Factory = (
        "cross_entropy"
    )
    """The task's own where it is not given. `cross_entropy`: classes along axis 1 (yes and no, where there is one
    score); `token_cross_entropy`: along the last axis; labels of -100 do not count. `cosine`: 1 - cosine to the label.
    Or `module:callable`, a function of (outputs, labels) that gives a scalar; outputs are a tensor (n, …), or a
    tuple of them where the model has several."""
    augment: Factory | None = None
    """A function of (inputs by name, labels, generator) that gives both again: called on every training batch."""
    loop: Factory | None = None
    """A function of one argument, a `weighbridge.compress.training.user_loop.Training`, instead of our own loop."""

    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """`auto`: CUDA where torch finds it. On the CPU the same inputs give the same bytes; a manifest records CUDA."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of forward passes, where operators bear it; weights stay in float32. fp16 trains on CUDA."""
    checkpoint_seconds: float = Field(default=60, ge=0)
    """How often at most a training writes its state, so that a run after a kill goes on there; 0: never."""

    @model_validator(mode="before")
    @classmethod
    def _none(cls, values: Any) -> Any:
        return {"epochs": 0} if values == "none" else values

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and "epochs" in self.model_fields_set:
            raise ValueError("expected one of 'epochs' and 'steps'")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("fp16 trains on CUDA; set device: cuda, or precision: bf16")
        return self

    @property
    def examples_a_step(self) -> int:
        """How many examples one optimizer step takes."""
        return self.batch_size * self.accumulate_grad_batches

    def steps_for(self, examples: int) -> tuple[int, int]:
        """(optimizer steps in one pass over so many examples, steps in all)."""
        a_pass = -(-examples // self.examples_a_step)
        return a_pass, self.steps if self.steps is not None else self.epochs * a_pass

    def passes_for(self, examples: int) -> int:
        """Passes over so many examples; the last may be cut short by `steps`."""
        a_pass, steps = self.steps_for(examples)
        return -(-steps // a_pass)

    @property
    def trains(self) -> bool:
        """Whether there is anything to train: `train: none` says no."""
        return self.steps is not None or self.epochs > 0

    @property
    def own_loss(self) -> bool:
        """Whether `loss` names a function of the user's."""
        return ":" in self.loss
