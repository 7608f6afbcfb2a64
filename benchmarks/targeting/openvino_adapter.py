"""OpenVINO on the CPU, reading ONNX files: what `benchmarks/targets.py --openvino` times beside the targets.

Loaded by its path into a worker, as the gate's own adapters are; see `weighbridge.gate.measure.runtimes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import openvino
from numpy.typing import NDArray

Array = NDArray[Any]


class Model:
    """One file, compiled once for each shape of its inputs: OpenVINO is fastest where shapes are fixed."""

    def __init__(self, path: str, threads: int) -> None:
        self.core = openvino.Core()
        self.path = path
        self.options = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(threads)}
        self.requests: dict[tuple[tuple[int, ...], ...], Any] = {}

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """One inference: copies of all outputs, in the model's order."""
        shapes = tuple(array.shape for array in feed.values())
        if shapes not in self.requests:
            model = self.core.read_model(self.path)
            model.reshape({name: list(array.shape) for name, array in feed.items()})
            self.requests[shapes] = self.core.compile_model(model, "CPU", self.options).create_infer_request()
        found = self.requests[shapes].infer(feed, share_inputs=True)
        return [found[index] for index in range(len(found))]


def version() -> str:
    """Version of the runtime."""
    return metadata.version("openvino")


def load(path: str, threads: int) -> Model:
    """Read a file; it is compiled with its first inference."""
    return Model(path, threads)
