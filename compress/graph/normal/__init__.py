"""The normal form of an ONNX graph: what people's files do differently, said the one way that every step reads.

Two moments, because a baseline must stay what its owner gave, and a step must see every weight:

- `entered`: as the file comes in, without a change of its numbers or its size
- `opened`: before a step that rewrites weights, which then all lie in the main graph, dense, in float32

One module a kind: `listed` (weights among the inputs), `zipmap`, `brain` (bfloat16), `functions`, `branches`, `sparse`,
`widths` (float64, float16). A graph that has none of them comes back as it is, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, TensorProto

from weighbridge.compress.graph.normal.brain import stored_in_bfloat16
from weighbridge.compress.graph.normal.branches import hoisted
from weighbridge.compress.graph.normal.functions import inlined
from weighbridge.compress.graph.normal.listed import unlisted
from weighbridge.compress.graph.normal.sparse import dense
from weighbridge.compress.graph.normal.widths import decoded, in_float32
from weighbridge.compress.graph.normal.zipmap import unwrapped
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import signature
from weighbridge.core.operator_libraries import OperatorLibrary, foreign_operator, require_libraries

__all__ = ["entered", "laid_out", "opened", "refuse_foreign", "refuse_ports"]


def entered(proto: ModelProto) -> ModelProto:
    """A given model that every step and the runtime can read: weights are no inputs, outputs are tensors."""
    return stored_in_bfloat16(unwrapped(unlisted(proto)))


def opened(proto: ModelProto, *, half: bool = False) -> ModelProto:
    """The model with every weight in the main graph, dense, in float32; with `half`, float16 becomes float32 too."""
    kinds = {TensorProto.DOUBLE, TensorProto.BFLOAT16, *([TensorProto.FLOAT16] if half else [])}
    return in_float32(decoded(laid_out(proto)), kinds)


def laid_out(proto: ModelProto) -> ModelProto:
    """The model with every weight in the main graph, dense, in its own type."""
    return dense(hoisted(inlined(proto)))


def refuse_foreign(proto: ModelProto, where: str, libraries: Sequence[OperatorLibrary] = ()) -> None:
    """An `InputError` for an operator that only a library of custom operators has, where none is named."""
    require_libraries(foreign_operator(proto), libraries, where)


def refuse_ports(proto: ModelProto, where: str) -> None:
    """An `InputError` for an output that is no tensor: what a sequence or a map holds cannot be compared."""
    for port in signature(proto).outputs:
        if port.dtype in ("sequence", "map", "optional", "sparse_tensor"):
            raise InputError(
                f"output {port.name!r} is a {port.dtype}, not a tensor",
                where=where,
                fix="leave it out of the graph's outputs, or have the converter write tensors (zipmap=False)",
            )
