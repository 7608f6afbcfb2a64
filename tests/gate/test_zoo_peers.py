"""What stands beside a road: the files of other quantizers, or why there is none."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.zoo_peers import feeds, made


def test_a_tool_makes_a_file_or_says_why_not(tmp_path: Path) -> None:
    """Static quantization of a small net by its calibration data; without the data its last line is the row."""
    rng = np.random.default_rng(2)
    weights = [numpy_helper.from_array(rng.normal(size=(64, 64)).astype(np.float32), "w")]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in ("x", "state", "y")]
    nodes = [helper.make_node("Add", ["x", "state"], ["s"]), helper.make_node("MatMul", ["s", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", ports[:2], ports[2:], weights)
    source, calibration, out = (tmp_path / name for name in ("float.onnx", "calibration.npz", "out.onnx"))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source)

    failed = made("onnxruntime, static", source, calibration, out)
    assert failed["exit"] == 1
    assert "calibration.npz" in failed["failed"]
    assert not out.exists()

    np.savez(calibration, x=rng.normal(size=(8, 64)).astype(np.float32), labels=np.zeros(8, np.int64))
    assert [(feed["x"].shape, feed["state"].tolist()) for feed in feeds(source, calibration)][7] == (
        (1, 64),
        [[0] * 64],
    )
    found = made("onnxruntime, static", source, calibration, out)
    assert found["seconds"] > 0
    assert found["peak"] > 1 << 20
    stored = {tensor.data_type for tensor in onnx.load(out).graph.initializer if len(tensor.dims) == 2}
    assert stored == {TensorProto.INT8}
