"""Convert a module to a TFLite file, run it, and read its signature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from weighbridge.compress.capabilities import installed, versions
from weighbridge.compress.export import tflite
from weighbridge.compress.export.capture import CONVERTER_ERRORS, Example, refused, silenced
from weighbridge.compress.export.program import Program
from weighbridge.compress.graph.fold import fold_batchnorm
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import InputError, InvariantError, StateError
from weighbridge.data import Split

Array = NDArray[Any]
NAME = "litert"
SIGNATURE = "serving_default"
WHERE = "quantize"
COMPARED = 64
"""Calibration examples on which a quantized file is compared with the float file."""


def folded(module: nn.Module, split: Split) -> nn.Module:
    """The module with its normalisations folded into its weights, where that can be done."""
    try:
        return fold_batchnorm(module, batch(split, slice(0, 8))[0])
    except InputError:  # the converter folds what it can
        return module


def converted(positional: nn.Module, example: Example, module: nn.Module, quant_config: Any = None) -> bytes:
    """A file of what is called by position, with the example's names and types in its signature."""
    try:
        with silenced(), torch.no_grad():
            import litert_torch  # noqa: PLC0415  # an extra, and slow to import

            edge = litert_torch.convert(positional, example.values, quant_config=quant_config)
            data = bytes(edge.model_content())
    except CONVERTER_ERRORS as error:
        raise refused(error, NAME, module, example) from error
    return tflite.with_interface(data, example.inputs, example.outputs, example.dtypes)


def run(data: bytes, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Run a file by LiteRT on one thread, one example at a time; outputs in the file's order, each (n, …).

    Raises `InvariantError` where the runtime does not take the file (an older runtime than the file asks for is named
    with both versions) or fails on the inputs.
    """
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    check_runtime(data)
    try:
        with silenced():
            interpreter = Interpreter(model_content=data, num_threads=1)
            interpreter.allocate_tensors()
            ports = interpreter._get_full_signature_list()[SIGNATURE]  # noqa: SLF001  # the public list leaves tensors out
            places = [item["index"] for item in interpreter.get_output_details()]
            rows = []
            for index in range(len(next(iter(inputs.values())))):
                for name, place in ports["inputs"].items():
                    interpreter.set_tensor(place, _as(inputs[name][index : index + 1], interpreter, place))
                interpreter.invoke()
                rows.append([np.array(interpreter.get_tensor(place)) for place in places])
    except (RuntimeError, ValueError, KeyError) as error:
        raise InvariantError(f"LiteRT does not run the artifact ({_versions()}): {error}") from error
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def check_runtime(data: bytes) -> None:
    """Refuse a file that asks for a newer runtime than is installed; the error names both versions."""
    least, have = tflite.least_runtime(data), installed("ai-edge-litert")
    if least is not None and have is not None and _numbers(least) > _numbers(have):
        raise StateError(
            f"the artifact needs LiteRT {least} or newer; ai-edge-litert {have} is installed",
            fix="install converter and runtime together: pip install 'weighbridge[litert]'",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in versions(NAME).items() if version)


def _as(array: Array, interpreter: Any, place: int) -> Array:
    wanted = next(item["dtype"] for item in interpreter.get_input_details() if item["index"] == place)
    return np.ascontiguousarray(array.astype(wanted, copy=False))


def parameters(program: Program) -> dict[str, Array]:
    """The folded module's weights of two dimensions or more, by name."""
    module = folded(program.module, program.example)
    return {name: tensor.detach().numpy() for name, tensor in module.named_parameters() if tensor.ndim >= 2}
