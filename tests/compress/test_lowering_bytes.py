"""Lowering steps give the same bytes in every process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from weighbridge.compress.export.onnxruntime import write
from weighbridge.compress.techniques.pack import Pack, pack
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.compress.steps import Context, Graph
from weighbridge.data import Data, Split
from weighbridge.core.documents import TrainSection
from weighbridge.core.files import sha256_bytes

rng = np.random.default_rng(0)
book = rng.normal(size=8).astype(np.float32)
weights = {name: book[rng.integers(0, 8, shape)] * (rng.random(shape) < 0.5) for name, shape in
           {"stem": (8, 1, 3, 3), "left": (8, 8, 3, 3), "right": (8, 8, 3, 3), "classes": (8, 3)}.items()}
nodes = [
    helper.make_node("Conv", ["x", "stem"], ["a"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("Conv", ["b", "left"], ["c"], pads=[1, 1, 1, 1]),
    helper.make_node("Conv", ["b", "right"], ["d"], pads=[1, 1, 1, 1]),
    helper.make_node("Add", ["c", "d"], ["e"]), helper.make_node("GlobalAveragePool", ["e"], ["f"]),
    helper.make_node("Flatten", ["f"], ["g"]), helper.make_node("MatMul", ["g", "classes"], ["y"]),
]
graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, ["n", 1, 8, 8])],
    [helper.make_tensor_value_info("y", 1, ["n", 3])],
    [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()])
proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
split = Split({"x": rng.normal(size=(24, 1, 8, 8)).astype(np.float32)}, np.arange(24) % 3)
context = Context(Data(split, split, split), TrainSection(), 0, None, None, lambda *a, **k: None)
found = []
for scheme in ("fp16", "dynamic-int8", "static-int8", "weight-fp16", "weight-int8", "weight-int4"):
    found.append(write(lower(Quantize(scheme=scheme), Graph(proto), context)[0].proto))
operators = Quantize(scheme="static-int8", format="qoperator", calibration="entropy", keep_sensitive=1)
found.append(write(lower(operators, Graph(proto), context)[0].proto))
found.append(write(pack(Pack(), Graph(proto), context)[0].proto))
print(" ".join(sha256_bytes(data) for data in found))
"""


def made(seed: str = "1", tool: tuple[str, str, str] = ()) -> list[str]:
    """Digests of the files that one process makes, under an emulator where one is named."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [*tool, sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bytes_do_not_depend_on_the_process() -> None:
    """Names, orders and temporary folders leave no trace: other hash seeds give the same files."""
    first = made("1")
    assert len(first) == 8
    assert len(set(first)) == 8
    assert made("2") == first


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind; see tests/install-system-packages")
def test_bytes_do_not_depend_on_the_processor() -> None:
    """What lowering makes of one float model here, it makes on a processor with AVX2 alone, as valgrind shows it."""
    assert made(tool=("valgrind", "--tool=none", "--quiet")) == made()
