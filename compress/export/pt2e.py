"""Quantization in the captured graph (torchao's PT2E with the XNNPACK quantizer): what LiteRT and ExecuTorch compute.

The module is captured with a free batch, fake quantization or observers are put where XNNPACK quantizes (signed 8 bits;
weights symmetric, a scale a channel; activations asymmetric, a range a tensor), and the graph is trained or calibrated.
The converters take it from there. Batch normalisation is folded first, so that masks and codebooks hold on the weights
that ship.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from weighbridge.compress.capabilities import installed
from weighbridge.compress.export.capture import CONVERTER_ERRORS, PREFIX, Positional, eval_mode, silenced
from weighbridge.compress.graph.fold import fold_batchnorm
from weighbridge.compress.steps import Constraint, Context, Facts, Subject
from weighbridge.compress.techniques.quantize.config import Quantize
from weighbridge.compress.techniques.quantize.integer import check_calibration
from weighbridge.compress.techniques.quantize.qat import LAYERS
from weighbridge.compress.training.finetune import facts_of, finetune
from weighbridge.compress.training.objective import batch, deterministic
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.facts.targets import TARGETS
from weighbridge.data import Split

WHERE = "quantize"
TRACED = 8
"""Examples on which a graph is captured: one or none would be taken for a fixed size."""
OBSERVED = 64
"""Examples in one pass of calibration."""
RANGES = 1024
"""Examples from which trained graphs take their ranges."""


class Captured(nn.Module):
    """A captured graph, called by position; one that `trains` can be trained as any module can."""

    def __init__(self, graph: nn.Module, *, trains: bool = False) -> None:
        super().__init__()
        self.graph = graph
        self.trains = trains

    def __deepcopy__(self, memo: dict[int, Any]) -> Captured:
        with silenced():  # a deprecation within torch
            return Captured(copy.deepcopy(self.graph, memo), trains=self.trains)

    def forward(self, *values: Tensor) -> Any:
        """The outputs of the module that was captured."""
        return self.graph(*values)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  # torch's own signature
        """Switch dropout and normalisation within the graph, which `train` of a captured graph refuses to do."""
        self.training = mode
        if self.trains:
            from torchao.quantization import pt2e  # noqa: PLC0415  # an extra of two targets

            move = pt2e.move_exported_model_to_train if mode else pt2e.move_exported_model_to_eval
            move(self.graph)
        return self


@dataclass
class Within:
    """A constraint on a module, for the graph that was captured from it."""

    inner: Constraint

    @property
    def name(self) -> str:
        """The constraint's own."""
        return self.inner.name

    def before_step(self, module: nn.Module) -> None:
        """As the constraint says."""
        self.inner.before_step(_inside(module))

    def project(self, module: nn.Module) -> None:
        """As the constraint says."""
        self.inner.project(_inside(module))

    def violation(self, module: nn.Module) -> str | None:
        """As the constraint says."""
        return self.inner.violation(_inside(module))


def _inside(module: nn.Module) -> nn.Module:
    return module.get_submodule(f"graph.{PREFIX.rstrip('.')}")


def require_quantizer(where: str = WHERE) -> None:
    """Refuse where torchao or the XNNPACK quantizer (a part of executorch) is not installed (`StateError`)."""
    missing = [name for name in ("torchao", "executorch") if installed(name) is None]
    if missing:
        raise StateError(
            f"quantization-aware training for this target needs {', '.join(missing)}, which is not installed",
            where=where,
            fix=f"pip install 'weighbridge[{TARGETS['executorch'].extra}]'",
        )


def train(config: Quantize, subject: Subject, context: Context) -> tuple[Subject, Facts]:
    """Fine-tune with XNNPACK's rounding in place.

    The subject keeps a module with the trained weights, in float; the graph with its ranges goes in `notes["pt2e"]`.
    Raises `InputError` where nothing is left to quantize, a pattern under `keep` matches no layer or the module cannot
    be captured, `InvariantError` where training diverges.
    """
    require_quantizer()
    split = _calibration(context)
    module = fold_batchnorm(subject.module, batch(split, slice(0, TRACED))[0])
    kept = kept_layers(module, config)
    graph = Captured(prepared(module, split, kept, trains=True), trains=True)
    _observe(graph, split)
    history = finetune(
        graph,
        config.finetune,
        context,
        constraints=[Within(constraint) for constraint in subject.constraints],
        stage="quantization-aware training",
    )
    _observe(graph, split)
    with torch.no_grad():
        trained = _inside(graph).state_dict()
        module.load_state_dict({name: trained.get(name, value) for name, value in module.state_dict().items()})
    module.eval()
    facts: Facts = {
        "layers": sorted(set(layers_of(module)) - set(kept)),
        "kept": sorted(kept),
        "bits": 8,
        **facts_of(history),
    }
    return Subject(
        module, subject.constraints, {**subject.notes, "pt2e": {"graph": graph, "kept": sorted(kept)}}
    ), facts


