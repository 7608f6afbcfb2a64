"""Quantization-aware training for onnxruntime: train with its rounding in place, then hand it the rounded weights.

Fake quantization stands where onnxruntime's U8S8 scheme quantizes: the input of every convolution and linear layer
(8 bits, asymmetric, one range a tensor) and its weight (signed, symmetric, one scale an output channel; 7 bits where
the range is reduced). Batch normalisation is folded first, as the exporter folds it. Gradients pass straight through
rounding (Bengio et al. 2013, arXiv:1308.3432; Jacob et al. 2018, arXiv:1712.05877).

Trained weights are left *on the grid* of their own integers, in float32: the module can still be exported, masks
still hold, and onnxruntime's quantizer finds the same integers again, because each channel's largest weight is its
grid's end.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weighbridge.compress.graph.fold import fold_batchnorm
from weighbridge.compress.graph.layers import WEIGHTED
from weighbridge.compress.steps import Constraint, Context, Facts, Subject
from weighbridge.compress.techniques.quantize.config import Quantize
from weighbridge.compress.techniques.quantize.integer import check_calibration, reduces_range
from weighbridge.compress.techniques.quantize.layer_sensitivity import as_facts, rank, too_sensitive
from weighbridge.compress.training.finetune import facts_of, finetune
from weighbridge.compress.training.module_quality import evaluate
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
MOMENTUM = 0.05
"""Share of a batch's extremes in the running range of an activation."""


class FakeQuantized:
    """One layer that computes with a rounded input and a rounded weight while it is `on`."""

    def __init__(self, layer: Layer, top: int, *, per_channel: bool) -> None:
        self.layer = layer
        self.top = top
        self.per_channel = per_channel
        self.range: tuple[float, float] | None = None
        self.on = True
        self.observes = False

    def weight(self) -> Tensor:
        """The weight rounded to its grid; gradients pass where it was not clipped."""
        return fake_weight(self.layer.weight, self.top, per_channel=self.per_channel)

    def forward(self, inputs: Tensor) -> Tensor:
        """What stands in for the layer's own forward."""
        if self.observes or self.layer.training:
            self._observe(inputs)
        weight: Tensor = self.layer.weight
        if self.on and self.range is not None:
            inputs = fake_activation(inputs.float(), *self.range)  # float already, but in mixed precision
            weight = self.weight()
        if isinstance(self.layer, nn.Linear):
            return F.linear(inputs, weight, self.layer.bias)
        computed: Tensor = self.layer._conv_forward(inputs, weight, self.layer.bias)  # noqa: SLF001  # pads as configured
        return computed

    def _observe(self, inputs: Tensor) -> None:
        low, high = min(0.0, float(inputs.detach().min())), max(0.0, float(inputs.detach().max()))
        if self.range is None or self.observes:
            before = self.range or (low, high)
            self.range = (min(low, before[0]), max(high, before[1]))
        else:
            was_low, was_high = self.range
            self.range = (was_low + MOMENTUM * (low - was_low), was_high + MOMENTUM * (high - was_high))


@dataclass(frozen=True)
class RunningRanges(Constraint):
    """The ranges of activations as a part of the training's state; they constrain no weight."""

    fakes: dict[str, FakeQuantized]
    name: str = "ranges of activations"

    def before_step(self, module: nn.Module) -> None:
        """Nothing."""

    def project(self, module: nn.Module) -> None:
        """Nothing."""

    def violation(self, _: nn.Module) -> str | None:
        """Never broken."""
        return None

    def state(self) -> dict[str, Tensor]:
        """Both ends by layer, in float64 as they are kept."""
        known = {name: fake.range for name, fake in self.fakes.items() if fake.range is not None}
        return {name: torch.tensor(ends, dtype=torch.float64) for name, ends in known.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, ends in state.items():
            self.fakes[name].range = (float(ends[0]), float(ends[1]))


def fake_weight(weight: Tensor, top: int, *, per_channel: bool) -> Tensor:
    """Round a weight (out, ...) to integers in [-top, top] times a scale, each channel's largest value on the end."""
    flat = weight.detach().abs().flatten(1)
    largest = flat.amax(1) if per_channel else flat.amax().expand(len(weight)).contiguous()
    scale = torch.where(largest > 0, largest / top, torch.ones_like(largest))
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -top, top)


def fake_activation(values: Tensor, low: float, high: float) -> Tensor:
    """Round to 256 steps over [low, high], which holds zero exactly, as U8 does."""
    scale = max(high - low, 1e-8) / 255
    return torch.fake_quantize_per_tensor_affine(values, scale, int(np.clip(round(-low / scale), 0, 255)), 0, 255)


