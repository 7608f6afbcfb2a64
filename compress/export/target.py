"""What a target is: how a module becomes its file, how its file is run and read, and what techniques do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from torch import nn

from weighbridge.compress.export.program import Program
from weighbridge.compress.graph.constants import effective_weights
from weighbridge.compress.invariants import integer_nodes
from weighbridge.compress.steps import Context, Facts, Graph, ModuleFunction
from weighbridge.core.facts.targets import TARGETS
from weighbridge.core.formats.onnx_file import signature
from weighbridge.data import Split

Array = NDArray[Any]

Lowering = Callable[[Any, Any, Context], tuple[Any, Facts]]
"""(config, form, context) → the form after a step that lowers, and what the step proved of itself."""


@dataclass(frozen=True)
class Reading:
    """What stands in one file, found out without the program that made it."""

    weights: Mapping[str, Array]
    """Constants of two or more axes that it computes with, decoded; of integers less their zero point."""
    integers: int
    """Operators that compute on integers or read integer weights."""
    kernels: Facts = field(default_factory=dict)
    """What runs it, where the target leaves a choice: delegates, and operators beside them."""


@dataclass(frozen=True)
class Target:
    """One runtime that artifacts are built for.

    Between lowering steps a model is a *form* (`Graph` or `Program`), whose `model` is what `write` takes.
    """

    name: str
    """Its row in `core.facts.targets`."""
    export: Callable[[nn.Module, Split], Any]
    """Module and a split to trace on → the form that lowering steps work on."""
    write: Callable[[Any], Any]
    """A form's `model` → the bytes that ship, without metadata; a `LargeFile` of a large ONNX graph."""
    run: Callable[[Any, Mapping[str, Array]], tuple[Array, ...]]
    """Those bytes on inputs, by the runtime itself → all outputs."""
    read: Callable[[Any], Reading] | None = None
    """A form's `model`, or the bytes that ship. None for a form that is an ONNX graph."""
    lowerings: Mapping[str, Lowering] | None = None
    """Technique → its lowering for this target; None where techniques' own, which rewrite ONNX graphs, are meant."""
    trainings: Mapping[str, ModuleFunction] = field(default_factory=dict)
    """Technique → the module half of a step whose other half lowers, where it depends on the target."""

    @property
    def file(self) -> str:
        """The artifact's file name."""
        return TARGETS[self.name].file


def ports(form: Graph | Program) -> dict[str, list[str]]:
    """Names of inputs and outputs in the file's order, as a manifest has them."""
    if isinstance(form, Program):
        return {"inputs": list(form.inputs), "outputs": list(form.outputs)}
    found = signature(form.proto)
    return {"inputs": [port.name for port in found.inputs], "outputs": [port.name for port in found.outputs]}


def read_form(target: Target, model: Any) -> Reading:
    """What stands in a form's `model`: an ONNX graph, or whatever the target itself can read."""
    if target.read is not None:
        return target.read(model)
    return Reading(effective_weights(model), integer_nodes(model))
