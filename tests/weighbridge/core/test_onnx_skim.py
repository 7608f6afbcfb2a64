"""A model without its large weights has the same facts, and every check of a whole one."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import counts, load_model, signature
from weighbridge.core.formats.onnx_skim import skim_model

LARGE = 64
"""Bytes from which on a weight of these tests is passed over."""


def model(path: Path, *, outside: bool = False, rows: int = 20) -> Path:
    """A product of a large weight, reshaped by a small one."""
    weight = numpy_helper.from_array(np.ones((rows, 6), np.float32), "w")
    if outside:
        onnx.external_data_helper.set_external_data(weight, "w.bin")
    tensors = [weight, numpy_helper.from_array(np.array([-1, 3], np.int64), "shape")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Reshape", ["m", "shape"], ["y"])]
    ports = [helper.make_tensor_value_info(*port) for port in (("x", 1, ["n", rows]), ("y", 1, ["k", 3]))]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    if outside:
        (path.parent / "w.bin").write_bytes(weight.raw_data)
        proto.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("outside", [False, True])
def test_a_skimmed_model_has_the_facts_of_the_whole(tmp_path: Path, outside: bool) -> None:
    """Signature, parameters and multiply-accumulates; the large weight has no bytes, the small one has its own."""
    path = model(tmp_path / "m.onnx", outside=outside)
    found, names = skim_model(path, LARGE)
    whole = load_model(path)
    assert signature(found) == signature(whole)
    assert counts(found) == counts(whole)
    assert [tensor.raw_data for tensor in found.graph.initializer] == [b"", whole.graph.initializer[1].raw_data]
    assert names == (("w.bin",) if outside else ())


def test_a_large_weight_is_never_in_memory(tmp_path: Path) -> None:
    """Peak of what Python and its libraries allocate: a small part of the file's 40 MB."""
    path = model(tmp_path / "m.onnx", rows=1_700_000)
    tracemalloc.start()
    skim_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 20


def test_external_data_may_be_larger_than_one_message(tmp_path: Path) -> None:
    """A sparse file of 3 GB stands for it; the whole cannot be loaded."""
    path = _declared(tmp_path)
    found, names = skim_model(path)
    assert counts(found).params == 800_000_000
    assert names == ("w.bin",)
    with pytest.raises(InputError, match="over 2147483647 bytes"):
        load_model(path)


def _declared(folder: Path) -> Path:
    """A model whose weight of 3.2 GB is a hole in a file."""
    path = model(folder / "m.onnx", outside=True)
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.initializer[0].dims[:] = [20, 40_000_000]
    path.write_bytes(proto.SerializeToString())
    with (folder / "w.bin").open("wb") as file:
        file.truncate(4 * 20 * 40_000_000)
    return path


def _length(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[:] = [20, 7]


def _kind(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].data_type = 99


def _negative(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[:] = [-20, -6]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_length, "tensor w has 480 bytes; its type and shape need 560"),
        (_kind, "unknown type 99"),
        (_negative, "negative size"),
    ],
)
def test_a_weight_that_is_passed_over_is_checked(
    tmp_path: Path, change: Callable[[onnx.ModelProto], object], said: str
) -> None:
    """Its length by type and shape, as of every other."""
    path = model(tmp_path / "m.onnx")
    proto = onnx.load(str(path))
    change(proto)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match=said):
        skim_model(path, LARGE)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "none.bin"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    """Also where it would be passed over."""
    path = model(tmp_path / "in" / "m.onnx", outside=True)
    (tmp_path / "w.bin").write_bytes(bytes(480))
    proto = onnx.load(str(path), load_external_data=False)
    del proto.graph.initializer[0].external_data[:]
    proto.graph.initializer[0].external_data.add(key="location", value=location)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match=r"outside the model's folder|not found"):
        skim_model(path, LARGE)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """Nothing can be mapped of it."""
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        skim_model(tmp_path / "m.onnx")


@given(st.data())
def test_damaged_bytes_are_one_error_or_the_same_model(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut anywhere, or with any byte changed: refused alike, or with the same facts."""
    path = model(tmp_path_factory.mktemp("damaged") / "m.onnx")
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        whole = load_model(path)
    except InputError:
        with pytest.raises(InputError):
            skim_model(path, LARGE)
        return
    found, _ = skim_model(path, LARGE)
    assert signature(found) == signature(whole)
    assert [list(tensor.dims) for tensor in found.graph.initializer] == [
        list(tensor.dims) for tensor in whole.graph.initializer
    ]
