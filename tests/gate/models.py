"""Tiny ONNX files and runtimes made in tests: a linear classifier, and adapters that misbehave on purpose."""

from __future__ import annotations

import hashlib
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from weighbridge.data import Split
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.staged_artifact import StagedArtifact

FEATURES, CLASSES = 4, 3
DTYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}


def weights(seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal((FEATURES, CLASSES)).astype(np.float32)


def linear(
    path: Path,
    matrix: NDArray[Any] | NDArray[np.float32] | None = None,
    *,
    batch: int | str = "n",
    name: str = "x",
    padding: int = 0,
    extra: list[Any] = (),
) -> Path:
    """`x` (n, 4) → `scores` (n, 3), with `padding` unused bytes and `extra` nodes between product and output."""
    matrix = weights() if matrix is None else matrix
    nodes = [helper.make_node("MatMul", [name, "w"], ["scores" if not extra else "raw"]), *extra]
    initializers = [numpy_helper.from_array(matrix, "w")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, matrix.shape[1]])],
        initializers,
    )
    return save(path, graph, padding)


def save(path: Path, graph: onnx.GraphProto, padding: int = 0, opset: int = 17) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model.doc_string = "." * padding
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def examples(count: int = 200, seed: int = 1, matrix: NDArray[Any] | None = None) -> Split:
    """Examples that the linear model of the same weights answers all rightly."""
    x = np.random.default_rng(seed).standard_normal((count, FEATURES)).astype(np.float32)
    return Split({"x": x}, (x @ (weights() if matrix is None else matrix)).argmax(axis=1))


def artifact(path: Path, name: str = "candidate", adapter: Path | None = None) -> StagedArtifact:
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return StagedArtifact(name, ((str(path), digest),), adapter or ADAPTERS["onnxruntime"])


def adapter(folder: Path, run: str, *, load: str = "pass", name: str = "adapter.py") -> Path:
    """A runtime in numpy alone whose `run(self, feed)` has the given body; `self.calls` counts."""
    text = f"""\
import itertools, os, signal, sys, time
import numpy as np

class Model:
    def __init__(self):
        self.calls = 0
    def run(self, feed):
        self.calls += 1
        x = next(iter(feed.values()))
{_indented(run, 8)}

def version():
    return "0"

def load(path, threads):
{_indented(load, 4)}
    return Model()
"""
    path = folder / name
    path.write_text(text)
    return path


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in dedent(text).strip().splitlines())


HONEST = "return [np.cumsum(x, axis=1)[:, :3]]"
