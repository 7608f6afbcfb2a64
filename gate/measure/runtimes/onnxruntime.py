"""onnxruntime on the CPU, with every thread declared and no spinning."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # telemetry must be off before the import

Array = NDArray[Any]
HELD: dict[str, ctypes.CDLL] = {}
"""Libraries of this process, kept until it ends."""


class Model:
    """One loaded artifact."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        self.outputs = [output.name for output in session.get_outputs()]

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """One inference: all outputs, in the model's order."""
        outputs: list[Array] = self.session.run(self.outputs, feed)
        return outputs


def version() -> str:
    """Version of the runtime."""
    return str(onnxruntime.__version__)


def load(path: str, threads: int, libraries: Sequence[str] = ()) -> Model:
    """Load an artifact for `threads` threads within operators, one between them, after libraries of its operators."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    for library in libraries:
        # onnxruntime unloads a library with its session: one that is loaded again after that may crash.
        HELD.setdefault(library, ctypes.CDLL(library))
        options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for output in session.get_outputs():
        if not output.type.startswith(("tensor(", "seq(map(")):
            raise TypeError(f"output {output.name!r} is a {output.type}; tensors and ZipMap's maps can be weighed")
    return Model(session)
