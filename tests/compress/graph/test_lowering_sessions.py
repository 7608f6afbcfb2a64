"""A model whose weights are mapped from a file answers as one that is held in memory."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from weighbridge.compress.graph import sessions
from weighbridge.data import Split


def test_mapped_weights_give_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, and the file is gone afterwards."""
    rng = np.random.default_rng(3)
    weight = numpy_helper.from_array(rng.standard_normal((256, 256)).astype(np.float32), "w")
    ports = [helper.make_tensor_value_info(name, 1, ["n", 256]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    split = Split({"x": rng.standard_normal((70, 256)).astype(np.float32)}, np.zeros(70, np.int64))
    held = sessions.run(proto, split, "here")
    opened = []
    true = sessions.beside  # type: ignore[attr-defined]
    monkeypatch.setattr(sessions, "beside", lambda proto, path: opened.append(path) or true(proto, path))
    monkeypatch.setattr(sessions, "MAPPED", 1000)
    mapped = sessions.run(proto, split, "here")
    assert np.array_equal(held[0], mapped[0])
    assert len(opened) == 1
    assert not opened[0].parent.exists()
