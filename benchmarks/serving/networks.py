"""Models of a known cost, made here with random weights, and a registry that has them on its channels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.registry import project as made
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote

SIDE = 32
CLASSES = 10


def residual_network(generation: int, blocks: int = 3) -> bytes:
    """ResNet-20 for images of 32 by 32 (He et al. 2016, section 4.2; 41 million multiplications), batch norm folded.

    Weights are random. The bias of the last layer says which generation it is: its class always wins.
    """
    random = np.random.default_rng(7)
    nodes: list[Any] = []
    weights: list[Any] = []

    def convolution(source: str, inside: int, outside: int, stride: int, *, relu: bool = True) -> str:
        name = f"c{len(nodes)}"
        kernel = random.normal(0, (2 / (9 * inside)) ** 0.5, (outside, inside, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"{name}.w"))
        nodes.append(helper.make_node("Conv", [source, f"{name}.w"], [name], pads=[1] * 4, strides=[stride] * 2))
        return rectified(name) if relu else name

    def rectified(source: str) -> str:
        nodes.append(helper.make_node("Relu", [source], [f"{source}.r"]))
        return f"{source}.r"

    at, inside = convolution("image", 3, 16, 1), 16
    for outside in (16, 32, 64):
        for block in range(blocks):
            stride = 2 if block == 0 and outside != inside else 1
            skip = at if stride == 1 else convolution(at, inside, outside, 2, relu=False)
            branch = convolution(convolution(at, inside, outside, stride), outside, outside, 1, relu=False)
            nodes.append(helper.make_node("Add", [skip, branch], [f"{branch}.a"]))
            at, inside = rectified(f"{branch}.a"), outside
    bias = np.where(np.arange(CLASSES) == generation % CLASSES, 1e4, 0).astype(np.float32)
    head = random.normal(0, 0.1, (64, CLASSES)).astype(np.float32)
    weights += [numpy_helper.from_array(head, "head"), numpy_helper.from_array(bias, "bias")]
    nodes += [
        helper.make_node("GlobalAveragePool", [at], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head", "bias"], ["scores"]),
    ]
    return _model(nodes, weights, ["n", 3, SIDE, SIDE])


def tiny_network(generation: int) -> bytes:
    """One small matrix; its answer says which generation it is."""
    bias = np.where(np.arange(CLASSES) == generation % CLASSES, 1e4, 0).astype(np.float32)
    weights = [
        numpy_helper.from_array(np.zeros((4, CLASSES), np.float32), "head"),
        numpy_helper.from_array(bias, "bias"),
    ]
    return _model([helper.make_node("Gemm", ["image", "head", "bias"], ["scores"])], weights, ["n", 4])


def _model(nodes: list[Any], weights: list[Any], shape: list[Any]) -> bytes:
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    made_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = made_model.SerializeToString()
    return data


def registry_of(root: Path, versions: list[bytes]) -> dict[str, str]:
    """A registry whose versions v1, v2 … have these bytes; v1 is stable. Version → digest."""
    made.make_repository(root)
    found = {}
    for number, data in enumerate(versions, 1):
        with mock.patch.object(made, "candidate_bytes", lambda *_, data=data, **__: data):
            made.write_run(root, number, budgets=[{"metric": "size.bytes", "max": "2MB"}])
            made.commit_all(root)
            promote(root, PromotionRequest("int8", channel="stable" if number == 1 else "none"))
        found[f"v{number}"] = sha256_bytes(data)
    return found


def session_of(data: bytes) -> Any:
    """The runtime as the server uses it: one thread that does not spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def bare_rate(data: bytes, rows: int, seconds: float) -> float:
    """Examples a second through the runtime without any server, `rows` at once."""
    session, feed = session_of(data), {"image": images(rows)}
    for _ in range(3):
        session.run(None, feed)
    count, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        session.run(None, feed)
        count += rows
    return count / spent


def images(rows: int) -> Any:
    """Examples for `residual_network`."""
    return np.random.default_rng(3).normal(0, 1, (rows, 3, SIDE, SIDE)).astype(np.float32)
