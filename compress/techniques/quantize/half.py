"""Half precision: weights and computation in float16, inputs and outputs in float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from weighbridge.compress.graph.lowering import Array, finished, named, quiet, run
from weighbridge.compress.graph.normal.attention_masks import saturated
from weighbridge.compress.graph.normal.walk import copied, nodes
from weighbridge.core.errors import InvariantError
from weighbridge.data import Split

HALF_MIN = 5.961e-08
"""Weights of a smaller magnitude become this: float16's smallest, and the least that the converter takes."""
HALF_MAX = float(np.finfo(np.float16).max)
WHERE = "quantize"
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
    with quiet():
        converted = convert_float_to_float16(
            copied(proto), keep_io_types=True, node_block_list=sorted(kept) or None, min_positive_val=HALF_MIN
        )
    return finished(converted)


def _refuse_clipped(proto: ModelProto, kept: set[str]) -> None:
    """An `InvariantError` for a weight beyond float16 that a node in float16 reads."""
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
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
