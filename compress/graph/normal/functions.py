"""Weights in local functions, where no step looks: the functions are written out where they are called."""

from __future__ import annotations

from onnx import ModelProto, inliner

OURS = "w"
"""Domain of the decoders that `pack` writes, which stay (see `techniques.pack.decoders`)."""


def inlined(proto: ModelProto) -> ModelProto:
    """The model without local functions but for the decoders of packed weights."""
    foreign = [(item.domain, item.name) for item in proto.functions if item.domain != OURS]
    if not foreign:
        return proto
    return inliner.inline_selected_functions(proto, foreign)
