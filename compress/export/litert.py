"""The target `litert` (TensorFlow Lite): a file by litert-torch, quantized by ai-edge-quantizer, run by ai-edge-litert.

A file takes one example, as LiteRT's shapes are fixed. Everything of LiteRT is imported when it is first needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from torch import nn

from weighbridge.compress.capabilities import require
from weighbridge.compress.export import onnxruntime, pt2e, tflite
from weighbridge.compress.export.capture import CONVERTER_ERRORS, Positional, eval_mode, example_of, silenced
from weighbridge.compress.export.litert_model import (
    COMPARED,
    NAME,
    SIGNATURE,
    WHERE,
    Array,
    converted,
    folded,
    parameters,
    run,
)
from weighbridge.compress.export.program import Program
from weighbridge.compress.export.target import Reading, Target
from weighbridge.compress.graph.lowering import agreement
from weighbridge.compress.steps import Context, Facts
from weighbridge.compress.techniques.quantize.config import Quantize
from weighbridge.compress.techniques.quantize.integer import check_calibration
from weighbridge.compress.techniques.quantize.ranges import widened
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

FORMS = {
    "fp16": ("float16", "float32", True),
    "weight-fp16": ("float16", "float32", True),
    "dynamic-int8": ("int8", "float32", False),
    "static-int8": ("int8", "int8", False),
    "qat-int8": ("int8", "int8", False),
    "weight-int8": ("int8", "float32", True),
    "weight-int4": ("int4", "float32", True),
}
"""Of each scheme: the type of stored weights, that of the values beside them, and whether weights are decoded first."""
FLOAT = ("float32", "float32", False)


def export(module: nn.Module, split: Split) -> Program:
    """Convert a module for one example; inputs are named as the split's arrays, outputs as in the ONNX export.

    Normalisations are folded into the layers before them where they can be, so that weights keep their layer's name.
    Raises `InputError` that names the extra where LiteRT is not installed, or operator and layer where one has no form.
    """
    require(NAME, "target")
    with eval_mode(module):
        example = example_of(module, split)
        data = converted(Positional(folded(module, split), example.inputs).eval(), example, module)
    network = onnxruntime.export(module, split).proto
    return Program(module, data, split, network, example.inputs, example.outputs)


def write(data: bytes) -> bytes:
    """The bytes that ship: no names of values, no descriptions, no debug data."""
    return tflite.stripped(data)


def read(data: bytes) -> Reading:
    """Weights and integer operators, and how many parts of the graph XNNPACK takes."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    with silenced():
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
        operators = [item["op_name"] for item in interpreter._get_ops_details()]  # noqa: SLF001  # no public list of operators
    found = tflite.read(data)
    delegates = operators.count("DELEGATE")
    return replace(found, kernels={"delegates": delegates, "operators": len(operators) - delegates})


def quantize(config: Quantize, program: Program, context: Context) -> tuple[Program, Facts]:
    """Quantize the float file, or convert the graph that quantization-aware training left.

    Raises `InputError` where a pattern matches no layer, nothing is left, or LiteRT has no form of a layer in the
    scheme (named); `InvariantError` where a layer is not what it was to be.
    """
    split = context.data.calibration
    if split is None:
        raise InputError("there is no calibration split", where="data.calibration")
    check_calibration(split)
    known = tflite.layers(program.data, parameters(program))
    if not known:
        raise InputError("the model has no convolution or matrix product with a stored weight", where=WHERE)
    if config.scheme == "qat-int8":
        data, kept = _trained(program)
    else:
        kept = _kept([layer.name for layer in known], config)
        data = _quantized(config, program.data, [layer.output for layer in known if layer.name in kept], split)
    types = _check_done(config, known, tflite.layers(data), kept)
    few = split.take(slice(0, COMPARED)).inputs
    facts: Facts = {
        "scheme": config.scheme,
        "layers": sorted({layer.name for layer in known} - set(kept)),
        "kept": sorted(kept),
        **types,
        **agreement(run(data, few), run(program.data, few)),
    }
    return replace(program, data=data), facts


def _kept(names: Sequence[str], config: Quantize) -> list[str]:
    for pattern in config.keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(
                f"{pattern!r} matches no layer", where=f"{WHERE}.keep", fix=f"layers: {', '.join(dict.fromkeys(names))}"
            )
    kept = [name for name in dict.fromkeys(names) if any(fnmatchcase(name, pattern) for pattern in config.keep)]
    if set(kept) == set(names):
        raise InputError("no layer is left to quantize", where=f"{WHERE}.keep")
    return kept


