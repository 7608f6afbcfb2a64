"""A lone client's connection, read by the model's thread: the same answers, and given back whenever anything is odd."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tests.serve.world import MODEL, body, one_hot, operator, server
from weighbridge.serve.answers import Options
from weighbridge.serve.models import queueing
from weighbridge.serve.models.batching import Batching
from weighbridge.serve.models.runtimes import load
from weighbridge.serve.protocol import reading
from weighbridge.serve.protocol.shortcut import STEADY, protocol_of
from weighbridge.serve.server import Server

INFER = f"/v2/models/{MODEL}/infer"
_running: dict[int, uvicorn.Server] = {}
"""By port, what `listening` has started."""


def request(k: int = 0, path: str = INFER, *more: str, **said: Any) -> bytes:
    """The bytes of one inference."""
    data = json.dumps(body([one_hot(k)], **said)).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", *more, f"Content-Length: {len(data)}", "", ""]
    return "\r\n".join(lines).encode() + data


class Asking:
    """A client's connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.kept = b""

    def ask(self, data: bytes) -> tuple[int, Any]:
        """(status, answer) of one request."""
        self.socket.sendall(data)
        return self.answer()

    def answer(self) -> tuple[int, Any]:
        while True:
            head, split, rest = self.kept.partition(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            if split and len(rest) >= size:
                self.kept = rest[size:]
                return int(head[9:12]), json.loads(rest[:size])
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("closed")
            self.kept += more

    def steady(self) -> None:
        """Ask until the model's thread reads this connection."""
        for k in range(STEADY + 3):
            status, answer = self.ask(request(k % 4))
            assert (status, answer["outputs"][0]["data"][(k % 4 + 2) % 3]) == (200, 1.0)


@pytest.fixture
def listening(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Any, Server, list[int]]]]:
    """Starts a server on a thread; its port, its `Server`, and what the model's thread has read."""
    stopped, reads = [], []
    original = reading.Connection.read
    monkeypatch.setattr(reading.Connection, "read", lambda self: reads.append(1) or original(self))
    monkeypatch.setattr(queueing, "IDLE", 60_000)  # a machine that is busy for a second must not decide

    def start(run: Any = None, **settings: Batching | Options) -> tuple[Any, Server, list[int]]:
        made = server(registry, tmp_path / "cache", **settings)
        if run is not None:
            made.fleet.load = lambda data, target, threads: replace(load(data, target, threads), run=run)
        application = made.start()
        config = uvicorn.Config(
            application, port=0, lifespan="off", http=protocol_of(application), log_level="error",
            timeout_graceful_shutdown=5, timeout_keep_alive=600,
        )  # fmt: skip
        running = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(running.serve()))
        thread.start()
        stopped.append((running, thread, made))
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = running.servers[0].sockets[0].getsockname()[1]
        _running[port] = running
        return port, made, reads

    yield start
    for running, thread, made in stopped:
        running.should_exit = True
        thread.join(20)
        made.close()
        assert not thread.is_alive()


def test_a_lone_client_is_read_by_the_models_thread_and_every_request_is_answered_and_counted(
    listening: Callable[..., tuple[Any, Server, list[int]]],
) -> None:
    port, made, reads = listening()
    client = Asking(port)
    client.steady()
    before = len(reads)
    assert before > 0
    for k in range(8):
        assert client.ask(request(k % 4))[1]["model_version"] == "v2"
    assert len(reads) >= before + 8
    assert made.service.telemetry.arm("v2").counts["requests"] == STEADY + 3 + 8


