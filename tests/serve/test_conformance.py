"""The published protocol: a gRPC client generated from KServe's definition, and its schemas of answers over HTTP.

KServe's own Python package needs older releases of pandas and psutil than are pinned here, and MLServer's needs a
FastAPI that no longer runs; what both generate their clients from is the definition read here.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import numpy as np
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.serve.test_server import Process, free_port
from tests.serve.world import MODEL, body, one_hot
from weighbridge.serve.protocol import messages

PUBLISHED = Path(__file__).parents[1] / "fixtures/open_inference"
SERVICE = "inference.GRPCInferenceService"


def described(folder: Path) -> Any:
    """The published definition, compiled by protoc, in a pool of its own."""
    from grpc_tools import protoc

    out = folder / "described.pb"
    file = "open_inference_grpc.proto"
    assert protoc.main(["protoc", f"-I{PUBLISHED}", f"--descriptor_set_out={out}", file]) == 0
    (found,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    pool = descriptor_pool.DescriptorPool()
    pool.Add(found)
    return pool


class Generated:
    """A client made from the definition: a method for each of the service's."""

    def __init__(self, pool: Any, channel: Any) -> None:
        self.pool = pool
        for method in pool.FindServiceByName(SERVICE).methods:
            answer = message_factory.GetMessageClass(method.output_type)
            ask = message_factory.GetMessageClass(method.input_type).SerializeToString
            call = channel.unary_unary(f"/{SERVICE}/{method.name}", ask, answer.FromString)
            setattr(self, method.name, call)

    def message(self, name: str) -> Any:
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"inference.{name}"))


@pytest.fixture
def served(registry: Path, tmp_path: Path) -> Iterator[tuple[Process, Generated]]:
    """A server of both protocols, and the generated client."""
    port = free_port()
    server = Process(registry, tmp_path / "cache", "--grpc-port", str(port))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, Generated(described(tmp_path), channel)
    server.stop()


def over_grpc(client: Any) -> None:
    """Ask everything that the published service has."""
    assert client.ServerLive(client.message("ServerLiveRequest")()).live
    assert client.ServerReady(client.message("ServerReadyRequest")()).ready
    assert client.ModelReady(client.message("ModelReadyRequest")(name=MODEL, version="v2")).ready
    server = client.ServerMetadata(client.message("ServerMetadataRequest")())
    assert (server.name, bool(server.version)) == ("weighbridge", True)
    model = client.ModelMetadata(client.message("ModelMetadataRequest")(name=MODEL))
    assert (model.name, list(model.inputs[0].shape), model.outputs[0].datatype) == (MODEL, [-1, 4], "FP32")
    asked = client.message("ModelInferRequest")(model_name=MODEL, id="one")
    asked.inputs.add(name="x", datatype="FP32", shape=[2, 4]).contents.fp32_contents.extend(one_hot(0) + one_hot(1))
    asked.outputs.add(name="scores")
    typed = client.ModelInfer(asked)
    asked.inputs[0].ClearField("contents")
    asked.raw_input_contents.append(np.array([one_hot(0), one_hot(1)], np.float32).tobytes())
    raw = client.ModelInfer(asked)
    assert typed == raw
    assert (raw.model_name, raw.model_version, raw.id) == (MODEL, "v2", "one")
    scores = np.frombuffer(raw.raw_output_contents[0], np.float32).reshape(list(raw.outputs[0].shape))
    assert scores.argmax(1).tolist() == [2, 0]


def over_http(server: Process) -> None:
    """Hold every answer against the published schema of its path."""
    published = yaml.safe_load((PUBLISHED / "open_inference_rest.yaml").read_text())
    seen = 0
    for path, methods in published["paths"].items():
        url = server.url + path.replace("${MODEL_NAME}", MODEL).replace("${MODEL_VERSION}", "v2")
        posts = "post" in methods
        said = methods["post" if posts else "get"]["responses"]
        good = body([one_hot(0), one_hot(1)], id="42", outputs=[{"name": "scores"}])
        expected(published, said, 200, ask(url, good if posts else None))
        if posts:
            expected(published, said, 400, ask(url, {"inputs": []}))
        seen += 1
    assert seen == 6


def ask(url: str, data: dict[str, Any] | None = None) -> tuple[Any, Any]:
    """(status, body) of an answer that is not redirected."""
    request = urllib.request.Request(url, data and json.dumps(data).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.url == url
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def expected(published: Any, said: Any, status: int, answer: tuple[Any, Any]) -> None:
    """The answer has this status, and the form that is published for it."""
    assert answer[0] == status
    content = said[str(status)].get("content")
    if content is not None:
        schema = {"components": published["components"], **content["application/json"]["schema"]}
        jsonschema.validate(answer[1], schema, cls=jsonschema.Draft202012Validator)


def test_clients_of_the_published_definitions_are_answered(served: tuple[Process, Generated]) -> None:
    server, client = served
    over_grpc(client)
    over_http(server)


def test_an_answer_that_departs_from_the_published_schema_is_seen() -> None:
    published = yaml.safe_load((PUBLISHED / "open_inference_rest.yaml").read_text())
    said = published["paths"]["/v2/models/${MODEL_NAME}/versions/${MODEL_VERSION}/infer"]["post"]["responses"]
    good = {"model_name": "m", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [1.0]}]}
    expected(published, said, 200, (200, good))
    for wrong in ({"outputs": good["outputs"]}, {**good, "outputs": [{"name": "y"}]}, {**good, "id": 1}):
        with pytest.raises(jsonschema.ValidationError):
            expected(published, said, 200, (200, wrong))


def test_our_table_of_messages_is_the_published_one(tmp_path: Path) -> None:
    """Every field of ours has the published number, name and type; the one that we never send is named here."""
    pool = described(tmp_path)
    service = pool.FindServiceByName(SERVICE)
    assert service.full_name == messages.SERVICE
    left_out = set()
    for name in ("ServerMetadata", "ModelMetadata", "ModelInfer", "ModelReady", "ServerLive", "ServerReady"):
        method = service.methods_by_name[name]
        for theirs in (method.input_type, method.output_type):
            ours = messages.CLASSES[theirs.name].DESCRIPTOR
            for field in theirs.fields:
                mine = ours.fields_by_number.get(field.number)
                if mine is None:
                    left_out.add(f"{theirs.name}.{field.name}")
                    continue
                assert (mine.name, mine.type, mine.is_repeated) == (field.name, field.type, field.is_repeated)
    assert left_out == {"ModelMetadataResponse.properties"}
