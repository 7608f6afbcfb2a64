"""The runtimes behind one interface, on real files of both targets."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.registry import project as made
from tests.serve import world
from weighbridge.core.errors import InputError
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.serve.models.fleet import warm_up
from weighbridge.serve.models.runtimes import load

FIXTURES = Path(__file__).parents[1] / "fixtures" / "targets"


@pytest.mark.parametrize("name", ["net.tflite", "two.tflite"])
def test_a_litert_file_is_described_and_answers_as_its_interpreter(name: str) -> None:
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    data = (FIXTURES / name).read_bytes()
    loaded = load(data, "litert", 1)
    warm_up(loaded)
    generator = np.random.default_rng(3)
    feed = {spec.name: generator.random(spec.shape).astype(np.float32) for spec in loaded.inputs}
    answers = loaded.run(feed)
    assert [list(answer.shape) for answer in answers] == [list(spec.shape) for spec in loaded.outputs]
    assert not loaded.batches
    reference = interpreters.Interpreter(model_content=data)
    signatures = reference.get_signature_list()
    if signatures:
        said = reference.get_signature_runner(next(iter(signatures)))(**feed)
        for spec, answer in zip(loaded.outputs, answers, strict=True):
            assert np.allclose(said[spec.name], answer, atol=1e-6)


def test_an_onnx_file_with_a_free_first_dimension_runs_batches() -> None:
    loaded = load(world.model(), "onnxruntime", 1)
    assert loaded.batches
    assert loaded.inputs[0].shape == (-1, 4)
    assert loaded.run({"x": np.eye(4, dtype=np.float32)})[0].argmax(1).tolist() == [1, 2, 0, 1]


def test_external_data_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.bin").write_bytes(np.zeros(12, np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    weights = TensorProto(name="w", dims=[4, 3], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="/etc/hostname")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(Exception, match=r"(?i)external|path"):
        load(made.SerializeToString(), "onnxruntime", 1)


def test_other_targets_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="executorch is not served here"):
        load(b"", "executorch", 1)


def test_a_litert_version_is_served_from_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From promotion to an answer over the protocol, as its interpreter gives it."""
    pytest.importorskip("ai_edge_litert.interpreter")
    data = (FIXTURES / "net.tflite").read_bytes()
    monkeypatch.setattr(made, "candidate_bytes", lambda *_, **__: data)
    root = made.make_repository(tmp_path / "registry")
    made.write_run(root, targets=("litert",))
    made.commit_all(root)
    promote(root, PromotionRequest("int8"))
    client = world.Client(world.server(root, tmp_path / "cache").start())
    said = json.loads(client("GET", f"/v2/models/{world.MODEL}")[2])
    assert said["platform"] == "tensorflow_lite"
    (spec,) = said["inputs"]
    feed = np.random.default_rng(3).random(spec["shape"]).astype(np.float32)
    status, answer = client.infer({"inputs": [{**spec, "data": feed.ravel().tolist()}]})
    assert (status, answer["model_version"]) == (200, "v1")
    expected = load(data, "litert", 1).run({spec["name"]: feed})
    for output, array in zip(answer["outputs"], expected, strict=True):
        assert output["shape"] == list(array.shape)
        assert np.allclose(output["data"], array.ravel(), atol=1e-6)
