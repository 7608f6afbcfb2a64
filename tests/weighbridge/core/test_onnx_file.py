"""ONNX files: what loads, what is refused, what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from weighbridge.core.errors import InputError
from weighbridge.core.formats import onnx_file
from weighbridge.core.formats.onnx_strip import strip_metadata

FLOAT = TensorProto.FLOAT


def model(
    nodes: list[Any],
    weights: dict[str, NDArray[Any]],
    *,
    inputs: Sequence[tuple[str, list[Any]]] = (("x", ["n", 3]),),
    outputs: tuple[tuple[str, None], ...] = (("y", None),),
    opset: int = 21,
    extra: tuple[str] = (),
) -> onnx.ModelProto:
    """A model from nodes and a mapping of initializers."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), *[helper.make_opsetid(name, 1) for name in extra]]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def linear(rows: int = 3, columns: int = 2) -> onnx.ModelProto:
    """A matrix product of x with W."""
    weight = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    return model([helper.make_node("MatMul", ["x", "W"], ["y"])], {"W": weight}, inputs=(("x", ["n", rows]),))


def save(path: Path, proto: onnx.ModelProto) -> Path:
    """Write a model and give its path."""
    path.write_bytes(proto.SerializeToString())
    return path


def external(folder: Path, location: str, **entries: int) -> Path:
    """A model whose weight lies in another file."""
    proto = linear()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return save(folder / "m.onnx", proto)


