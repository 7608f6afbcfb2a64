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


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": Runtime("onnxruntime", "onnxruntime", Path(__file__).with_name("onnxruntime.py")),
}
