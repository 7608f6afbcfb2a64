"""Vectors packed as one: biases that share a codebook are one stream of codes, which the graph splits again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from weighbridge.compress.techniques.pack.forms import code

Array = NDArray[Any]

SPLIT_INPUT = 13
"""From this opset on, Split reads its sizes from an input; before, from an attribute."""


@dataclass(frozen=True)
class Joined:
    """Vectors end to end."""

    name: str
    """A name that nothing else in the graph has."""
    parts: Mapping[str, Array]
    """Each vector by its own name, in order."""

    @property
    def values(self) -> Array:
        """All of them, (n,)."""
        return np.concatenate(list(self.parts.values()))

    @property
    def sizes(self) -> Array:
        """How long each is."""
        return np.array([len(part) for part in self.parts.values()], np.int64)

    def node(self, sizes: str, opset: int) -> NodeProto:
        """What splits them; `sizes` names the constant of that value."""
        if opset < SPLIT_INPUT:
            return helper.make_node("Split", [self.name], list(self.parts), split=self.sizes.tolist())
        return helper.make_node("Split", [self.name, sizes], list(self.parts))


def join(proto: ModelProto) -> Joined | None:
    """The float vectors of a graph that have most of their values in common with others; None where no two have."""
    taken = {name for node in proto.graph.node for name in (*node.input, *node.output)}
    vectors = {
        tensor.name: np.asarray(numpy_helper.to_array(tensor))
        for tensor in proto.graph.initializer
        if len(tensor.dims) == 1 and tensor.name not in {value.name for value in proto.graph.output}
    }
    books = {name: np.unique(values) for name, values in vectors.items() if values.dtype == np.float32}
    uses = Counter(value for book in books.values() for value in book.tolist())
    parts = {
        name: vectors[name] for name, book in books.items() if 2 * sum(uses[v] > 1 for v in book.tolist()) > len(book)
    }
    if len(parts) < 2:
        return None
    name = "joined"
    while name in taken:
        name += "'"
    found = Joined(name, parts)
    return found if code(found.values) is not None else None
