"""The export of one module with the weights of another of the same shapes: exporting again takes seconds.

What comes out is believed only where it answers as the other module does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from onnx import ModelProto, numpy_helper
from torch import nn

from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.graph.spilled import spill
from weighbridge.compress.steps import Graph
from weighbridge.compress.training.module_quality import predict
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

TOLERANCE = 1e-3
"""Largest difference of outputs, relative to the largest, at which weights in another module's export are believed."""
CHECKED = 8
"""Examples on which that is looked at."""


def reweighted(template: Graph, module: nn.Module) -> ModelProto | None:
    """The graph with another module's weights, by the names of parameters; None where one does not fit."""
    parameters: Mapping[str, torch.Tensor] = dict(module.named_parameters())
    origins = template.notes.get("parameters", {})
    model = ModelProto()
    model.CopyFrom(template.proto)
    for tensor in model.graph.initializer:
        name = origins.get(tensor.name)
        if name is None:
            continue
        value = parameters[name].detach().numpy() if name in parameters else None
        shape = tuple(tensor.dims)
        if value is not None and value.ndim == 2 and _turned(value.shape, shape, renamed=tensor.name != name):
            value = value.T
        if value is None or value.shape != shape:
            return None
        kept = str(tensor.name)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), kept))
    return model


def _turned(own: tuple[int, ...], stored: tuple[int, ...], *, renamed: bool) -> bool:
    """Whether a matrix is stored with its axes exchanged: a square one does not show it, but the exporter gives what
    it has computed a name of its own.
    """
    return own[::-1] == stored and (own != stored or renamed)


def answers_alike(proto: ModelProto, module: nn.Module, examples: Split) -> bool:
    """Whether the graph answers as the module does, on a few examples."""
    few = examples.take(slice(0, CHECKED))
    try:
        ours = ONNXRUNTIME.run(ONNXRUNTIME.write(proto), few.inputs)
    except (InputError, InvariantError):
        return False
    theirs = predict(module, few)
    scale = max(float(np.abs(output).max(initial=0.0)) for output in theirs) or 1.0
    return all(
        one.shape == other.shape and float(np.abs(one - other).max(initial=0.0)) <= TOLERANCE * scale
        for one, other in zip(ours, theirs, strict=True)
    )


def exported_again(template: Graph, module: nn.Module, examples: Split) -> Graph | None:
    """The export of a module that differs in weights alone from the one of `template`; None where it does not."""
    proto = reweighted(template, module)
    if proto is None or not answers_alike(proto, module, examples):
        return None
    return Graph(spill(proto), dict(template.notes))