def test_loads_what_was_saved(tmp_path: Path) -> None:
    """A sound file loads as the model that it holds."""
    assert onnx_file.load_model(save(tmp_path / "m.onnx", linear())) == linear()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"not a model at all", "is not"),
        (linear().SerializeToString()[:-9], "is not a readable ONNX model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "is not an ONNX model"),
    ],
)
def test_refuses_what_is_no_model(tmp_path: Path, data: bytes, message: str) -> None:
    """Empty, foreign and truncated files are one error that names the file."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        onnx_file.load_model(path)
    assert str(path) in str(caught.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    """A path without a file is one clear error."""
    with pytest.raises(InputError, match="cannot be read"):
        onnx_file.load_model(tmp_path / "none.onnx")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200))
def test_every_truncation_is_refused_or_sound(cut: int) -> None:
    """However short a file is cut, it loads as a whole model or is an InputError, nothing else."""
    data = linear().SerializeToString()
    try:
        proto = onnx_file.parse_model(data[: -min(cut, len(data) - 1)], "cut.onnx")
    except InputError:
        return
    assert proto.graph.node
    assert onnx_file.signature(proto).outputs


def test_refuses_inconsistent_graphs() -> None:
    """Values that nothing writes, and values written twice, are named."""
    dangling = model([helper.make_node("MatMul", ["x", "V"], ["y"])], {})
    with pytest.raises(InputError, match="reads 'V', which nothing"):
        onnx_file.parse_model(dangling.SerializeToString(), "m")
    twice = model([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["x"], ["y"])], {})
    with pytest.raises(InputError, match="writes 'y', which is already there"):
        onnx_file.parse_model(twice.SerializeToString(), "m")
    silent = model([helper.make_node("Relu", ["x"], ["z"])], {})
    with pytest.raises(InputError, match="output 'y' is written by no node"):
        onnx_file.parse_model(silent.SerializeToString(), "m")


def test_refuses_tensors_of_the_wrong_length() -> None:
    """A tensor whose bytes do not fit its shape is named; a forged shape does not wrap around."""
    for dims in ([3, 3], [2**40, 2**40]):
        proto = linear()
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)
        with pytest.raises(InputError, match="tensor W has 24 bytes"):
            onnx_file.parse_model(proto.SerializeToString(), "m")


def test_refuses_unknown_and_negative_tensors() -> None:
    """A type that ONNX does not have and a negative size are refused."""
    proto = linear()
    proto.graph.initializer[0].data_type = 9999
    with pytest.raises(InputError, match="unknown type 9999"):
        onnx_file.parse_model(proto.SerializeToString(), "m")
    proto = linear()
    proto.graph.initializer[0].dims[0] = -1
    with pytest.raises(InputError, match="negative size"):
        onnx_file.parse_model(proto.SerializeToString(), "m")


def test_external_data_inside_the_folder_is_inlined(tmp_path: Path) -> None:
    """External data beside the model becomes part of it."""
    weight = linear().graph.initializer[0].raw_data
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(b"1234" + weight)
    path = external(tmp_path, "sub/w.bin", offset=4, length=len(weight))
    assert onnx_file.load_model(path).graph.initializer[0].raw_data == weight


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    """Upward, absolute, empty and linked locations are refused; so is a file that is missing."""
    inside = tmp_path / "inside"
    inside.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(24))
    (inside / "link.bin").symlink_to(secret)
    (inside / "folder").symlink_to(tmp_path)
    for location in ("../secret.bin", str(secret), "", "link.bin", "folder/secret.bin", "..\\secret.bin"):
        with pytest.raises(InputError, match="outside the model's folder"):
            onnx_file.load_model(external(inside, location))
    with pytest.raises(InputError, match="external data not found"):
        onnx_file.load_model(external(inside, "none.bin"))


def test_external_data_of_the_wrong_extent_is_refused(tmp_path: Path) -> None:
    """Offsets and lengths beyond the file, wrong lengths and forged numbers are refused."""
    (tmp_path / "w.bin").write_bytes(bytes(24))
    for entries, message in (
        ({"offset": 8}, "ends beyond the end"),
        ({"length": 20}, "needs 24"),
        ({"offset": "-4"}, "not a number of bytes"),
        ({"length": "x"}, "not a number of bytes"),
    ):
        with pytest.raises(InputError, match=message):
            onnx_file.load_model(external(tmp_path, "w.bin", **entries))


def test_bytes_that_are_given_must_be_complete(tmp_path: Path) -> None:
    """A model in memory cannot refer to other files."""
    path = external(tmp_path, "w.bin")
    with pytest.raises(InputError, match="keeps its data in another file"):
        onnx_file.parse_model(path.read_bytes(), "m")


def test_signature_leaves_initializers_out() -> None:
    """Old files list weights among the inputs; callers do not feed them."""
    proto = linear()
    proto.graph.input.append(helper.make_tensor_value_info("W", FLOAT, [3, 2]))
    port = onnx_file.Port("x", "float32", ("n", 3))
    assert onnx_file.signature(proto) == onnx_file.Signature((port,), (onnx_file.Port("y", "float32", ("...",)),))


def test_signature_names_types_and_open_sizes() -> None:
    """Open sizes are None, types are numpy's names."""
    proto = linear()
    proto.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    found = onnx_file.signature(proto)
    assert found.inputs[0] == onnx_file.Port("x", "int64", (None, 3))
    assert found.outputs[0].dtype == "bfloat16"


def test_open_sizes_of_other_exporters() -> None:
    """Paddle writes open sizes as -1 and "?": they are open, and the batch counts as one example."""
    proto = linear()
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_value = -1
    assert onnx_file.signature(proto).inputs[0].shape == (None, 3)
    assert onnx_file.counts(proto) == onnx_file.Counts(6, 6, ())
    dims[1].dim_param = "?"
    assert onnx_file.signature(proto).inputs[0].shape == (None, None)


def test_metadata_is_stripped() -> None:
    """Doc strings, producers, metadata and inner shapes go; what computes stays."""
    proto = linear()
    plain = proto.SerializeToString()
    proto.producer_version = "1.2.3"
    proto.doc_string = "secret/path"
    proto.metadata_props.add(key="trace", value="/somewhere/file.py")
    proto.graph.node[0].metadata_props.add(key="trace", value="/somewhere/file.py")
    proto.graph.node[0].doc_string = "doc"
    proto.graph.input[0].doc_string = "doc"
    proto.graph.initializer[0].doc_string = "doc"
    proto.graph.value_info.append(helper.make_tensor_value_info("t", FLOAT, [1]))
    assert onnx_file.serialize(strip_metadata(proto)) == plain


