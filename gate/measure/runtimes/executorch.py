"""ExecuTorch on the CPU with its XNNPACK delegate, with every thread declared.

The runtime's Python binding takes and gives torch tensors: importing torch is part of an empty process here (see
docs/adr/0075-one-runtime-a-worker.md). The binding itself is imported, not `executorch.runtime`, which would import
the exporter too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import torch
from executorch.extension.pybindings import _C as binding  # noqa: N811  # a module, whatever it looks like
from numpy.typing import NDArray

Array = NDArray[Any]
METHOD = "forward"

# Feeds are views of what came over a pipe; no method writes to its inputs.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class Model:
    """One loaded artifact. Its file names no inputs: a feed's order is their order."""

    def __init__(self, program: Any) -> None:
        self.program = program  # owns the bytes that the method reads
        self.method = program.load_method(METHOD)

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """One inference: copies of all outputs, in the file's order. Inputs are handed over without a copy."""
        outputs = self.method([torch.from_numpy(array) for array in feed.values()])
        return [output.numpy() for output in outputs]


def version() -> str:
    """Version of the runtime."""
    return metadata.version("executorch")


def load(path: str, threads: int) -> Model:
    """Load an artifact for `threads` threads."""
    torch.set_num_threads(threads)
    binding._unsafe_reset_threadpool(threads)  # noqa: SLF001  # safe before the first inference; there is no other way
    if binding._threadpool_get_thread_count() != threads:  # noqa: SLF001
        raise RuntimeError(f"the thread pool has {binding._threadpool_get_thread_count()} threads, not {threads}")  # noqa: SLF001
    return Model(binding._load_program(path))  # noqa: SLF001