def calibrated(module: nn.Module, config: Quantize, context: Context) -> tuple[nn.Module, list[str]]:
    """A captured graph with ranges observed on the calibration split, and the layers that stay in float."""
    require_quantizer()
    split = _calibration(context)
    folded = fold_batchnorm(module, batch(split, slice(0, TRACED))[0])
    kept = kept_layers(folded, config)
    graph = prepared(folded, split, kept, trains=False)
    with torch.no_grad(), deterministic(0):
        for start in range(0, len(split), OBSERVED):
            graph(*batch(split, slice(start, start + OBSERVED))[0].values())
    return graph, sorted(kept)


def converted(graph: nn.Module, *, fold: bool) -> nn.Module:
    """The graph with its fake quantization or observers turned into quantize and dequantize operators.

    `fold`: weights as integers; else each weight stays in float with both operators after it.
    """
    inner = graph.graph if isinstance(graph, Captured) else graph
    with silenced():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e  # noqa: PLC0415  # an extra of two targets

        found: nn.Module = convert_pt2e(copy.deepcopy(inner), fold_quantize=fold)
    return found


def prepared(module: nn.Module, split: Split, kept: Sequence[str], *, trains: bool) -> nn.Module:
    """The captured graph with fake quantization (`trains`) or observers where XNNPACK quantizes; none in `kept`."""
    with silenced():
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack  # noqa: PLC0415
        from torchao.quantization.pt2e import quantize_pt2e  # noqa: PLC0415

        quantizer = xnnpack.XNNPACKQuantizer().set_global(
            xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_qat=trains)
        )
        quantizer.set_filter_function(partial(_outside, {f"{PREFIX}{name}" for name in kept}))
        prepare = quantize_pt2e.prepare_qat_pt2e if trains else quantize_pt2e.prepare_pt2e
        graph: nn.Module = prepare(captured(module, split), quantizer)
    return graph


def _outside(kept: set[str], node: torch.fx.Node) -> bool:
    """Whether a node of a captured graph belongs to none of the kept layers."""
    return not any(path in kept for path, _ in node.meta.get("nn_module_stack", {}).values())


def captured(module: nn.Module, split: Split) -> Any:
    """The module as a graph with a free batch, by position; an `InputError` where it cannot be captured."""
    sample = batch(split, slice(0, TRACED))[0]
    if len(next(iter(sample.values()))) < 2:
        sample = {name: torch.cat([tensor, tensor]) for name, tensor in sample.items()}
    free = tuple({0: torch.export.Dim.DYNAMIC} for _ in sample)
    try:
        with eval_mode(module), silenced():
            program = torch.export.export(
                Positional(module, tuple(sample)), tuple(sample.values()), dynamic_shapes=(free,), strict=False
            )
            return program.module()
    except CONVERTER_ERRORS as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"the model cannot be captured with a free batch: {reason}",
            where="model.factory",
            fix="keep the batch first, and its size out of shapes that forward computes",
        ) from error


def layers_of(module: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, LAYERS)}


def kept_layers(module: nn.Module, config: Quantize) -> list[str]:
    """The layers that `keep` names; an `InputError` for a pattern that matches none, and where nothing is left."""
    known = layers_of(module)
    for pattern in config.keep:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise InputError(
                f"{pattern!r} matches no layer", where=f"{WHERE}.keep", fix=f"layers: {', '.join(known) or 'none'}"
            )
    kept = [name for name in known if any(fnmatchcase(name, pattern) for pattern in config.keep)]
    if len(kept) == len(known):
        raise InputError("no convolution or linear layer is left to quantize", where=WHERE)
    return kept


def _calibration(context: Context) -> Split:
    if context.data.calibration is None:
        raise InputError("there is no calibration split", where="data.calibration")
    check_calibration(context.data.calibration)
    return context.data.calibration


def _observe(graph: nn.Module, split: Split) -> None:
    """Take every range anew, of weights and of values on calibration data, and hold it: moving averages lag behind.

    In one pass, because the second one would count for a hundredth.
    """
    from torchao.quantization.pt2e import fake_quantize  # noqa: PLC0415

    graph.eval()
    for module in graph.modules():
        if isinstance(module, fake_quantize.FakeQuantizeBase):
            module.activation_post_process.reset_min_max_vals()
    graph.apply(fake_quantize.enable_observer)
    with torch.no_grad(), deterministic(0):
        graph(*batch(split, slice(0, RANGES))[0].values())
    graph.apply(fake_quantize.disable_observer)
