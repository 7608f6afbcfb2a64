"""One file a target. A file here is loaded by path into the worker process, so it imports its runtime and nothing else.

Each has `version() -> str` and `load(path, threads) -> model`, where `model.run(feed) -> list of arrays`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Runtime:
    """A target that the gate can weigh."""

    name: str
    package: str
    """The distribution whose version belongs to the device's fingerprint."""
    adapter: Path
    """The file that the worker loads."""
    suffix: str
    """Of its artifacts' files."""
    extra: str
    """What installs it: `pip install 'weighbridge[<extra>]'`."""


def _runtime(name: str, package: str, suffix: str, extra: str) -> Runtime:
    return Runtime(name, package, Path(__file__).with_name(f"{name}.py"), suffix, extra)


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": _runtime("onnxruntime", "onnxruntime", ".onnx", "gate"),
    "litert": _runtime("litert", "ai-edge-litert", ".tflite", "litert"),
    "executorch": _runtime("executorch", "executorch", ".pte", "executorch"),
}