def test_what_is_odd_on_such_a_connection_goes_the_general_way(
    listening: Callable[..., tuple[Any, Server, list[int]]],
) -> None:
    port, made, _ = listening()
    client = Asking(port)
    client.steady()
    assert client.ask(request(0, INFER, "x-request-key: a"))[0] == 200
    client.steady()
    assert client.ask(request(0, INFER.replace(MODEL, "other")))[0] == 404
    assert client.ask(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n") == (200, {"live": True})
    other = Asking(port)
    other.steady()
    assert other.ask(request(0).replace(b"FP32", b"FP64"))[0] == 400
    third = Asking(port)
    third.steady()
    whole = request(1)
    for part in (whole[:50], whole[50:120], whole[120:]):
        third.socket.sendall(part)
        time.sleep(0.05)
    assert third.answer()[0] == 200
    third.socket.sendall(request(0) * 2 + request(1, INFER, "x-a: b"))
    assert [third.answer()[0] for _ in range(3)] == [200] * 3
    assert made.service.telemetry.refused["request", "invalid"] == 1


def test_two_clients_are_both_answered_and_one_that_leaves_ends_its_reading(
    listening: Callable[..., tuple[Any, Server, list[int]]],
) -> None:
    port, _, reads = listening()
    one, other = Asking(port), Asking(port)
    one.steady()
    for k in range(6):  # each takes the thread from the other
        assert other.ask(request(k % 4))[0] == 200
        assert one.ask(request(k % 4))[0] == 200
    other.steady()
    other.socket.close()
    before = len(reads)
    one.steady()
    assert len(reads) > before


def test_a_model_that_hangs_on_such_a_connection_is_given_up_and_the_connection_serves_again(
    listening: Callable[..., tuple[Any, Server, list[int]]],
) -> None:
    gate, hanging = threading.Event(), threading.Event()
    gate.set()

    def run(feed: Any) -> list[Any]:
        if not gate.is_set():
            hanging.set()
        gate.wait(20)
        return [feed["x"][:, :3]]

    port, _, reads = listening(run, batching=Batching(patience=0.3))
    client = Asking(port)
    for _ in range(STEADY + 3):
        assert client.ask(request(0))[0] == 200
    assert reads
    gate.clear()
    status, answer = client.ask(request(0))
    assert hanging.is_set()
    assert (status, "no answer within 0.3 s" in answer["error"]) == (500, True)
    assert client.ask(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n") == (503, {"ready": False})
    assert client.ask(request(0))[0] == 503
    gate.set()
    until = time.monotonic() + 20
    while client.ask(request(0))[0] != 200:
        assert time.monotonic() < until


def test_an_unforeseen_error_while_reading_ends_the_connection_and_not_the_thread(
    listening: Callable[..., tuple[Any, Server, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, made, _ = listening()
    client = Asking(port)
    client.steady()
    with monkeypatch.context() as patch:
        patch.setattr(made.service, "begin", lambda *_: 1 / 0)
        with pytest.raises(ConnectionError):
            client.ask(request(0))
    Asking(port).steady()


def test_functions_of_the_operators_are_called_in_the_loop_only(
    listening: Callable[..., tuple[Any, Server, list[int]]],
) -> None:
    port, _, reads = listening(options=Options(slices=lambda _: ["all"]))
    Asking(port).steady()
    assert not reads


def test_a_move_of_the_channel_reaches_a_connection_that_a_thread_reads(
    listening: Callable[..., tuple[Any, Server, list[int]]], registry: Path
) -> None:
    port, made, _ = listening()
    client = Asking(port)
    client.steady()
    operator(registry).release("v3")
    made.look()
    answers = [client.ask(request(0)) for _ in range(STEADY + 3)]
    assert {(status, answer["model_version"]) for status, answer in answers} == {(200, "v3")}


def test_a_silent_connection_is_its_loops_again(
    listening: Callable[..., tuple[Any, Server, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    original = reading.Connection.release
    monkeypatch.setattr(reading.Connection, "release", lambda self, data=b"": released.set() or original(self, data))
    port, _, _ = listening()
    monkeypatch.setattr(queueing, "IDLE", 20)
    client = Asking(port)
    client.steady()
    assert released.wait(20)
    assert client.ask(request(0))[0] == 200


def test_a_server_that_goes_down_closes_a_connection_that_a_thread_reads(
    listening: Callable[..., tuple[Any, Server, list[int]]],
) -> None:
    port, _, reads = listening()
    client = Asking(port)
    client.steady()
    assert reads
    _running[port].should_exit = True
    assert client.socket.recv(1) == b""


def test_an_answer_that_is_booked_late_does_not_end_the_reading_of_a_later_request(
    listening: Callable[..., tuple[Any, Server, list[int]]],
) -> None:
    port, _, reads = listening()
    client = Asking(port)
    client.steady()
    protocol: Any = next(iter(_running[port].server_state.connections))
    earlier = type(protocol.cycle)(protocol, MODEL, None, 1, 0.0)
    protocol.loop.call_soon_threadsafe(protocol._write, earlier, b"")
    before = len(reads)
    for _ in range(5):
        assert client.ask(request(0))[0] == 200
    assert len(reads) >= before + 4
