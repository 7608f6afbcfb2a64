"""From an `nn.Module` to a file for one target: one literal table, one file a target.

- `target`: what a target is, and the form that a model has between lowering steps
- `onnxruntime`: ONNX by `torch.onnx.export`, metadata stripped, layers named, bytes deterministic
- `names`: short names and no default attributes, so that a file's bytes are its weights
- `litert`: LiteRT by litert-torch and ai-edge-quantizer; `tflite` reads and tidies its files
- `executorch`: ExecuTorch with the XNNPACK delegate; `pte` reads its files
- `pt2e`: quantization in the captured graph, for both; `capture`: what their converters share
"""

from __future__ import annotations

from weighbridge.compress.capabilities import require
from weighbridge.compress.export.executorch import EXECUTORCH
from weighbridge.compress.export.litert import LITERT
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.export.target import Program, Reading, Target
from weighbridge.core.errors import InputError

TARGETS: dict[str, Target] = {"onnxruntime": ONNXRUNTIME, "litert": LITERT, "executorch": EXECUTORCH}
"""Every target that an artifact can be built for."""


def find_target(name: str, where: str = "target") -> Target:
    """The target of that name.

    Raises `InputError` that lists those that are built in, or names the extra that is not installed.
    """
    if name not in TARGETS:
        raise InputError(f"the target {name!r} is not built in", where=where, fix=f"targets: {', '.join(TARGETS)}")
    require(name, where)
    return TARGETS[name]


__all__ = ["EXECUTORCH", "LITERT", "ONNXRUNTIME", "TARGETS", "Program", "Reading", "Target", "find_target"]
