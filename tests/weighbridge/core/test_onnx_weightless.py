"""Copies of a model without its large weights, or with them beside it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from weighbridge.core.formats.onnx_file import counts, load_model, signature
from weighbridge.core.formats.onnx_weightless import beside, weightless, without

LARGE = 64


def model() -> onnx.ModelProto:
    """Two products: a large weight stored raw, and one stored as typed floats."""
    rng = np.random.default_rng(1)
    typed = rng.standard_normal((6, 20)).astype(np.float32)
    tensors = [
        numpy_helper.from_array(rng.standard_normal((20, 6)).astype(np.float32), "w"),
        helper.make_tensor("v", 1, typed.shape, typed.ravel().tolist()),
        numpy_helper.from_array(np.zeros(20, np.float16), "unused"),
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("MatMul", ["m", "v"], ["y"])]
    ports = [helper.make_tensor_value_info(name, 1, ["n", 20]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors, doc_string="said")
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10, producer_name="me")


def test_a_model_without_data_has_all_but_data() -> None:
    """Types, shapes, nodes, metadata and small tensors; parameters and MACs follow from them."""
    proto = model()
    bare = weightless(proto, LARGE)
    assert bare.ByteSize() < proto.ByteSize() / 2
    assert (signature(bare), counts(bare)) == (signature(proto), counts(proto))
    for tensor in proto.graph.initializer[:2]:
        for field in ("raw_data", "float_data"):
            tensor.ClearField(field)
    assert bare == proto


def test_weights_beside_a_model_are_the_same_model(tmp_path: Path) -> None:
    """Loaded again it is equal but for where the data lies, and the runtime answers the same to the bit."""
    proto, path = model(), tmp_path / "m.onnx"
    beside(proto, path, LARGE)
    assert {item.name for item in tmp_path.iterdir()} == {"m.onnx", "m.onnx.data"}
    assert load_model(path) == proto
    stored = onnx.load(str(path), load_external_data=False).graph.initializer
    assert [tensor.data_location for tensor in stored] == [1, 0, 0]
    x = np.random.default_rng(2).standard_normal((3, 20)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(given, options) for given in (str(path), proto.SerializeToString())]
    ours, theirs = (session.run(None, {"x": x})[0] for session in sessions)
    assert np.array_equal(ours, theirs)


def test_a_copy_can_leave_out_initializers() -> None:
    """By name; the rest is equal."""
    proto = model()
    bare = without(proto, {"v"})
    assert [tensor.name for tensor in bare.graph.initializer] == ["w", "unused"]
    del proto.graph.initializer[1]
    assert bare == proto
