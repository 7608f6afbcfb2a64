"""Half precision: weights and computation in float16, inputs and outputs in float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16, convert_np_to_float16

from weighbridge.compress.graph.lowering import Array, finished, named
from weighbridge.compress.graph.normal.attention_masks import saturated
from weighbridge.compress.graph.normal.walk import copied, nodes
from weighbridge.compress.graph.sessions import quiet, run
from weighbridge.compress.graph.spilled import hollow, is_spilled, to_array
from weighbridge.compress.graph.spilled import kept as kept_tensor
from weighbridge.core.errors import InvariantError
from weighbridge.data import Split

HALF_MIN = 5.961e-08
"""Weights of a smaller magnitude become this: float16's smallest, and the least that the converter takes."""
HALF_MAX = float(np.finfo(np.float16).max)
WHERE = "quantize"
PIECE = 1 << 20
"""Values of a weight that are converted at once."""
WATCHED = 16
"""Examples on which every inner value is looked at: all of them are in memory at once."""


def half(proto: ModelProto, split: Split, *, exclude: Sequence[str] = ()) -> ModelProto:
    """Convert weights and operators to float16; `exclude` names nodes that stay in float32.

    Masks of attention saturate. Where a value exceeds float16's range (65,504) on `split`, the nodes that write and
    read it stay in float32 too. A weight beyond the range that a float16 node reads is an `InvariantError` that names
    it: it would be clipped in silence.
    """
    source = saturated(named(proto))
    kept = set(exclude)
    converted = _converted(source, kept)
    try:
        run(converted, split, WHERE)
    except InvariantError:
        beyond = _around(source, _overflowing(source, split))
        if beyond <= kept:
            raise
        converted = _converted(source, kept | beyond)
    return converted


def _converted(proto: ModelProto, kept: set[str]) -> ModelProto:
    """The graph in float16 but for the nodes `kept`, which read weights of their own in float32."""
    _refuse_clipped(proto, kept)
    source, stored = _stand_ins(proto) if is_spilled(proto) else (copied(proto), {})
    with quiet():
        converted = convert_float_to_float16(
            source,
            keep_io_types=True,
            disable_shape_infer=bool(stored),
            node_block_list=sorted(kept) or None,
            min_positive_val=HALF_MIN,
        )
        for tensor in converted.graph.initializer:
            if tensor.name in stored:
                tensor.CopyFrom(_as_type(stored[tensor.name], tensor.data_type))
    return finished(converted)


def _stand_ins(proto: ModelProto) -> tuple[ModelProto, dict[str, TensorProto]]:
    """A copy in which a single zero stands for each spilled weight, with its shapes inferred, and these."""
    stored = {tensor.name: tensor for tensor in proto.graph.initializer if is_spilled(tensor)}
    model = onnx.shape_inference.infer_shapes(hollow(proto))
    for tensor in model.graph.initializer:
        if tensor.name in stored:
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(1, kind), tensor.name))
    return model, stored


def _as_type(tensor: TensorProto, kind: int) -> TensorProto:
    """A spilled weight in the type that the converter chose, in pieces."""
    if kind == tensor.data_type:
        return tensor
    values = to_array(tensor)
    halves = np.empty(values.size, np.float16)
    for start in range(0, values.size, PIECE):
        piece = values.reshape(-1)[start : start + PIECE]
        halves[start : start + PIECE] = convert_np_to_float16(piece, HALF_MIN, HALF_MAX)
    return kept_tensor(numpy_helper.from_array(halves.reshape(values.shape), tensor.name))


def _refuse_clipped(proto: ModelProto, kept: set[str]) -> None:
    """An `InvariantError` for a weight beyond float16 that a node in float16 reads."""
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        largest = float(np.abs(to_array(tensor)).max(initial=0.0))
        readers = [node for node in nodes(proto.graph) if tensor.name in node.input]
        wide = all(node.name in kept or node.op_type in DEFAULT_OP_BLOCK_LIST for node in readers)
        if largest > HALF_MAX and not wide:
            raise InvariantError(
                f"the weight {tensor.name} reaches {largest:.4g}, beyond float16",
                where=WHERE,
                fix="name its layer under 'keep', or choose weight-int8",
            )


def _overflowing(proto: ModelProto, split: Split) -> set[str]:
    """Inner float values of the float32 graph that float16 cannot hold on some example."""
    watched = copied(proto)
    outputs = {value.name for value in watched.graph.output}
    inner = [name for node in watched.graph.node for name in node.output if name and name not in outputs]
    watched.graph.output.extend(ValueInfoProto(name=name) for name in inner)
    found = run(watched, split.take(slice(0, WATCHED)), WHERE, finite=False)
    every = [*(value.name for value in proto.graph.output), *inner]
    return {name for name, values in zip(every, found, strict=True) if _beyond(values)}


def _beyond(values: Array) -> bool:
    return values.dtype == np.float32 and bool(np.abs(values).max(initial=0.0) > HALF_MAX)


def _around(proto: ModelProto, values: Iterable[str]) -> set[str]:
    """The nodes that write or read any of the values."""
    known = set(values)
    return {node.name for node in proto.graph.node if known & {*node.input, *node.output}}