def _quantized(config: Quantize, data: bytes, floats: Sequence[str], split: Split) -> bytes:
    """`floats` names the outputs of operators that stay in float."""
    try:
        with silenced():
            from ai_edge_quantizer import quantizer  # noqa: PLC0415

            recipe = _recipe(config, floats)
            job = quantizer.Quantizer(bytearray(data), recipe.get_quantization_recipe())
            ranges = _ranges(data, recipe, split) if job.need_calibration else None
            return bytes(job.quantize(ranges, enable_progress_report=False).quantized_model or b"")
    except CONVERTER_ERRORS as error:
        raise InputError(
            f"ai-edge-quantizer refuses the model: {type(error).__name__}: {error}",
            where=WHERE,
            fix="name the layer under 'keep', or choose a weight-only scheme",
        ) from error


def _ranges(data: bytes, recipe: Any, split: Split) -> Any:
    """The extremes of every value over the calibration split.

    The quantizer's own rule is a moving average over single examples, whose ranges clip what few examples reach.
    """
    from ai_edge_quantizer import calibrator  # noqa: PLC0415

    job = calibrator.Calibrator(bytearray(data), num_threads=1, qsv_update_func=_extremes)
    job.calibrate({SIGNATURE: [_example(split, index) for index in range(len(split))]}, recipe)
    stored = tflite.constants(data)
    return {name: found if name in stored else _widened(found) for name, found in job.get_model_qsvs().items()}


def _widened(found: Mapping[str, Array]) -> Mapping[str, Array]:
    if "min" not in found or "max" not in found:
        return found
    low, high = widened(found["min"], found["max"])
    return {**found, "min": low, "max": high}


def _extremes(before: Mapping[str, Array], now: Mapping[str, Array]) -> dict[str, Array]:
    kept = {"min": np.minimum(before["min"], now["min"]), "max": np.maximum(before["max"], now["max"])}
    return {**before, **kept}


def _example(split: Split, index: int) -> dict[str, Array]:
    few = {name: array[index : index + 1] for name, array in split.inputs.items()}
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in few.items()}


def _recipe(config: Quantize, floats: Sequence[str]) -> Any:
    """Inputs and outputs stay in float, as in every other target's files."""
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager  # noqa: PLC0415

    every, algorithms = qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_manager.AlgorithmName
    recipe = recipe_manager.RecipeManager()
    match config.scheme:
        case "static-int8":
            recipe.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
            for port in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
                recipe.add_quantization_config(".*", port, None, algorithms.NO_QUANTIZE)
        case "dynamic-int8":
            recipe.add_dynamic_config(".*", every, num_bits=8)
        case "weight-int8" | "weight-int4":
            recipe.add_weight_only_config(".*", every, num_bits=8 if config.scheme == "weight-int8" else 4)
        case _:
            halves = qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            )
            recipe.add_quantization_config(".*", every, halves, algorithms.FLOAT_CASTING)
    for name in floats:
        recipe.add_quantization_config(f"(^|;){re.escape(name)}(;|$)", every, None, algorithms.NO_QUANTIZE)
    return recipe


def _trained(program: Program) -> tuple[bytes, list[str]]:
    """The file of the trained graph. Without `quant_config`, the converter would leave it in float, in silence."""
    note = program.notes.get("pt2e")
    if note is None:
        raise InvariantError("the model does not come from quantization-aware training", where=WHERE)
    example = example_of(program.module, program.example)
    graph = pt2e.converted(note["graph"], fold=False)
    with silenced():
        from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config  # noqa: PLC0415
        from litert_torch.quantize.quant_config import QuantConfig  # noqa: PLC0415

        symmetric = get_symmetric_quantization_config(is_per_channel=True, is_qat=True)
        config = QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(symmetric))
    return converted(graph, example, program.module, config), list(note["kept"])


def _check_done(
    config: Quantize, before: Sequence[tflite.TfliteLayer], after: Sequence[tflite.TfliteLayer], kept: Sequence[str]
) -> Facts:
    """Every layer's weight is stored as the scheme says, or in float where it was kept. Gives tensors by type."""
    wanted = FORMS[config.scheme]
    if len(before) != len(after):
        raise InvariantError(f"{len(before)} layers went in, {len(after)} came out", where=WHERE)
    for was, now in zip(before, after, strict=True):
        found = (now.kind, now.computes, now.decoded)
        if found == (FLOAT if was.name in kept else wanted):
            continue
        if was.name in kept:
            raise InvariantError(f"layer {was.name} was to be kept and is {now.kind}", where=WHERE)
        raise InputError(
            f"{config.scheme} has no form of layer {was.name} ({was.operator}) on LiteRT: "
            f"its weight is {now.kind}, and it computes in {now.computes}",
            where=WHERE,
            fix="name it under 'keep', or choose another scheme",
        )
    return {f"{wanted[0]}_tensors": sum(layer.kind == wanted[0] for layer in after)}


LITERT = Target(
    name=NAME,
    export=export,
    write=write,
    run=run,
    read=read,
    lowerings={"quantize": quantize},
    trainings={"quantize": pt2e.train},
)
