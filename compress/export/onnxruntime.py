"""The target `onnxruntime`: an ONNX file by `torch.onnx.export`, and running it as the gate will."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from weighbridge.compress.export.exported_names import name_nodes, parameter_origins
from weighbridge.compress.export.target import Target
from weighbridge.compress.graph.feeds import by_example, declared, feed, fixed_batch
from weighbridge.compress.graph.forward import carried_axes, output_names, placed, takes_keywords, tensors_of
from weighbridge.compress.graph.large_file import LargeFile, written
from weighbridge.compress.graph.names import concise
from weighbridge.compress.graph.sessions import ORT_ERRORS, register
from weighbridge.compress.graph.spilled import is_large, message, spill
from weighbridge.compress.graph.stored_once import stored_once
from weighbridge.compress.steps import Graph
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.formats.onnx_file import Port, parse_model
from weighbridge.core.formats.onnx_strip import strip_metadata
from weighbridge.core.ragged import buckets, is_ragged, joined, stacked
from weighbridge.data import Split

OPSET = 21
"""First opset with 4-bit integer tensors; onnxruntime reads it since 1.20."""

BATCH = "n"
"""Name of the free batch dimension."""

SEVERAL = 3
"""Entries along an open axis of the sample that a module is traced on: other than the two examples."""


def export(module: nn.Module, split: Split) -> Graph:
    """Export a module with a free batch dimension; inputs are named as the split's arrays.

    Outputs are `output`, or `output0`, `output1`, … Initializers keep their parameter's name where one stands
    for it, nodes are named after the layer that they come from, and `notes["parameters"]` maps initializers to
    parameters. Raises `InputError` that names operator and layer where something has no ONNX form.
    """
    sample = batch(split, slice(0, 2))[0]
    if next(iter(sample.values())).shape[0] == 1:
        sample = {name: torch.cat([tensor, tensor]) for name, tensor in sample.items()}
    sample = _opened(placed(sample))
    was_training = module.training
    module.eval()
    try:
        proto = _export(module, sample)
    finally:
        module.train(was_training)
    name_nodes(proto)
    proto = strip_metadata(proto)
    origins = parameter_origins(proto, module)
    return Graph(spill(proto), {"parameters": origins})


def write(proto: ModelProto) -> bytes | LargeFile:
    """The bytes that ship: no metadata, no default attributes, short names, no matrix twice; of a large model, files of
    them.
    """
    bare = concise(stored_once(proto))
    if is_large(bare):
        return written(bare, "model.onnx")
    return message(bare)


def run(data: bytes | LargeFile, inputs: Mapping[str, NDArray[Any]], batch_size: int = 64) -> tuple[NDArray[Any], ...]:
    """Run a file by onnxruntime on one thread, as it ships; outputs in the file's order, each (n, …).

    Raises `InvariantError` where the runtime does not take the file or fails on the inputs.
    """
    kinds_of = buckets(inputs)
    if len(kinds_of) > 1:
        found = [(chosen, run(data, stacked(inputs, chosen), batch_size)) for chosen in kinds_of]
        columns = [joined([(chosen, part[place]) for chosen, part in found]) for place in range(len(found[0][1]))]
        return tuple(column.padded() if is_ragged(column) else column for column in columns)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    register(options)
    try:
        source = data if isinstance(data, bytes) else str(data.mapped)
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        given, names = session.get_inputs(), [port.name for port in session.get_outputs()]
        ports = [Port(port.name, _DTYPES.get(port.type, "float32"), tuple(port.shape)) for port in given]
        kinds = {port.name: port.type for port in given}
        count = len(next(iter(inputs.values())))
        fixed = fixed_batch(ports)
        # One number for a whole batch is an answer to one example alone.
        scalar = any(port.shape == [] for port in session.get_outputs())
        width = fixed or (1 if scalar else batch_size)
        parts = []
        for start in range(0, count - count % width if fixed else count, width):
            cut = feed(ports, inputs, start, min(width, count - start))
            found = session.run(None, {name: _as(array, kinds[name]) for name, array in cut.items()})
            parts.append(by_example(names, found, cut))
    except (*ORT_ERRORS, ValueError) as error:
        raise InvariantError(f"onnxruntime does not run the artifact: {_first_line(error)}") from error
    whole = [np.concatenate([np.atleast_1d(part) for part in column]) for column in zip(*parts, strict=True)]
    return tuple(column.astype(np.str_) if column.dtype.kind == "O" else column for column in whole)


ONNXRUNTIME = Target("onnxruntime", export, write, run)


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}


def _as(array: NDArray[Any], kind: str) -> NDArray[Any]:
    """The array in the type that the file's input has."""
    names = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    return np.ascontiguousarray(array.astype(names.get(kind, array.dtype), copy=False))


