"""Matrices that a file needs once: equal ones, and those that are another one transposed.

Exporters fold the transposition of a weight that an embedding shares with the head, and so store it twice.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from math import prod
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from weighbridge.compress.graph.normal.walk import copied, read_as, replaced
from weighbridge.compress.graph.spilled import is_spilled

SMALLEST = 1024
"""Elements: a node that transposes takes some bytes too."""
KINDS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8)


def stored_once(proto: ModelProto) -> ModelProto:
    """The model with each matrix stored once, a transposed one as a node that runtimes fold when they load the file.

    The model as it is where nothing is stored twice, or its weights lie outside of it.
    """
    if is_spilled(proto):
        return proto
    same, turned = _twins(proto)
    if not same and not turned:
        return proto
    found = copied(proto)
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in same and tensor.name not in turned]
    del found.graph.initializer[:]
    found.graph.initializer.extend(kept)
    read_as(found.graph, same)
    nodes = [helper.make_node("Transpose", [source], [name]) for name, source in turned.items()]
    replaced(found.graph, _every, nodes)
    return found


def _every(_: NodeProto) -> bool:
    return True


def _twins(proto: ModelProto) -> tuple[dict[str, str], dict[str, str]]:
    """Names of matrices that are equal to another one, and of those that are one transposed, with the other's name."""
    ports = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    groups: dict[tuple[int, ...], list[TensorProto]] = defaultdict(list)
    for tensor in proto.graph.initializer:
        fits = len(tensor.dims) == 2 and tensor.data_type in KINDS and prod(tensor.dims) >= SMALLEST
        if fits and tensor.name not in ports:
            groups[tensor.data_type, *sorted(tensor.dims)].append(tensor)
    same, turned = dict[str, str](), dict[str, str]()
    for group in (group for group in groups.values() if len(group) > 1):
        first = dict[tuple[Any, ...], str]()
        for tensor in group:
            array = numpy_helper.to_array(tensor)
            name = str(tensor.name)
            if source := first.get(_key(array)):
                same[name] = source
            elif source := first.get(_key(array.T)):
                turned[name] = source
            else:
                first[_key(array)] = name
    return same, turned


def _key(array: NDArray[Any]) -> tuple[Any, ...]:
    return array.shape, hashlib.sha256(array.tobytes()).digest()
