"""LiteRT's file format: what stands in a file, and the form in which it ships.

Uses the object form of the schema that comes with the runtime (`ai_edge_litert.tools.flatbuffer_utils`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.compress.export.target import Reading
from weighbridge.compress.graph.names import short_names
from weighbridge.core.errors import InvariantError

Array = NDArray[Any]

# tensorflow/compiler/mlir/lite/schema/schema.fbs: TensorType and BuiltinOperator.
FLOAT32, FLOAT16, INT8, UINT8, INT4 = 0, 1, 9, 3, 17
NUMPY = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
}
CODES = {name: code for code, name in NUMPY.items()}
INTEGERS = {INT8: "int8", UINT8: "uint8", INT4: "int4"}
CAST, DEQUANTIZE, QUANTIZE, TRANSPOSE_CONV = 53, 6, 114, 67
WEIGHT = 1
"""Which input of an operator with weights holds them."""
OPERATORS = {
    3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 9: "FULLY_CONNECTED", 67: "TRANSPOSE_CONV", 126: "BATCH_MATMUL",
    132: "CONV_3D", 133: "CONV_3D_TRANSPOSE",
}  # fmt: skip


@dataclass(frozen=True)
class TfliteLayer:
    """An operator with a weight that is stored in the file."""

    name: str
    """Of the module's layer, where its values could be found among the parameters; else of the operator's output."""
    operator: str
    output: str
    """The name of the operator's output."""
    kind: str
    """The weight's stored type, e.g. `float32` or `int8`."""
    computes: str
    """The type in which the operator gets its other input and, if the weight is decoded first, its weight."""
    decoded: bool
    """Whether another operator turns the weight into floats before this one reads it."""
    values: Array
    """As stored, less the zero point."""


def parse(data: bytes) -> Any:
    """The file as an object (`ModelT`); bytes that are none are an `InvariantError`."""
    from ai_edge_litert.tools import flatbuffer_utils  # noqa: PLC0415  # an extra: only this target imports it

    try:
        return flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    except (struct.error, ValueError, TypeError, IndexError) as error:
        raise InvariantError(f"is not a readable LiteRT file: {error}") from error


def serialize(model: Any) -> bytes:
    """An object as a file."""
    from ai_edge_litert.tools import flatbuffer_utils  # noqa: PLC0415

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def with_interface(
    data: bytes, inputs: tuple[str, ...], outputs: tuple[str, ...], dtypes: tuple[tuple[str, ...], tuple[str, ...]]
) -> bytes:
    """The file with these names in its signature, and inputs and outputs of these types.

    Converters name inputs by position, take 8-bit inputs where the first operator does, and 32-bit ones for 64-bit:
    a caller of any target feeds the same arrays.
    """
    model = parse(data)
    signature = model.signatureDefs[0]
    graph = model.subgraphs[signature.subgraphIndex]
    for names, kinds, side, entering in (
        (inputs, dtypes[0], signature.inputs, True),
        (outputs, dtypes[1], signature.outputs, False),
    ):
        # The converter numbers them; the numbers' order is the order in which they were given.
        ordered = sorted(side, key=lambda item: _number(item.name))
        for name, kind, port in zip(names, kinds, ordered, strict=True):
            port.name = name.encode()
            port.tensorIndex = _converted(model, graph, port.tensorIndex, CODES[kind], entering=entering)
        indices = [port.tensorIndex for port in ordered]
        if entering:
            graph.inputs = np.asarray(indices, np.int32)
        else:
            graph.outputs = np.asarray(indices, np.int32)
        side[:] = ordered
    return serialize(model)


def _number(name: bytes) -> int:
    """`args_3`, `output_3` → 3."""
    return int(name.decode().rpartition("_")[2])


