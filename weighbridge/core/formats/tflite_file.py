"""LiteRT files (`.tflite`): the signature, read without running anything."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.errors import InputError
from weighbridge.core.formats.flatbuffer import FlatTable, root
from weighbridge.core.formats.onnx_file import Port, Signature

IDENTIFIER = b"TFL3"
SIGNATURE = "serving_default"

# Numbers of the schema's enumeration TensorType (tensorflow/compiler/mlir/lite/schema/schema.fbs).
DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "bool", 7: "int16",
    8: "complex64", 9: "int8", 10: "float64", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip

# Fields by their number in the schema.
MODEL_SUBGRAPHS, MODEL_SIGNATURES = 2, 7
SUBGRAPH_TENSORS, SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = 0, 1, 2
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_NAME, TENSOR_SHAPE_SIGNATURE = 0, 1, 3, 7
SIGNATURE_INPUTS, SIGNATURE_OUTPUTS, SIGNATURE_KEY, SIGNATURE_SUBGRAPH = 0, 1, 2, 4
MAP_NAME, MAP_TENSOR = 0, 1


def signature(data: bytes, where: str, *_names: Sequence[str]) -> Signature:
    """Inputs and outputs by the names of `serving_default`, else of the first signature, else of the tensors.

    Outputs are in the graph's order: a signature lists them by their names.

    The file has its own names. Raises `InputError` for bytes that are not a LiteRT model.
    """
    model = root(data, IDENTIFIER, "LiteRT (.tflite)", where)
    subgraphs = model.tables(MODEL_SUBGRAPHS)
    if not subgraphs:
        raise InputError("is not a LiteRT model: it has no graph", where=where)
    found = {item.text(SIGNATURE_KEY): item for item in model.tables(MODEL_SIGNATURES)}
    if not found:
        return _by_tensors(subgraphs[0])
    chosen = found.get(SIGNATURE) or next(iter(found.values()))
    graph = chosen.integer(SIGNATURE_SUBGRAPH, "<I")
    if graph >= len(subgraphs):
        raise InputError(f"its signature refers to graph {graph}, which does not exist", where=where)
    tensors = subgraphs[graph].tables(SUBGRAPH_TENSORS)
    order = subgraphs[graph].integers(SUBGRAPH_OUTPUTS)
    inputs, outputs = (
        {item.integer(MAP_TENSOR, "<I"): item.text(MAP_NAME) for item in chosen.tables(field)}
        for field in (SIGNATURE_INPUTS, SIGNATURE_OUTPUTS)
    )
    if set(outputs) != set(order):
        raise InputError("its signature names other outputs than its graph has", where=where)
    return Signature(
        tuple(_port(tensors, index, name, where) for index, name in inputs.items()),
        tuple(_port(tensors, index, outputs[index], where) for index in order),
    )


def _by_tensors(graph: FlatTable) -> Signature:
    tensors = graph.tables(SUBGRAPH_TENSORS)
    return Signature(
        *(
            tuple(_port(tensors, index, None, graph.where) for index in graph.integers(field))
            for field in (SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS)
        )
    )


def _port(tensors: list[FlatTable], index: int, name: str | None, where: str) -> Port:
    if not 0 <= index < len(tensors):
        raise InputError(f"refers to tensor {index}, which does not exist", where=where)
    tensor = tensors[index]
    shape = tensor.integers(TENSOR_SHAPE_SIGNATURE) or tensor.integers(TENSOR_SHAPE)
    dtype = DTYPES.get(tensor.integer(TENSOR_TYPE, "<b"), "unknown")
    sizes = tuple(size if size >= 0 else None for size in shape)
    return Port(tensor.text(TENSOR_NAME) if name is None else name, dtype, sizes)
