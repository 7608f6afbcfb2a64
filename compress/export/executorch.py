"""The target `executorch`: a program whose operators XNNPACK takes, quantized in the captured graph (see `pt2e`).

A file takes one example: weighing asks for that, and XNNPACK's parts are fastest with fixed shapes. Everything of
ExecuTorch is imported when it is first needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from weighbridge.compress.capabilities import require, versions
from weighbridge.compress.export import onnxruntime, pt2e, pte
from weighbridge.compress.export.capture import (
    CONVERTER_ERRORS,
    Example,
    Positional,
    eval_mode,
    example_of,
    refused,
    silenced,
)
from weighbridge.compress.export.program import Program
from weighbridge.compress.export.target import Reading, Target
from weighbridge.compress.graph.lowering import agreement
from weighbridge.compress.steps import Context, Facts
from weighbridge.compress.techniques.quantize.config import Quantize
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

Array = NDArray[Any]
NAME = "executorch"
METHOD = "forward"
WHERE = "quantize"
ALIGNMENT = 16
"""Of each stored tensor, in bytes: what XNNPACK asks of its constants. The default of 128 pads small models."""
COMPARED = 64
"""Calibration examples on which a quantized file is compared with the float file."""


def export(module: nn.Module, split: Split) -> Program:
    """Lower a module for one example; outputs are named as in the ONNX export (the file itself holds no names).

    Raises `InputError` that names the extra where ExecuTorch is not installed, operator and layer where one has no
    form, and the operators where XNNPACK takes none of them.
    """
    require(NAME, "target")
    with eval_mode(module):
        example = example_of(module, split)
        data = _lowered(Positional(module, example.inputs).eval(), example, module)
    network = onnxruntime.export(module, split).proto
    return Program(module, data, split, network, example.inputs, example.outputs)


def _lowered(positional: nn.Module, example: Example, module: nn.Module) -> bytes:
    try:
        # Lowering draws random numbers; they are not the caller's.
        with silenced(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner  # noqa: PLC0415
            from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower  # noqa: PLC0415

            captured = torch.export.export(positional, example.values, strict=False)
            edge = to_edge_transform_and_lower(captured, partitioner=[XnnpackPartitioner()])
            data = bytes(edge.to_executorch(ExecutorchBackendConfig(segment_alignment=ALIGNMENT)).buffer)
    except _errors() as error:
        raise refused(error, NAME, module, example) from error
    check_delegated(data)
    return data


def _errors() -> tuple[type[Exception], ...]:
    from executorch.exir.error import ExportError, InternalError  # noqa: PLC0415
    from torch._export.verifier import SpecViolationError  # noqa: PLC0415  # raised by public functions, exported nowhere

    return (*CONVERTER_ERRORS, SpecViolationError, ExportError, InternalError)


def check_delegated(data: bytes) -> None:
    """A program that XNNPACK takes no part of would run on portable kernels, a hundred times slower."""
    found = pte.read(data).kernels
    if not found["delegates"]:
        operators = ", ".join(found["portable"]) or "none"
        raise InputError(
            f"XNNPACK takes no operator of the model; portable kernels are left with: {operators}",
            where="model.factory",
            fix="leave the target executorch out",
        )


def write(data: bytes) -> bytes:
    """The bytes that ship. ExecuTorch's files hold no names, paths or times: there is nothing to strip."""
    return data


def run(data: bytes, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Run a file by ExecuTorch, one example at a time; inputs by their order, outputs each (n, …).

    Raises `InvariantError` with the installed versions where the runtime does not take the file, lacks a kernel, or
    fails on the inputs.
    """
    try:
        with silenced(), torch.no_grad():
            from executorch.runtime import Runtime  # noqa: PLC0415

            method = Runtime.get().load_program(data).load_method(METHOD)
            assert method is not None  # every program has it; the runtime raises where it cannot be loaded
            rows = [
                [np.array(output) for output in method.execute(_tensors(inputs, index))]
                for index in range(len(next(iter(inputs.values()))))
            ]
    except (RuntimeError, ValueError, TypeError) as error:
        raise InvariantError(
            f"ExecuTorch does not run the artifact ({_versions()}): {error}",
            fix="build and run it with one version of executorch",
        ) from error
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def _tensors(inputs: Mapping[str, Array], index: int) -> list[torch.Tensor]:
    few = (array[index : index + 1] for array in inputs.values())
    return [torch.from_numpy(np.array(part, np.float32 if part.dtype.kind == "f" else None)) for part in few]


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in versions(NAME).items() if version)


def read(data: bytes) -> Reading:
    """Weights, integer operators, delegates and portable kernels."""
    return pte.read(data)


def quantize(config: Quantize, program: Program, context: Context) -> tuple[Program, Facts]:
    """Calibrate, or take the graph that quantization-aware training left; convert, lower, and see that it is integer.

    Raises `InputError` where a pattern matches no layer or nothing is left to quantize; `InvariantError` where a layer
    that was to be quantized is not.
    """
    note = program.notes.get("pt2e")
    if config.scheme == "qat-int8":
        if note is None:
            raise InvariantError("the model does not come from quantization-aware training", where=WHERE)
        graph, kept = note["graph"], list(note["kept"])
    else:
        graph, kept = pt2e.calibrated(program.module, config, context)
    example = example_of(program.module, program.example)
    data = _lowered(pt2e.converted(graph, fold=True), example, program.module)
    known = list(pt2e.layers_of(program.module))
    facts: Facts = {
        "scheme": config.scheme,
        "layers": sorted(set(known) - set(kept)),
        "kept": sorted(kept),
        **_check_done(data, len(known) - len(kept), program.data),
    }
    assert context.data.calibration is not None  # `pt2e` refused it
    few = context.data.calibration.take(slice(0, COMPARED)).inputs
    return replace(program, data=data), {**facts, **agreement(run(data, few), run(program.data, few))}


def _check_done(data: bytes, wanted: int, floats: bytes) -> Facts:
    """As many weights are 8-bit integers as layers were to be quantized; the rest is what it was."""
    before, after = pte.weights_by_kind(floats), pte.weights_by_kind(data)
    integers = after.get("int8", 0)
    if integers < min(wanted, sum(before.values())) or not integers:
        raise InvariantError(
            f"{wanted} layers were to be quantized; XNNPACK reads {integers} weights as 8-bit integers", where=WHERE
        )
    return {f"{kind}_tensors": count for kind, count in after.items()}


EXECUTORCH = Target(
    name=NAME,
    export=export,
    write=write,
    run=run,
    read=read,
    lowerings={"quantize": quantize},
    trainings={"quantize": pt2e.train},
)