def _converted(model: Any, graph: Any, index: int, wanted: int, *, entering: bool) -> int:
    """The tensor itself where it has the wanted type; else a new one, with an operator between the two."""
    inner = graph.tensors[index]
    if inner.type == wanted:
        return index
    quantized = inner.type in INTEGERS and wanted == FLOAT32
    code = (QUANTIZE if entering else DEQUANTIZE) if quantized else CAST
    kind = type(inner)
    outer = kind()
    outer.shape, outer.shapeSignature, outer.type = inner.shape, inner.shapeSignature, wanted
    outer.name, outer.buffer, outer.hasRank = b"outer of " + inner.name, 0, inner.hasRank
    graph.tensors.append(outer)
    new = len(graph.tensors) - 1
    operator = type(graph.operators[0])()
    operator.opcodeIndex = _opcode(model, code)
    source, made = (new, index) if entering else (index, new)
    operator.inputs, operator.outputs = np.asarray([source], np.int32), np.asarray([made], np.int32)
    graph.operators.insert(0 if entering else len(graph.operators), operator)
    return new


def _opcode(model: Any, builtin: int) -> int:
    for index, code in enumerate(model.operatorCodes):
        if builtin_of(code) == builtin:
            code.version = max(code.version, 2 if builtin == DEQUANTIZE else 1)
            return index
    new = type(model.operatorCodes[0])()
    new.builtinCode, new.deprecatedBuiltinCode = builtin, min(builtin, 127)
    new.version = 2 if builtin == DEQUANTIZE else 1  # 8-bit integers came with version 2
    model.operatorCodes.append(new)
    return len(model.operatorCodes) - 1


def builtin_of(code: Any) -> int:
    """Number of an operator: old files have it in the deprecated field."""
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def stripped(data: bytes) -> bytes:
    """The file without what no runtime reads: names of values (they hold Python classes), descriptions, debug data.

    Names of inputs and outputs and the least version of the runtime stay.
    """
    model = parse(data)
    model.description = None
    kept = [item for item in model.metadata or [] if item.name == b"min_runtime_version"]
    dropped = {item.buffer for item in model.metadata or []} - {item.buffer for item in kept}
    model.metadata, model.metadataBuffer = kept, None
    for graph in model.subgraphs:
        graph.name = b"main"
        for tensor, name in zip(graph.tensors, short_names(), strict=False):
            tensor.name = name.encode()
        for operator in graph.operators:
            operator.debugMetadataIndex = -1
    for signature in model.signatureDefs or []:
        graph = model.subgraphs[signature.subgraphIndex]
        for port in (*signature.inputs, *signature.outputs):
            graph.tensors[port.tensorIndex].name = port.name
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    for index in dropped - used:
        model.buffers[index].data = None
    return serialize(model)


def least_runtime(data: bytes) -> str | None:
    """The oldest runtime that the file says it runs on, e.g. `2.0.0`."""
    model = parse(data)
    for item in model.metadata or []:
        if item.name == b"min_runtime_version":
            stored = model.buffers[item.buffer].data
            return bytes(np.asarray(stored, np.uint8)).rstrip(b"\0").decode(errors="replace") or None
    return None


def read(data: bytes) -> Reading:
    """Weights and integer operators of a file."""
    model = parse(data)
    weights: dict[str, Array] = {}
    for index, graph in enumerate(model.subgraphs):
        for tensor in graph.tensors:
            values = constant(model, tensor)
            if values is not None and values.ndim >= 2 and values.dtype.kind == "f":
                weights[f"{index}/{tensor.name.decode()}"] = values
    return Reading(weights, sum(layer.kind in INTEGERS.values() for layer in layers(data)))


