"""ExecuTorch's file format: what stands in a `.pte` file, its XNNPACK parts included.

The program is read by executorch's own deserializer, the graphs within it by the schema of its XNNPACK backend and the
`flatc` that comes with executorch.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.compress.export.capture import silenced
from weighbridge.compress.export.target import Reading

Array = NDArray[Any]

BACKEND = "XnnpackBackend"
# backends/xnnpack/serialization/schema.fbs, XNNDatatype: how constants are stored.
NUMPY = {
    "xnn_datatype_fp32": "float32", "xnn_datatype_fp16": "float16", "xnn_datatype_qint8": "int8",
    "xnn_datatype_qcint8": "int8", "xnn_datatype_quint8": "uint8", "xnn_datatype_qint32": "int32",
    "xnn_datatype_qcint32": "int32",
}  # fmt: skip
WEIGHTED = ("XNNConv2d", "XNNDepthwiseConv2d", "XNNFullyConnected", "XNNConvTranspose2d", "XNNBatchMatrixMultiply")
# Numbers of ScalarType (schema/scalar_type.fbs).
SCALARS = {1: "int8", 5: "float16", 6: "float32"}


@dataclass(frozen=True)
class Constant:
    """A weight that a delegated operator reads."""

    kind: str
    """As numpy names the stored type."""
    values: Array
    """Less the zero point, as float32."""


def read(data: bytes) -> Reading:
    """Weights, integer operators, and which operators XNNPACK takes and which are left to portable kernels."""
    program = _program(data)
    weights: dict[str, Array] = {}
    integers = 0
    for number, graph in enumerate(_graphs(program)):
        for index, found in enumerate(_weights(graph, program)):
            weights[f"{number}/{index}"] = found.values
            integers += found.kind in ("int8", "uint8")
    weights |= {f"portable/{index}": values for index, values in enumerate(_portable_constants(program))}
    return Reading(weights, integers, kernels(program))


def weights_by_kind(data: bytes) -> dict[str, int]:
    """How many weights of delegated operators are stored in each type."""
    program = _program(data)
    return dict(sorted(Counter(item.kind for graph in _graphs(program) for item in _weights(graph, program)).items()))


def kernels(program: Any) -> dict[str, Any]:
    """`delegates`: parts that XNNPACK takes; `portable`: calls of portable kernels by operator."""
    plan = program.program.execution_plan[0]
    calls: Counter[str] = Counter()
    for chain in plan.chains:
        for item in chain.instructions:
            if type(item.instr_args).__name__ == "KernelCall":
                operator = plan.operators[item.instr_args.op_index]
                calls[f"{operator.name}.{operator.overload}".rstrip(".")] += 1
    delegates = [delegate for delegate in plan.delegates if delegate.id == BACKEND]
    return {"delegates": len(delegates), "portable": dict(sorted(calls.items()))}


def _program(data: bytes) -> Any:
    with silenced():
        from executorch.exir._serialize import _deserialize_pte_binary  # noqa: PLC0415  # an extra; there is no public reader

        return _deserialize_pte_binary(data)


def _graphs(program: Any) -> Iterator[dict[str, Any]]:
    """The graphs of XNNPACK's parts, as JSON values."""
    for delegate in program.program.execution_plan[0].delegates:
        if delegate.id == BACKEND:
            yield _graph(program.program.backend_delegate_data[delegate.processed.index].data)


def _graph(payload: bytes) -> dict[str, Any]:
    with silenced():
        from importlib import resources  # noqa: PLC0415

        from executorch.backends.xnnpack import serialization  # noqa: PLC0415
        from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader  # noqa: PLC0415
        from executorch.exir._serialize import _flatbuffer  # noqa: PLC0415

    header = XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH])
    begin = header.flatbuffer_offset
    with tempfile.TemporaryDirectory(prefix="weighbridge.") as name:
        folder = Path(name)
        (folder / "graph.fbs").write_bytes(resources.files(serialization).joinpath("schema.fbs").read_bytes())
        (folder / "data.bin").write_bytes(payload[begin : begin + header.flatbuffer_size])
        _flatbuffer._flatc_decompile(  # noqa: SLF001  # no public reader
            str(folder), str(folder / "graph.fbs"), str(folder / "data.bin"), ["--raw-binary"]
        )
        text = (folder / "data.json").read_text()
    # flatc writes limits of activations as inf and nan, which JSON does not have.
    found: dict[str, Any] = json.loads(re.sub(r":\s*[-+]?(inf|nan)\b", ": null", text))
    begin = header.constant_data_offset
    found["constants"] = payload[begin : begin + header.constant_data_size]
    return found


def _weights(graph: dict[str, Any], program: Any) -> Iterator[Constant]:
    """Constants of two or more axes that convolutions and matrix products read, each once."""
    values = [_plain(item) for item in graph["xvalues"]]
    by_id = {item["id_out"]: item for item in values}
    read = {
        union["filter_id"] if "filter_id" in union else union.get("input2_id")
        for union in (node["xnode_union"] for node in graph["xnodes"])
        if "filter_id" in union or "input2_id" in union
    }
    for identity in sorted(item for item in read if item in by_id):
        value = by_id[identity]
        if not value.get("constant_buffer_idx") or value["datatype"] not in NUMPY or len(value.get("dims") or ()) < 2:
            continue
        raw = _bytes_of(graph, graph["constant_data"][value["constant_buffer_idx"]], program)
        kind = NUMPY[value["datatype"]]
        stored = np.frombuffer(raw, kind)[: int(np.prod(value["dims"]))].reshape(value["dims"])
        yield Constant(kind, stored.astype(np.float32) - np.float32(value["zero_point"]))


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """A value, whether it is quantized or not, with its zero point."""
    union = item["xvalue_union"]
    inner = union.get("tensor_value", union)
    zero = (union.get("quant_params") or {}).get("zero_point", 0)
    return {**inner, "zero_point": zero if isinstance(zero, int) else 0}


def _bytes_of(graph: dict[str, Any], place: dict[str, Any], program: Any) -> bytes:
    key = place.get("named_key")
    if key:
        named = program.named_data
        return bytes(named.buffers[named.pte_data[key].buffer_index])
    return bytes(graph["constants"][place["offset"] : place["offset"] + place["size"]])


def _portable_constants(program: Any) -> Iterator[Array]:
    """Stored tensors that portable kernels read."""
    for value in program.program.execution_plan[0].values:
        tensor = value.val
        if type(tensor).__name__ != "Tensor" or tensor.data_buffer_idx == 0 or tensor.allocation_info is not None:
            continue
        kind = SCALARS.get(int(tensor.scalar_type))
        if kind is not None and len(tensor.sizes) >= 2:
            raw = bytes(program.program.constant_buffer[tensor.data_buffer_idx].storage)
            count = int(np.prod(tensor.sizes))
            yield np.frombuffer(raw, kind)[:count].reshape(tensor.sizes).astype(np.float32)