def _export(module: nn.Module, sample: dict[str, Tensor]) -> ModelProto:
    names = list(sample)
    by_name = takes_keywords(module, tuple(names))
    with torch.no_grad():
        found = module(**sample) if by_name else module(*sample.values())
    count = len(tensors_of(found, module))
    arguments: dict[str, Any] = {"args": (), "kwargs": sample} if by_name else {"args": tuple(sample.values())}
    free = {name: _free(name) for name in names}
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                **arguments,
                dynamo=True,
                external_data=False,
                input_names=names,
                output_names=output_names(count),
                dynamic_shapes=free if by_name else tuple(free.values()),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise _refusal(error, module, arguments) from error
    if program is None:
        raise InputError("the exporter gave no program", where="model.factory")
    proto: ModelProto = program.model_proto
    # A model whose batch dimension got lost would answer one example alone.
    axes = {name: section.axis for name, section in declared().items()} | carried_axes()
    for port in (*proto.graph.input, *proto.graph.output):
        if port.name in declared() and declared()[port.name].constant:
            continue
        dims, axis = port.type.tensor_type.shape.dim, axes.get(port.name, 0)
        if len(dims) <= axis or dims[axis].WhichOneof("value") == "dim_value":
            which = "the first dimension" if axis == 0 else f"axis {axis}"
            raise InputError(
                f"{which} of {port.name!r} is fixed in the exported graph",
                where="model.factory",
                fix="keep the batch first, and its size out of shapes that forward computes",
            )
        dims[axis].dim_param = BATCH
    return parse_model(proto.SerializeToString(), "exported model")


def _free(name: str) -> dict[int, str]:
    """The axes of an input that the file leaves open, and what they are called there."""
    section = declared().get(name)
    if section is None:
        return {0: BATCH}
    batch = {} if section.constant else {section.axis: BATCH}
    return batch | {axis: f"{name}_{axis}" for axis in section.free_axes}


def _opened(sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sample with several entries along each open axis: of none or one, a trace would take the number for fixed."""
    found = dict(sample)
    for name in declared().keys() & sample.keys():
        for axis in declared()[name].free_axes:
            if axis >= found[name].ndim:
                raise InputError(f"has no axis {axis}", where=f"params.yaml: inputs.{name}.free_axes")
            if found[name].shape[axis] < SEVERAL:
                shape = list(found[name].shape)
                shape[axis] = SEVERAL
                found[name] = found[name].new_zeros(shape)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs, warns and prints whole graphs; what matters of it comes back as its exception."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def _refusal(error: BaseException, module: nn.Module, arguments: dict[str, Any]) -> InputError:
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    text = "\n".join(map(str, chain))
    node = re.search(r"translating node %(\w+).*?target=torch\.ops\.([\w.]+?)\]", text, re.DOTALL)
    if node:
        layer = _layer_of(node[1], module, arguments)
        return InputError(
            f"the model cannot be exported: the operator {node[2]} in layer {layer} has no ONNX form",
            where="model.factory",
            fix="write that layer with operators that ONNX has",
        )
    reason = _first_line(chain[-1])
    line = re.search(r'File "[^"]*?([^"/]+)", line (\d+), in forward\n[ \t]+(\S.*)', text)
    code = f" at {line[1]}:{line[2]} `{line[3].strip()}`" if line else ""
    return InputError(
        f"the model cannot be traced for export{code}: {reason}",
        where="model.factory",
        fix="keep Python control flow off the values of tensors",
    )


def _layer_of(node_name: str, module: nn.Module, arguments: dict[str, Any]) -> str:
    """The path of the layer that a node of the traced program belongs to."""
    try:
        with _quiet():
            traced = torch.export.export(module, arguments["args"], arguments.get("kwargs")).run_decompositions()
    except RuntimeError:
        return "(unknown)"
    for node in traced.graph.nodes:
        if node.name == node_name and node.meta.get("nn_module_stack"):
            path, kind = list(node.meta["nn_module_stack"].values())[-1]
            name = kind if isinstance(kind, str) else kind.__name__
            return f"{path!r} ({name.rsplit('.', 1)[-1]})" if path else f"the model itself ({type(module).__name__})"
    return "(unknown)"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