def layers(data: bytes, parameters: Mapping[str, Array] | None = None) -> list[TfliteLayer]:
    """Every operator with a stored weight, in the file's order, by the name of the parameter that it holds."""
    model = parse(data)
    found = []
    for graph in model.subgraphs:
        made = {int(output): operator for operator in graph.operators for output in operator.outputs}
        for operator, builtin in _weighted(model, graph):
            tensor = graph.tensors[operator.inputs[WEIGHT]]
            values, decoded = constant(model, tensor), False
            maker = made.get(int(operator.inputs[WEIGHT]))
            if maker is not None and builtin_of(model.operatorCodes[maker.opcodeIndex]) == DEQUANTIZE:
                tensor = graph.tensors[maker.inputs[0]]
                values, decoded = constant(model, tensor), True
            if values is None:  # a product of two computed values
                continue
            # A transposed convolution's first input is its output's shape.
            given = graph.tensors[operator.inputs[2 if builtin == TRANSPOSE_CONV else 0]]
            output = graph.tensors[operator.outputs[0]].name.decode()
            found.append(TfliteLayer(output, OPERATORS[builtin], output, _kind(tensor), _kind(given), decoded, values))
    return _named(found, parameters or {})


def _kind(tensor: Any) -> str:
    return INTEGERS.get(tensor.type, NUMPY.get(tensor.type, "unknown"))


def _named(found: list[TfliteLayer], parameters: Mapping[str, Array]) -> list[TfliteLayer]:
    """The layers by the names of their parameters: by equal values in any order, or, where the converter folded a
    neighbour into a weight, by the next parameter of that size that no other layer has.
    """
    by_content = {_content(values): name for name, values in reversed(list(parameters.items()))}
    names = [by_content.get(_content(layer.values)) for layer in found]
    rest = [name for name in parameters if name not in names]
    named = []
    for layer, given in zip(found, names, strict=True):
        name = given or next((one for one in rest if parameters[one].size == layer.values.size), None)
        if name in rest:
            rest.remove(name)
        named.append(replace(layer, name=(name or layer.name).removesuffix(".weight")))
    return named


def _weighted(model: Any, graph: Any) -> Iterator[tuple[Any, int]]:
    for operator in graph.operators:
        builtin = builtin_of(model.operatorCodes[operator.opcodeIndex])
        if builtin in OPERATORS:
            yield operator, builtin


def constants(data: bytes) -> frozenset[str]:
    """Names of the tensors whose values are stored."""
    model = parse(data)
    tensors = (tensor for graph in model.subgraphs for tensor in graph.tensors)
    return frozenset(tensor.name.decode() for tensor in tensors if constant(model, tensor) is not None)


def constant(model: Any, tensor: Any) -> Array | None:
    """A tensor's stored values less their zero point, weights as float32; None for what is computed."""
    stored = model.buffers[tensor.buffer].data
    if stored is None or len(stored) == 0:
        return None
    raw = np.asarray(stored, np.uint8)
    shape = tuple(int(size) for size in (tensor.shape if tensor.shape is not None else ()))
    if tensor.type == INT4:
        nibbles = np.stack([raw & 0xF, raw >> 4], axis=1).reshape(-1)[: int(np.prod(shape))].astype(np.int8)
        values: Array = np.where(nibbles > 7, nibbles - 16, nibbles).reshape(shape)
    elif tensor.type in NUMPY:
        values = raw.view(NUMPY[tensor.type]).reshape(shape)
    else:
        return None
    if tensor.type in INTEGERS:
        zero = tensor.quantization.zeroPoint if tensor.quantization is not None else None
        points = np.asarray(zero if zero is not None and len(zero) else [0], np.float32)
        axis = int(tensor.quantization.quantizedDimension) if len(points) > 1 else 0
        spread = [-1 if index == axis else 1 for index in range(len(shape))] if len(points) > 1 else []
        return (values.astype(np.float32) - points.reshape(spread)) if shape else values.astype(np.float32)
    return values.astype(np.float32) if tensor.type in (FLOAT32, FLOAT16) else values


def _content(values: Array) -> tuple[int, bytes]:
    """Equal for a parameter and its transposed copy."""
    return values.size, np.sort(values, axis=None).tobytes()
