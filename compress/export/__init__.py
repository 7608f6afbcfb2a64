"""From an `nn.Module` to a file for one target: one literal table, one file a target.

- `onnxruntime`: ONNX by `torch.onnx.export`, metadata stripped, layers named, bytes deterministic
- `names`: short names and no default attributes, so that a file's bytes are its weights
"""

from __future__ import annotations

from compress.export.onnxruntime import ONNXRUNTIME, Target
from weighbridge.errors import InputError

TARGETS: dict[str, Target] = {"onnxruntime": ONNXRUNTIME}
"""Every target that an artifact can be built for."""


def find_target(name: str, where: str = "target") -> Target:
    """The target of that name; an `InputError` that lists those that are built in."""
    if name not in TARGETS:
        raise InputError(f"the target {name!r} is not built in", where=where, fix=f"targets: {', '.join(TARGETS)}")
    return TARGETS[name]


__all__ = ["TARGETS", "Target", "find_target"]
