"""Outputs that are not rounded to 8 bits: the last operator's integers become floats, and stay so.

A range that calibration data gave ends at the surest answer among them. Surer ones all round to its end, and classes
that were apart tie; those nearer to each other than a step of the range tie too.
"""

from __future__ import annotations

from onnx import ModelProto

from weighbridge.compress.graph.normal.walk import copied, replaced
from weighbridge.core.errors import InputError

WHERE = "quantize.float_outputs"
COSTLY = ("Conv", "ConvTranspose")
"""Operators that onnxruntime computes in float as a whole where their outputs are floats."""


def with_float_outputs(made: ModelProto) -> ModelProto:
    """A quantized graph without the last rounding of its outputs; `InputError` where no output has one to spare.

    A matrix product on integers gives floats as fast as it gives integers. Outputs of convolutions stay rounded.
    """
    model = copied(made)
    producers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, int] = {}
    for name in (
        *(name for node in model.graph.node for name in node.input),
        *(out.name for out in model.graph.output),
    ):
        readers[name] = readers.get(name, 0) + 1
    gone: set[str] = set()
    for output in model.graph.output:
        ends = producers.get(output.name)
        starts = producers.get(ends.input[0]) if ends is not None and ends.op_type == "DequantizeLinear" else None
        source = producers.get(starts.input[0]) if starts is not None and starts.op_type == "QuantizeLinear" else None
        if ends is None or starts is None or source is None or source.op_type in COSTLY:
            continue
        if readers[starts.input[0]] == readers[ends.input[0]] == 1:
            source.output[:] = [output.name if name == starts.input[0] else name for name in source.output]
            gone.add(starts.output[0])
    if not gone:
        raise InputError("no output is rounded to 8 bits behind a matrix product", where=WHERE, fix="leave it out")
    replaced(model.graph, lambda node: not gone & {*node.input, *node.output}, [])
    read = {name for node in model.graph.node for name in node.input}
    unread = readers.keys() - read - {output.name for output in model.graph.output}
    kept = [tensor for tensor in made.graph.initializer if tensor.name not in unread]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model