def train(config: Quantize, subject: Subject, context: Context) -> tuple[Subject, Facts]:
    """Fine-tune with onnxruntime's rounding in place; leaves the weights on their grids and notes what was kept.

    Raises `InputError` where the model has no layer to quantize, a pattern under `keep` matches none or a layer has
    no integer form (named; before any training), and `InvariantError` where training diverges or the rounded weights
    break a constraint of an earlier step (before any training, where they do so already).
    """
    calibration = _calibration(context)
    check_calibration(calibration)
    example = batch(calibration, slice(0, 8))[0]
    module = fold_batchnorm(subject.module, example)
    top = 64 if reduces_range(config) else 127
    named = _named(module, config.keep)
    with _patched(module, _chosen(module, named), top, per_channel=config.per_channel) as fakes:
        _observe(module, fakes, calibration)
        ranking = _keep_sensitive(module, fakes, config, calibration)
        # What rounding breaks now it breaks after training too: said before hours are spent.
        before = copy.deepcopy(module.state_dict())
        _round(module, fakes, subject.constraints)
        module.load_state_dict(before)
        history = finetune(
            module,
            config.finetune,
            context,
            constraints=[*subject.constraints, RunningRanges(fakes)],
            stage="quantization-aware training",
        )
        _round(module, fakes, subject.constraints)
        ranges = {name: list(fake.range or (0.0, 0.0)) for name, fake in fakes.items()}
    kept = sorted((named | set(_layers(module))) - set(ranges))
    notes = {**subject.notes, "qat": {"kept": kept, "ranges": ranges}}
    facts: Facts = {
        "layers": sorted(ranges),
        "kept": kept,
        "bits": 7 if top == 64 else 8,
        **facts_of(history),
    }
    if ranking:
        facts["sensitivity"] = ranking
    return Subject(module, subject.constraints, notes), facts


def _round(module: nn.Module, fakes: dict[str, FakeQuantized], constraints: Sequence[Constraint]) -> None:
    """Put the weights onto their grids, which must leave masks and codebooks of earlier steps intact."""
    with torch.no_grad():
        for fake in fakes.values():
            fake.layer.weight.copy_(fake.weight())
    for constraint in constraints:
        broken = constraint.violation(module)
        if broken is not None:
            raise InvariantError(
                f"rounding weights breaks an earlier step: {constraint.name}: {broken}",
                where="quantize",
                fix="set per_channel: false, so that equal weights stay equal",
            )


def _calibration(context: Context) -> Split:
    if context.data.calibration is None:
        raise InputError("there is no calibration split", where="data.calibration")
    return context.data.calibration


def _layers(module: nn.Module) -> dict[str, Layer]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, LAYERS)}


def _named(module: nn.Module, patterns: Sequence[str]) -> set[str]:
    """The layers with weights of any kind that a pattern names: by themselves, or by a parameter of theirs."""
    known = {
        name: [name, *(f"{name}.{own}" for own, _ in layer.named_parameters(recurse=False))]
        for name, layer in module.named_modules()
        if isinstance(layer, WEIGHTED)
    }
    named = {
        pattern: {layer for layer, names in known.items() if any(fnmatchcase(name, pattern) for name in names)}
        for pattern in patterns
    }
    for pattern, found in named.items():
        if not found:
            names = ", ".join(known) or "none"
            raise InputError(f"{pattern!r} matches no layer", where="quantize.keep", fix=f"layers: {names}")
    return set().union(*named.values())


def _chosen(module: nn.Module, kept: set[str]) -> dict[str, Layer]:
    chosen = {name: layer for name, layer in _layers(module).items() if name not in kept}
    if not chosen:
        raise InputError("no convolution or linear layer is left to quantize", where="quantize")
    for name, layer in module.named_modules():
        if isinstance(layer, nn.RNNBase) and name not in kept:
            raise InputError(
                f"qat-int8 has no form of layer {name} ({type(layer).__name__})",
                where="quantize",
                fix="name it under 'keep', or choose a weight-only scheme",
            )
    return chosen


@contextmanager
def _patched(
    module: nn.Module, chosen: dict[str, Layer], top: int, *, per_channel: bool
) -> Iterator[dict[str, FakeQuantized]]:
    """Let the chosen layers compute with rounding; their own forward comes back afterwards."""
    fakes = {name: FakeQuantized(layer, top, per_channel=per_channel) for name, layer in chosen.items()}
    # In eval mode, torch's encoder layers read the weights of their linear layers without calling them.
    fast: bool = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        for fake in fakes.values():
            fake.layer.forward = fake.forward  # type: ignore[method-assign, assignment]  # taken away again below
        yield fakes
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for fake in fakes.values():
            fake.layer.__dict__.pop("forward", None)
        module.eval()


def _observe(module: nn.Module, fakes: dict[str, FakeQuantized], split: Split) -> None:
    """Take the range of every layer's input from calibration data, in float32."""
    for fake in fakes.values():
        fake.on, fake.observes = False, True
    evaluate(module, split)
    for fake in fakes.values():
        fake.on, fake.observes = True, False
    unused = [name for name, fake in fakes.items() if fake.range is None]
    if unused:
        raise InputError(
            f"layer {unused[0]} is not called as a module, so its rounding cannot be trained",
            where="quantize",
            fix="name it under 'keep'",
        )


def _keep_sensitive(module: nn.Module, fakes: dict[str, FakeQuantized], config: Quantize, split: Split) -> list[Facts]:
    """Drop the most sensitive layers from `fakes`, as the config asks; give the ranking."""
    if config.keep_sensitive is None:
        return []

    def outputs_with(names: Sequence[str]) -> list[np.ndarray]:
        for name, fake in fakes.items():
            fake.on = name in names
        return list(evaluate(module, split))

    ranking = rank(list(fakes), lambda name: outputs_with([name]), outputs_with([]))
    for fake in fakes.values():
        fake.on = True
    for name in too_sensitive(ranking, config.keep_sensitive):
        fakes.pop(name).layer.__dict__.pop("forward", None)
    if not fakes:
        raise InputError("every layer is too sensitive: none is left to quantize", where="quantize.keep_sensitive")
    return as_facts(ranking)
