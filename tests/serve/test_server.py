"""The process: published clients, moves under load, SIGTERM, kill -9, and the judge reading a real Prometheus."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.world import MODEL, body, one_hot, operator
from weighbridge.core.errors import StateError
from weighbridge.registry.canary.canary_judge import judge
from weighbridge.registry.state.records import CanaryPlan


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _command(model: str, registry: Path, port: int, folder: Path, *options: str) -> list[str]:
    where = ["--registry", str(registry), "--port", str(port), "--cache", str(folder)]
    return [sys.executable, "-m", "weighbridge", "serve", model, *where, *options]


class Process:
    """`weighbridge serve` beside the test."""

    def __init__(self, registry: Path, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = _command(MODEL, registry, self.port, folder, "--poll", "200ms", *options)
        self.start()

    def start(self) -> None:
        self.child = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while self.get("/v2/health/ready") is None:
            assert self.child.poll() is None, self.child.stderr.read()
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.1)

    def get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return None

    def post(self, path: str, data: object, **headers: str) -> Any:
        request = urllib.request.Request(self.url + path, json.dumps(data).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def infer(self, **more: Any) -> Any:
        return self.post(f"/v2/models/{MODEL}/infer", body(**more))

    def wait_for(self, key: str, value: object) -> None:
        until = time.monotonic() + 60
        while json.loads(self.get("/status"))[key] != value:
            assert time.monotonic() < until, f"{key} does not become {value}"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stderr.close()


@pytest.fixture
def process(registry: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started = []

    def start(*options: str) -> Process:
        started.append(Process(registry, tmp_path / "cache", *options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_the_published_client_is_answered(process: Callable[..., Process]) -> None:
    from tritonclient.http import InferenceServerClient, InferenceServerException, InferInput, InferRequestedOutput

    server = process()
    client = InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "v2")
    assert client.get_server_metadata()["name"] == "weighbridge"
    assert client.get_model_metadata(MODEL)["outputs"][0]["name"] == "scores"
    for binary in (True, False):
        tensor = InferInput("x", [2, 4], "FP32")
        tensor.set_data_from_numpy(np.array([one_hot(0), one_hot(1)], np.float32), binary_data=binary)
        wanted = [InferRequestedOutput("scores", binary_data=binary)]
        for outputs in (wanted, None):
            answer = client.infer(MODEL, [tensor], outputs=outputs, request_id="a")
            assert answer.as_numpy("scores").argmax(1).tolist() == [2, 0]
            assert answer.get_response()["model_version"] == "v2"
    with pytest.raises(InferenceServerException, match="expected FP32"):
        client.infer(MODEL, [InferInput("x", [1, 4], "FP64").set_data_from_numpy(np.zeros((1, 4)))])
    client.close()


def test_moves_under_load_fail_no_request_and_a_terminated_server_finishes_what_it_began(
    process: Callable[..., Process], registry: Path
) -> None:
    server = process("--batch-delay", "5ms")
    seen, failed, stop = set(), [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                seen.add(server.infer()["model_version"])
            except (OSError, ValueError) as error:  # urllib's errors are of the system's
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in ("v3", "v1"):
        operator(registry).release(version)
        server.wait_for("stable", version)
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert seen == {"v1", "v2", "v3"}
    server.child.send_signal(signal.SIGTERM)
    assert server.child.wait(30) in (0, -signal.SIGTERM)


def test_a_kill_loses_no_feedback_and_the_registry_may_be_away_then(
    process: Callable[..., Process], registry: Path
) -> None:
    server = process()
    ids = [server.infer(id=f"r{k}")["id"] for k in range(5)]
    server.post("/v2/feedback", {"id": ids[0], "label": "2"})
    for k in (1, 2):
        os.kill(server.child.pid, signal.SIGKILL)
        server.stop()
        if k == 2:
            registry.rename(registry.with_name("away"))
        server.start()
        assert server.infer()["model_version"] == "v2"
        server.post("/v2/feedback", {"id": ids[k], "label": "2"})
    assert f'weighbridge_labelled_total{{model="{MODEL}",version="v2"}} 3.0' in server.get("/metrics")
    assert json.loads(server.get("/status"))["problems"]


def test_a_port_that_is_taken_and_a_model_that_is_unknown_are_one_line(registry: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for model, said in ((MODEL, "cannot listen on"), ("other", "no model 'other'")):
            command = _command(model, registry, port, tmp_path / model)
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
            assert done.returncode == 2
            assert said in done.stderr.splitlines()[-1]
            assert "Traceback" not in done.stderr


def test_the_judge_reads_what_prometheus_scraped(
    process: Callable[..., Process], registry: Path, tmp_path: Path
) -> None:
    budgets = [
        {"metric": "error_rate", "max": 0.2},
        {"metric": "latency", "threshold": 5.0, "max": 0.5},
        {"metric": "accuracy", "min": 0.2},
        {"metric": "drift", "max": 1.0, "classes": 3},
    ]
    operator(registry).start_canary("v3", CanaryPlan(steps=[50, 100], min_samples=20, min_seconds=0, budgets=budgets))
    server = process()
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: serve\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{server.port}']\n"
    )
    where = [f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    command = ["prometheus", f"--config.file={config}", *where]
    prometheus = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answers = [server.infer(id=f"r{k}")["model_version"] for k in range(120)]
        for k in range(120):
            server.post("/v2/feedback", {"id": f"r{k}", "label": "0" if answers[k] == "v3" else "2"})
        expected, until = answers.count("v3"), time.monotonic() + 60
        while True:
            try:
                decision = judge(registry, MODEL, f"prometheus=http://127.0.0.1:{port}", dry_run=True)
                if decision.samples == expected and decision.findings[2].samples == expected:
                    break
            except StateError as error:
                decision = error  # it is still starting
            assert time.monotonic() < until, decision
            time.sleep(0.5)
    finally:
        prometheus.kill()
        prometheus.wait()
    assert decision.action.value == "advance", decision.text()
    assert [finding.samples for finding in decision.findings] == [expected] * 4
    assert decision.findings[2].estimate == 1.0


def test_requests_past_the_framework_are_answered_as_those_through_it(process: Callable[..., Process]) -> None:
    server = process()
    raw = json.dumps(body(id="a")).encode()
    line = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: x\r\n"

    def ask(*parts: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            for part in parts:
                client.sendall(part)
                time.sleep(0.05)
            client.shutdown(socket.SHUT_WR)
            found = b""
            while more := client.recv(65536):
                found += more
        return found

    def sized(data: bytes, *more: str) -> bytes:
        return (line + "".join(more) + f"Content-Length: {len(data)}\r\n\r\n").encode() + data

    direct = ask(sized(raw))
    general = ask(sized(raw, "Connection: close\r\n"))
    assert json.loads(direct.partition(b"\r\n\r\n")[2]) == json.loads(general.partition(b"\r\n\r\n")[2])
    # In pieces; two at once on one connection; a body that is no request and one after it.
    assert ask(sized(raw)[:90], sized(raw)[90:120], sized(raw)[120:]) == direct
    assert ask(sized(raw) * 2).count(b"HTTP/1.1 200 OK") == 2
    after = ask(sized(b"{}"), sized(raw))
    assert after.startswith(b"HTTP/1.1 400")
    assert after.count(b"HTTP/1.1 200 OK") == 1
    assert ask(sized(raw).replace(MODEL.encode(), b"other")).startswith(b"HTTP/1.1 404")


def test_bodies_that_are_huge_or_have_no_end_are_cut_off_on_the_wire(process: Callable[..., Process]) -> None:
    server = process("--max-body", "10KiB")
    line = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: x\r\n"

    def status(head: str, chunk: bytes, count: int) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall((line + head + "\r\n").encode())
            try:
                for _ in range(count):
                    client.sendall(chunk)
            except ConnectionError:
                pass  # cut off in the middle
            try:
                return client.recv(100)[9:12]
            except ConnectionError:
                return b"413"  # what was not read resets the connection before the answer is read

    assert status("Content-Length: 999999999999\r\n", b"x" * 1000, 1) == b"413"
    assert status("Transfer-Encoding: chunked\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n", 1000) == b"413"
    assert server.infer()["model_version"] == "v2"


def test_a_process_that_dies_in_the_middle_of_a_request_serves_again_and_no_answer_was_wrong(
    process: Callable[..., Process],
) -> None:
    server = process("--batch-delay", "2s")
    failed = []

    def ask() -> None:
        try:
            server.infer(id="cut")
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    os.kill(server.child.pid, signal.SIGKILL)
    thread.join()
    assert failed
    server.stop()
    server.start()
    with pytest.raises(urllib.error.HTTPError, match="404"):  # it was never answered: it can have no label
        server.post("/v2/feedback", {"id": "cut", "label": "2"})
    assert server.infer(id="next")["model_version"] == "v2"


def test_a_disk_that_is_full_under_the_running_server_costs_feedback_and_no_answer(
    process: Callable[..., Process], registry: Path, tmp_path: Path
) -> None:
    """The kernel refuses every further byte of every file, as a full disk does; then there is room again."""
    server = process("--log", str(tmp_path / "requests.jsonl"))
    server.infer(id="before")
    resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    for k in range(5):
        assert server.infer(id=f"full{k}")["model_version"] == "v2"
    with pytest.raises(urllib.error.HTTPError, match="503"):
        server.post("/v2/feedback", {"id": "before", "label": "2"})
    operator(registry).release("v3")
    until = time.monotonic() + 60
    while not json.loads(server.get("/status"))["problems"]:
        assert time.monotonic() < until, "the move was taken, or its failure is not told"
        time.sleep(0.05)
    assert server.infer(id="full")["model_version"] == "v2"
    assert 'weighbridge_refused_total{model="tiny-cnn",what="journal",why="not written"}' in server.get("/metrics")
    resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    server.wait_for("stable", "v3")
    server.wait_for("problems", [])
    server.post("/v2/feedback", {"id": "before", "label": "2"})
    server.infer(id="after")
    server.post("/v2/feedback", {"id": "after", "label": "0"})
    kept = [json.loads(line)["id"] for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert kept == ["before", "after"]


def test_more_than_it_carries_is_refused_at_once_and_what_was_taken_is_answered(
    process: Callable[..., Process],
) -> None:
    """Back-pressure: what does not fit the queue gets 503 and when to ask again; nobody waits for nothing."""
    server = process("--queue", "4", "--batch-delay", "1s", "--max-batch", "4")
    answered, refused, other = [], [], []

    def ask(number: int) -> None:
        try:
            answered.append(server.infer(id=f"r{number}")["model_version"])
        except urllib.error.HTTPError as error:
            refused.append((error.code, error.headers["retry-after"]))
        except OSError as error:
            other.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not other
    assert len(answered) + len(refused) == 40
    assert set(answered) == {"v2"}
    assert set(refused) == {(503, "1")}
    assert len(answered) >= 4
    assert server.infer(id="later")["model_version"] == "v2"
    assert "weighbridge_requests_total" in server.get("/metrics")


def test_the_share_of_the_channel_is_followed_while_it_serves(process: Callable[..., Process], registry: Path) -> None:
    operator(registry).start_canary("v3", CanaryPlan(steps=[20, 60, 100], min_samples=1, min_seconds=0, budgets=[]))
    server = process()
    shares = []
    for weight in (20, 60):
        server.wait_for("weight", weight)
        shares.append([server.infer(id=f"k{k}")["model_version"] for k in range(150)].count("v3") / 150)
        operator(registry).advance_canary(reason="test")
    assert 0.08 < shares[0] < 0.35
    assert 0.45 < shares[1] < 0.75
    operator(registry).abort_canary(reason="test")
    server.wait_for("canary", None)
    assert {server.infer(id=f"k{k}")["model_version"] for k in range(30)} == {"v2"}
