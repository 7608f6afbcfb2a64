"""On a real local Ray: the published client is answered, a move is followed, counters are those of each replica."""

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.registry import project as made
from tests.serve.test_server import free_port
from tests.serve.world import MODEL, body, operator
from weighbridge.core.errors import InputError

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def ray_served(_registry_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str]]:
    """One replica of a registry on a Ray of its own: its registry, its URL, the port of its counters."""
    import ray
    from ray import serve

    from weighbridge.serve.on_ray import application

    folder = tmp_path_factory.mktemp("ray")
    root = shutil.copytree(_registry_template, folder / "registry")
    port, counters = free_port(), free_port()
    ray.init(
        address="local",  # never a cluster that another test has started meanwhile
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        _node_ip_address="127.0.0.1",
        configure_logging=False,
        log_to_driver=False,
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        told = {"model": MODEL, "registry": str(root), "cache": str(folder / "cache"), "poll": 0.2}
        serve.run(application({**told, "cpus": 0.1, "metrics_port": counters}), route_prefix="/")
        yield root, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{counters}/metrics"
    finally:
        serve.shutdown()
        ray.shutdown()


def ask(url: str, data: dict[str, str] | None = None) -> tuple[Any, Any]:
    """(status, body) of one answer."""
    request = urllib.request.Request(url, data and json.dumps(data).encode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_replica_answers_as_the_server_does_and_follows_the_registry(ray_served: tuple[Path, str, str]) -> None:
    from tritonclient.http import InferenceServerClient

    root, url, counters = ray_served
    client = InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_ready()
    assert client.get_model_metadata(MODEL)["outputs"][0]["name"] == "scores"
    client.close()
    status, said = ask(f"{url}/v2/models/{MODEL}/infer", body(id="a"))
    assert (status, json.loads(said)["model_version"]) == (200, "v2")
    status, said = ask(f"{url}/v2/models/{MODEL}/infer", {"inputs": []})
    assert (status, json.loads(said)["error"]) == (400, "inputs: is missing: x")
    assert ask(f"{url}/v2/models/other/infer", body())[0] == 404
    assert ask(f"{url}/v2/feedback", {"id": "a", "label": "2"})[0] == 200
    text = ask(counters)[1].decode()
    assert f'weighbridge_requests_total{{model="{MODEL}",version="v2"}} 1.0' in text
    assert f'weighbridge_correct_total{{model="{MODEL}",version="v2"}} 1.0' in text
    operator(root).release("v3")
    until = time.monotonic() + 30
    while json.loads(ask(f"{url}/v2/models/{MODEL}/infer", body())[1])["model_version"] != "v3":
        assert time.monotonic() < until, "the move is not followed"
        time.sleep(0.1)


def test_replicas_of_one_machine_have_folders_of_their_own(registry: Path, tmp_path: Path) -> None:
    """And what belongs to one replica is refused where there are several."""
    import asyncio

    from starlette.requests import Request

    from weighbridge.serve.on_ray import Deployed, Replica

    told = Deployed(model=made.MODEL, registry=str(registry), cache=str(tmp_path / "cache"), replicas=2)
    first, second = Replica(told), Replica(told)
    try:
        assert [one.server.follower.folder.name for one in (first, second)] == ["0", "1"]
        request = Request({"type": "http", "method": "GET", "path": "/metrics", "headers": []})
        assert asyncio.run(first(request)).status_code == 501
        first.check_health()
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"replicas": 0}, "replicas"), ({"pol": 1}, "pol"), ({"registry": None}, "registry"), ({"poll": "soon"}, "poll")],
)
def test_wrong_settings_name_the_key(wrong: dict[str, Any], said: str) -> None:
    from weighbridge.serve.on_ray import application

    with pytest.raises(InputError, match=said):
        application({"model": MODEL, "registry": "r", **wrong})
