"""A matrix that an embedding shares with the head is in the file once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from weighbridge.compress.export.onnxruntime import export, run, write
from weighbridge.compress.graph.stored_once import stored_once
from weighbridge.compress.steps import Context
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.core.documents import TrainSection
from weighbridge.core.formats.onnx_file import parse_model
from weighbridge.data import Data, Split

WORDS, WIDTH = 300, 16


class Tied(nn.Module):
    """Words to the scores of words, by one matrix."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.middle = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, 4) → (n, 4, words)."""
        found: Tensor = self.head(self.middle(self.words(tokens)))
        return found


TOKENS = np.random.default_rng(1).integers(0, WORDS, (64, 4))
SPLIT = Split({"tokens": TOKENS}, TOKENS)


def parsed(data: Any) -> ModelProto:
    assert isinstance(data, bytes)
    return parse_model(data, "test")


def test_a_tied_matrix_is_stored_once_in_floats_and_in_eight_bits() -> None:
    """Torch's exporter writes it twice; the answers of the file are those of the module."""
    graph = export(Tied(), SPLIT)
    assert sum(np.prod(tensor.dims) == WORDS * WIDTH for tensor in graph.proto.graph.initializer) == 2
    data = write(graph.proto)
    assert len(parsed(data).SerializeToString()) < 4 * 1.2 * WORDS * WIDTH
    wanted = Tied()(torch.from_numpy(TOKENS)).detach().numpy()
    assert np.allclose(run(data, {"tokens": TOKENS})[0], wanted, atol=1e-5)
    context = Context(
        data=Data(train=SPLIT, test=SPLIT, calibration=SPLIT),
        train=TrainSection(),
        seed=0,
        baseline=lambda: pytest.fail("nothing is trained"),
        teacher=lambda _: pytest.fail("nothing is trained"),
        progress=lambda *_, **__: None,
    )
    small, _ = lower(Quantize(scheme="weight-int8", agreement=0), graph, context)
    eight = write(small.proto)
    kinds = [tensor.data_type for tensor in parsed(eight).graph.initializer if np.prod(tensor.dims) == WORDS * WIDTH]
    assert kinds == [TensorProto.INT8]
    assert np.abs(run(eight, {"tokens": TOKENS})[0] - wanted).max() < 0.05 * np.abs(wanted).max()


def test_equal_matrices_are_stored_once_and_others_stay() -> None:
    """Also where a branch reads them; ports, small matrices and those that only look alike are left as they are."""
    matrix = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    arrays = {
        "a": matrix,
        "b": matrix.copy(),
        "c": matrix.T.copy(),
        "d": -matrix,
        "e": matrix[:4, :4],
        "f": matrix[:4, :4],
    }
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    scalar = helper.make_tensor_value_info("yes", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "b"], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("If", ["yes"], ["first"], then_branch=body, else_branch=body),
        *(helper.make_node("MatMul", ["x", name], [f"x{name}"]) for name in "acd"),
        helper.make_node("MatMul", ["e", "f"], ["small"]),
        helper.make_node("Sum", ["first", "xa", "xc", "xd"], ["y"]),
    ]
    x, y, small = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 40]), ("y", ["n", 40]), ("small", [4, 4]))
    )
    graph = helper.make_graph(nodes, "g", [scalar, x], [y, small], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = stored_once(proto)
    assert sorted(tensor.name for tensor in found.graph.initializer) == ["a", "d", "e", "f"]
    feeds = {"yes": np.array([True]), "x": np.ones((1, 40), np.float32)}
    assert np.allclose(*(run(message.SerializeToString(), feeds)[0] for message in (proto, found)), atol=1e-5)
    assert stored_once(found) is found