def test_counts_a_convolution_and_a_linear_layer() -> None:
    """Conv 2→4 of 3x3 on 5x5 with padding, then Gemm 100→10: known numbers."""
    weights = {
        "c": np.zeros((4, 2, 3, 3), np.float32),
        "b": np.zeros(4, np.float32),
        "s": np.array([0, -1]),
        "g": np.zeros((10, 100), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "c", "b"], ["1"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["1", "s"], ["2"]),
        helper.make_node("Gemm", ["2", "g"], ["y"], transB=1),
    ]
    found = onnx_file.counts(model(nodes, weights, inputs=(("x", ["n", 2, 5, 5]),)))
    assert found == onnx_file.Counts(params=72 + 4 + 1000, macs=4 * 25 * 18 + 1000, unknown=())


def test_counts_quantized_forms_like_the_float_one() -> None:
    """Q/DQ, an integer matrix product and 4-bit blocks count the parameters and MACs of the dense layer."""
    one, zero = np.array(0.1, np.float32), np.array(0, np.uint8)
    qdq = model(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("DequantizeLinear", ["w", "s"], ["v"]),
            helper.make_node("MatMul", ["d", "v"], ["y"]),
        ],
        {"s": one, "z": zero, "w": np.ones((3, 2), np.int8)},
    )
    integer = model(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "s", "i", "s", "z"], ["p"]),
            helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
        ],
        {"s": one, "z": zero, "i": np.array(0, np.int8), "w": np.ones((3, 2), np.int8)},
    )
    blocks = model(
        [
            helper.make_node(
                "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=3, N=2, bits=4, block_size=16
            )
        ],
        {"w": np.zeros((2, 1, 8), np.uint8), "s": np.ones(2, np.float32)},
        extra=("com.microsoft",),
    )
    dense = onnx_file.counts(linear())
    assert dense == onnx_file.Counts(6, 6, ())
    assert onnx_file.counts(qdq) == dense
    assert onnx_file.counts(integer) == dense
    assert onnx_file.counts(blocks).macs == dense.macs
    assert onnx_file.counts(blocks).params == dense.params


def test_counts_what_decodes_itself_as_its_dense_form() -> None:
    """A codebook behind indices counts as the dense weight; decoding costs no MACs."""
    proto = model(
        [helper.make_node("Gather", ["book", "index"], ["W"]), helper.make_node("MatMul", ["x", "W"], ["y"])],
        {"book": np.array([0, 1.5], np.float32), "index": np.zeros((3, 2), np.int32)},
    )
    assert onnx_file.counts(proto) == onnx_file.Counts(6, 6, ())


def test_counts_name_what_they_cannot_know() -> None:
    """Products of unknown size and hidden bodies are named, not guessed."""
    odd = model([helper.make_node("Exotic", ["x"], ["y"], domain="my.own")], {}, extra=("my.own",))
    assert onnx_file.counts(odd).unknown == ("Exotic",)
    shapeless = model(
        [helper.make_node("Exotic", ["x"], ["t"], domain="my.own"), helper.make_node("MatMul", ["t", "W"], ["y"])],
        {"W": np.ones((3, 2), np.float32)},
        extra=("my.own",),
    )
    assert onnx_file.counts(shapeless).unknown == ("Exotic", "MatMul")
    assert onnx_file.counts(shapeless).params == 6


def test_counts_a_recurrent_layer() -> None:
    """GRU of 4 inputs and 5 units over 7 steps: 3·5·(4+5) MACs a step."""
    weights = {"w": np.zeros((1, 15, 4), np.float32), "r": np.zeros((1, 15, 5), np.float32)}
    proto = model([helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=5)], weights, inputs=(("x", [7, 1, 4]),))
    assert onnx_file.counts(proto) == onnx_file.Counts(params=135, macs=7 * 135, unknown=())
