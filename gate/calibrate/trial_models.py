"""ONNX models with a known cost, for trials of the gate itself: a chain of equal blocks.

`n` blocks against `m` blocks is a true slow-down of almost exactly n / m, by real operators, without a pause or a spin.
Blocks beyond the first forty hand on what they get, at full price, so that slower copies answer alike.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Bound = Literal["cache", "memory"]

BLOCKS = 40
"""Blocks of a trial's baseline: one more is +2.5 %, two are +5 %."""
CLASSES = 10
OPSET = 17
HEAD_SEED = 1
CHANNELS, SIDE = 8, 8
"""Of a cache-resident block: a 3x3 convolution of 8 channels over 8x8, 2.3 kB of weights."""
WIDTH = 724
"""Of a memory-bound block: a square matrix of 2.1 MB; forty of them are beyond most last-level caches."""


def chain(blocks: int, bound: Bound = "cache", *, seed: int = 0, ballast: int = 0) -> bytes:
    """A model `input` → `scores` (n, 10) of `blocks` equal blocks, as the bytes of an ONNX file.

    `ballast` bytes of weights are looked up by the answer and added with factor zero: memory without time.
    """
    rng = np.random.default_rng(seed)
    nodes, weights = _convolutions(blocks, rng) if bound == "cache" else _products(blocks, rng)
    if ballast:
        nodes, weights = _loaded(nodes, weights, ballast)
    shape = ["n", CHANNELS, SIDE, SIDE] if bound == "cache" else ["n", WIDTH]
    graph = helper.make_graph(
        nodes,
        "trial",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def examples(count: int, bound: Bound = "cache", *, seed: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Inputs for `chain`."""
    shape = (CHANNELS, SIDE, SIDE) if bound == "cache" else (WIDTH,)
    return np.random.default_rng(seed).standard_normal((count, *shape), dtype=np.float32)


def _convolutions(blocks: int, rng: np.random.Generator) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes, weights = [], []
    for index in range(blocks):
        # He's scale: the signal neither dies out nor grows without bound over forty layers.
        kernel = rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) * np.sqrt(2 / (9 * CHANNELS))
        if index >= BLOCKS:
            kernel = np.zeros_like(kernel)
            kernel[range(CHANNELS), range(CHANNELS), 1, 1] = 1
        weights.append(_tensor(f"w{index}", kernel))
        source = "input" if index == 0 else f"r{index - 1}"
        nodes.append(helper.make_node("Conv", [source, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
    weights.append(_tensor("head", np.random.default_rng(HEAD_SEED).standard_normal((CHANNELS, CLASSES))))
    nodes.append(helper.make_node("GlobalAveragePool", [f"r{blocks - 1}"], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["scores"]))
    return nodes, weights


def _products(blocks: int, rng: np.random.Generator) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes, weights = [], []
    for index in range(blocks):
        matrix = rng.standard_normal((WIDTH, WIDTH)) * np.sqrt(2 / WIDTH)
        weights.append(_tensor(f"w{index}", matrix if index < BLOCKS else np.eye(WIDTH)))
        source = "input" if index == 0 else f"r{index - 1}"
        nodes.append(helper.make_node("MatMul", [source, f"w{index}"], [f"p{index}"]))
        nodes.append(helper.make_node("Relu", [f"p{index}"], [f"r{index}"]))
    weights.append(_tensor("head", np.random.default_rng(HEAD_SEED).standard_normal((WIDTH, CLASSES)) / np.sqrt(WIDTH)))
    nodes.append(helper.make_node("MatMul", [f"r{blocks - 1}", "head"], ["scores"]))
    return nodes, weights


def _loaded(
    nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], ballast: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes[-1].output[0] = "light"
    weights = [
        *weights,
        _tensor("table", np.ones((max(ballast // 4 // CLASSES, CLASSES), CLASSES))),
        _tensor("nothing", np.zeros(1)),
    ]
    more = [
        helper.make_node("ArgMax", ["light"], ["row"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "row"], ["looked-up"]),
        helper.make_node("Mul", ["looked-up", "nothing"], ["weightless"]),
        helper.make_node("Add", ["light", "weightless"], ["scores"]),
    ]
    return [*nodes, *more], weights


def _tensor(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> onnx.TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)
