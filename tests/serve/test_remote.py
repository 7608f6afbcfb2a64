"""gRPC: the published client, the same refusals as over HTTP, limits, draining."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.serve.test_server import Process, free_port
from tests.serve.world import MODEL, one_hot
from weighbridge.serve.protocol import messages


@pytest.fixture
def served(registry: Path, tmp_path: Path) -> Iterator[tuple[Process, Any]]:
    """A server, and the published client of it."""
    from tritonclient.grpc import InferenceServerClient

    port = free_port()
    server = Process(registry, tmp_path / "cache", "--grpc-port", str(port), "--max-body", "100KiB")
    client = InferenceServerClient(f"127.0.0.1:{port}")
    yield server, client
    client.close()
    server.stop()


def _tensor(
    rows: list[list[float]] | NDArray[Any],
    datatype: str = "FP32",
    dtype: type[np.float64] | type[np.float32] = np.float32,
    name: str = "x",
) -> Any:
    from tritonclient.grpc import InferInput

    array = np.array(rows, dtype)
    return InferInput(name, array.shape, datatype).set_data_from_numpy(array)


def test_the_published_client_is_answered(served: tuple[Process, Any]) -> None:
    from tritonclient.grpc import InferRequestedOutput

    _, client = served
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "v2")
    assert client.get_server_metadata().name == "weighbridge"
    described = client.get_model_metadata(MODEL)
    assert [list(described.inputs[0].shape), described.outputs[0].datatype] == [[-1, 4], "FP32"]
    for outputs in (None, [InferRequestedOutput("scores")]):
        answer = client.infer(MODEL, [_tensor([one_hot(0), one_hot(1)])], outputs=outputs, request_id="a")
        assert answer.as_numpy("scores").argmax(1).tolist() == [2, 0]
        assert [answer.get_response().id, answer.get_response().model_version] == ["a", "v2"]


def test_tensors_that_are_not_raw_are_read_too(served: tuple[Process, Any]) -> None:
    from tritonclient.grpc import service_pb2

    _, client = served
    asked = service_pb2.ModelInferRequest(model_name=MODEL)
    tensor = asked.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    tensor.contents.fp32_contents.extend(one_hot(1))
    answer = client._client_stub.ModelInfer(asked)
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).argmax() == 0


def test_what_cannot_be_answered_is_refused_with_its_code(served: tuple[Process, Any]) -> None:
    from tritonclient.grpc import InferenceServerException, InferRequestedOutput

    server, client = served
    good = _tensor([one_hot()])
    for said, code, ask in (
        ("no model 'other'", "NOT_FOUND", lambda: client.infer("other", [good])),
        ("is not served", "NOT_FOUND", lambda: client.infer(MODEL, [good], model_version="v9")),
        ("no input 'y'", "INVALID", lambda: client.infer(MODEL, [_tensor([one_hot()], name="y")])),
        ("expected FP32", "INVALID", lambda: client.infer(MODEL, [_tensor([one_hot()], "FP64", np.float64)])),
        (r"expected \[-1, 4\]", "INVALID", lambda: client.infer(MODEL, [_tensor([[1.0, 2.0]])])),
        ("NaN", "INVALID", lambda: client.infer(MODEL, [_tensor([[np.nan] * 4])])),
        ("no output 'z'", "INVALID", lambda: client.infer(MODEL, [good], outputs=[InferRequestedOutput("z")])),
        ("is missing: x", "INVALID", lambda: client.infer(MODEL, [])),
        ("larger than max", "EXHAUSTED", lambda: client.infer(MODEL, [_tensor(np.zeros((20_000, 4)))])),
    ):
        with pytest.raises(InferenceServerException, match=said) as caught:
            ask()
        assert code in caught.value.status()
    assert server.child.poll() is None
    client.infer(MODEL, [good])


def test_requests_under_way_are_finished_when_the_server_goes_down(registry: Path, tmp_path: Path) -> None:
    from tritonclient.grpc import InferenceServerClient, InferenceServerException

    port = free_port()
    server = Process(registry, tmp_path / "cache", "--grpc-port", str(port), "--batch-delay", "300ms")
    client, answered, failed = InferenceServerClient(f"127.0.0.1:{port}"), [], []

    def ask() -> None:
        try:
            answered.append(client.infer(MODEL, [_tensor([one_hot()])]))
        except InferenceServerException as error:
            failed.append(error)

    client.is_server_live()
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    server.child.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert (len(answered), failed) == (4, [])
    assert server.child.wait(30) in (0, -signal.SIGTERM)
    server.stop()


def test_the_messages_are_those_of_the_published_client() -> None:
    from tritonclient.grpc import service_pb2

    same = {"InferTensor": "ModelInferRequest.InferInputTensor",
            "TensorMetadata": "ModelMetadataResponse.TensorMetadata",
            "InferRequestedOutputTensor": "ModelInferRequest.InferRequestedOutputTensor",
            "ParametersEntry": "ModelInferRequest.ParametersEntry"}  # fmt: skip
    for name, ours in messages.CLASSES.items():
        theirs = service_pb2
        for part in same.get(name, name).split("."):
            theirs = getattr(theirs, part)
        for field in ours.DESCRIPTOR.fields:
            known = theirs.DESCRIPTOR.fields_by_number[field.number]
            assert (known.name, known.type, known.is_repeated) == (field.name, field.type, field.is_repeated), name
