"""LiteRT (TensorFlow Lite) on the CPU through its default XNNPACK delegate, with every thread declared."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

Array = NDArray[Any]
SIGNATURE = "serving_default"


class Model:
    """One loaded artifact. Inputs go by the names of its signature, or of its tensors where it has none."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        signatures = interpreter._get_full_signature_list()  # noqa: SLF001  # the public list leaves the tensors out
        if signatures:
            self.inputs = dict((signatures.get(SIGNATURE) or next(iter(signatures.values())))["inputs"])
        else:
            self.inputs = {item["name"]: item["index"] for item in interpreter.get_input_details()}
        self.outputs = [item["index"] for item in interpreter.get_output_details()]

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """One inference: copies of all outputs, in the order of the graph."""
        interpreter = self.interpreter
        for name, index in self.inputs.items():
            interpreter.set_tensor(index, feed[name])
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in self.outputs]


def version() -> str:
    """Version of the runtime."""
    return metadata.version("ai-edge-litert")


def load(path: str, threads: int) -> Model:
    """Load an artifact for `threads` threads; tensors are allocated here, so that loading is what it costs."""
    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    for item in interpreter.get_output_details():
        if np.dtype(item["dtype"]).kind not in "iufb":
            raise TypeError(f"output {item['name']!r} is a {item['dtype']}; only tensors of numbers can be weighed")
    return Model(interpreter)
