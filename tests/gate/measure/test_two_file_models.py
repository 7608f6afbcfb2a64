"""A model that names the digest of its weights' file is known by its own digest; one that does not, by both."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from weighbridge.core.documents.manifest import ArtifactFile
from weighbridge.core.errors import InputError
from weighbridge.core.files import sha256_file
from weighbridge.gate.measure.model_files import read_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file with its weight beside it, whose digest it names."""
    weight = onnx.numpy_helper.from_array(np.ones((40, 40), np.float32), "w")
    ports = [onnx.helper.make_tensor_value_info(name, 1, ["n", 40]) for name in "xy"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weight]
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    bare = onnx.load(path, load_external_data=False)
    bare.metadata_props.add(key="model.onnx.data", value=sha256_file(tmp_path / "model.onnx.data"))
    path.write_bytes(bare.SerializeToString())
    return path


def test_its_own_digest_stands_for_both(model: Path) -> None:
    """As the manifest and the registry have it; sizes are of both."""
    found = read_model(model, "candidate")
    beside = model.with_name("model.onnx.data")
    assert (found.digest, found.digests) == (sha256_file(model), (sha256_file(model), sha256_file(beside)))
    assert found.size == model.stat().st_size + beside.stat().st_size


def test_other_weights_are_refused(model: Path) -> None:
    """A file beside it with other bytes than it names is not weighed."""
    beside = model.with_name("model.onnx.data")
    beside.write_bytes(bytes(len(beside.read_bytes())))
    with pytest.raises(InputError, match="other bytes than model"):
        read_model(model, "candidate")


def test_a_manifest_sees_either_file_change(model: Path) -> None:
    """The gate compares both with the manifest before it judges."""
    beside = model.with_name("model.onnx.data")
    weights = {"path": beside.name, "digest": sha256_file(beside), "bytes": 1}
    artifact = ArtifactFile(path=model.name, digest=sha256_file(model), bytes=1, weights=weights)
    assert artifact.differing(model.parent) is None
    beside.write_bytes(b"other")
    assert artifact.differing(model.parent) == beside.name
