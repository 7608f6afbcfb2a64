from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.gate.models import linear
from weighbridge.core.documents import Absent, Exact
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.core.files import sha256_file
from weighbridge.gate.measure.model_files import read_model
from weighbridge.gate.measure.sizes import facts


def test_sizes_are_those_of_the_file(tmp_path: Path) -> None:
    """Stored and compressed bytes, parameters and multiply-accumulates of both."""
    baseline = read_model(linear(tmp_path / "a.onnx"), "baseline")
    candidate = read_model(linear(tmp_path / "b.onnx", padding=5000), "candidate")
    found = facts(candidate, baseline)
    size = (tmp_path / "b.onnx").stat().st_size
    assert found["size.bytes"] == Exact(candidate=size, reference=(tmp_path / "a.onnx").stat().st_size)
    assert found["size.gzip"].candidate < size
    assert found["params"] == Exact(candidate=12, reference=12)
    assert found["macs"] == Exact(candidate=12, reference=12)
    assert candidate.digest == sha256_file(tmp_path / "b.onnx")
    assert candidate.weighed().bytes == size


def external(folder: Path, location: str = "weights.bin") -> Path:
    """The linear model with its weights in a second file."""
    path = linear(folder / "m.onnx")
    model = onnx.load(str(path))
    values = numpy_helper.to_array(model.graph.initializer[0])
    tensor = model.graph.initializer[0]
    (folder / "weights.bin").write_bytes(values.tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file_count(tmp_path: Path) -> None:
    """Size and digest cover both files; staging copies both."""
    path = external(tmp_path)
    model = read_model(path, "candidate")
    assert model.size == path.stat().st_size + 48
    before = model.digest
    (tmp_path / "weights.bin").write_bytes(np.ones(12, np.float32).tobytes())
    model = read_model(path, "candidate")
    assert model.digest != before
    staged = model.stage(tmp_path / "staged")
    assert [file.rpartition("/")[2] for file, _ in staged] == ["model.onnx", "weights.bin"]


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/../../x"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    """A hostile file names no other file of the machine."""
    path = external(tmp_path / "inner" if (tmp_path / "inner").mkdir() is None else tmp_path, location)
    with pytest.raises(InputError):
        read_model(path, "candidate")


def test_macs_that_cannot_be_computed_are_absent(tmp_path: Path) -> None:
    """An operator that nobody can count leaves no number behind."""
    node = onnx.helper.make_node("MyConv", ["raw"], ["scores"], domain="com.example")
    path = linear(tmp_path / "m.onnx", extra=[node])
    model = onnx.load(str(path))
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    path.write_bytes(model.SerializeToString())
    model = read_model(path, "candidate")
    found = facts(model, model)
    if model.counts.unknown:
        assert isinstance(found["macs"], Absent)
        assert "MyConv" in found["macs"].reason
    else:
        pytest.fail("an unknown operator was counted")


@pytest.mark.parametrize("swapped", ["m.onnx", "weights.bin"])
def test_a_file_replaced_after_it_was_read_is_not_staged(tmp_path: Path, swapped: str) -> None:
    """What would run are other bytes than those that the verdict would name."""
    model = read_model(external(tmp_path), "candidate")
    model.check_unchanged()
    (tmp_path / swapped).write_bytes((tmp_path / swapped).read_bytes() + b"x")
    with pytest.raises(MeasurementError, match=f"{swapped} was replaced while it was weighed"):
        model.stage(tmp_path / "staged")
    with pytest.raises(MeasurementError, match=f"{swapped} was replaced while it was weighed"):
        model.check_unchanged()
    (tmp_path / swapped).unlink()
    with pytest.raises(MeasurementError, match=f"{swapped} was removed while it was weighed"):
        model.check_unchanged()
