"""Weights that files of IR version 3 list among the graph's inputs, so that a caller may replace them."""

from __future__ import annotations

from onnx import ModelProto

from weighbridge.compress.graph.normal.walk import copied

IR_VERSION = 4
"""First version in which an initializer need not be an input (onnx/onnx, docs/IR.md)."""


def unlisted(proto: ModelProto) -> ModelProto:
    """The model whose inputs are what a caller feeds: onnxruntime folds and fuses no weight that is an input."""
    stored = {tensor.name for tensor in proto.graph.initializer}
    stored |= {sparse.values.name for sparse in proto.graph.sparse_initializer}
    if not any(value.name in stored for value in proto.graph.input):
        return proto
    model = copied(proto)
    kept = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, IR_VERSION)
    return model
