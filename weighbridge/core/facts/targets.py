"""The one table of targets: every runtime that artifacts are built for, weighed on and served by.

A new runtime is a row here, its extra in `pyproject.toml`, and one file each in `compress/export/`,
`gate/measure/runtimes/` (both named after the target) and `core/formats/` (named by `reader`).

This module travels to devices: it imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class TargetFacts:
    """What one target needs, and what its files can hold."""

    name: str
    suffix: str
    """Of its artifacts' files."""
    extra: str
    """What builds its artifacts: `pip install 'weighbridge[<extra>]'`."""
    converters: tuple[str, ...]
    """Distributions that make the file."""
    runtime: str
    """The distribution that runs it; its version belongs to a device's fingerprint."""
    steps: tuple[str, ...]
    """Techniques that can act on its file."""
    schemes: tuple[str, ...]
    """Schemes of `quantize` that it has a form of."""
    training: tuple[str, ...] = ()
    """Those of `converters` that only quantization-aware training needs: its step asks for them."""
    options: frozenset[str] | None = None
    """Keys of `quantize` that mean something to it besides `scheme`; all where it is None."""
    reader: str | None = None
    """The module of `core.formats` that reads a file's signature; None for ONNX, which the gate counts itself."""
    library: str | None = None
    """What the Hub calls files of this kind in a model card; None: the target's name."""
    kserve: str | None = None
    """KServe's model format; None where no runtime of KServe's serves it."""

    @property
    def file(self) -> str:
        """The artifact's file name."""
        return f"model{self.suffix}"


DEFAULT_TARGET = "onnxruntime"
"""Of recipes that name none, and of files with an unknown suffix."""

TARGETS: Mapping[str, TargetFacts] = MappingProxyType({
    row.name: row
    for row in (
        TargetFacts(
            name="onnxruntime",
            suffix=".onnx",
            extra="compress",
            converters=("torch", "onnxscript"),
            runtime="onnxruntime",
            steps=("pack", "quantize", "replace", "share"),
            schemes=("fp16", "dynamic-int8", "static-int8", "qat-int8", "weight-fp16", "weight-int8", "weight-int4"),
            library="onnx",
            kserve="onnx",
        ),
        TargetFacts(
            name="litert",
            suffix=".tflite",
            extra="litert",
            converters=("litert-torch", "ai-edge-quantizer", "torchao", "executorch"),
            runtime="ai-edge-litert",
            steps=("quantize",),
            schemes=("fp16", "dynamic-int8", "static-int8", "qat-int8", "weight-fp16", "weight-int8", "weight-int4"),
            training=("torchao", "executorch"),
            options=frozenset({"agreement", "finetune", "keep"}),
            reader="tflite_file",
        ),
        TargetFacts(
            name="executorch",
            suffix=".pte",
            extra="executorch",
            converters=("executorch", "torchao"),
            runtime="executorch",
            steps=("quantize",),
            schemes=("static-int8", "qat-int8"),
            options=frozenset({"agreement", "finetune", "keep"}),
            reader="pte_file",
        ),
    )
})  # fmt: skip
"""Every target, by its name."""

if TYPE_CHECKING:
    TargetName = str
else:
    TargetName = Literal[tuple(TARGETS)]
"""The name of a row, checked by pydantic where a document has one."""


def target_of_suffix(suffix: str) -> str:
    """The target that files with this suffix are built for; an unknown suffix is read as the default target's."""
    return next((name for name, row in TARGETS.items() if row.suffix == suffix), DEFAULT_TARGET)
