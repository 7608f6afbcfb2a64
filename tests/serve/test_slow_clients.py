"""Clients that do not go on, over real sockets: heads and bodies that do not end, answers that nobody reads."""

import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.serve.test_reading import INFER, Asking, _running, listening, request  # noqa: F401  # the fixture
from tests.serve.world import one_hot
from weighbridge.serve.protocol.shortcut import InferenceProtocol
from weighbridge.serve.server import Server

Listening = Callable[..., tuple[Any, Server, list[int]]]


@pytest.fixture
def impatient(listening: Listening) -> int:  # noqa: F811
    """The port of a server that waits for a client for a fifth of a second."""
    port, _, _ = listening()
    _running[port].config.app.slow = 0.2
    return int(port)


def end_of(client: socket.socket) -> bytes:
    """All that a server sends until it closes."""
    client.settimeout(20)
    found = b""
    while True:
        try:
            more = client.recv(65536)
        except ConnectionError:
            return found
        if not more:
            return found
        found += more


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", []),
        (request()[:20], [408]),
        (request() + request()[:20], [200, 408]),
        (request()[:-5], [408]),
        (request(0, INFER, "Connection: close")[:-5], [408]),
    ],
    ids=["nothing", "part of a head", "part of a second head", "part of a body", "part of a body, the general way"],
)
def test_a_client_that_does_not_go_on_is_given_up(impatient: int, sent: bytes, said: list[int]) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as client:
        client.sendall(sent)
        found = end_of(client)
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", found)] == said
    assert Asking(impatient).ask(request())[0] == 200


def test_one_that_drips_is_given_up_too_and_holds_nobody_up(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as dripping:
        for byte in request()[:40]:
            try:
                dripping.sendall(bytes([byte]))
            except ConnectionError:
                break
            assert Asking(impatient).ask(request())[0] == 200
            time.sleep(0.02)
        assert b"HTTP/1.1 408" in end_of(dripping)


def test_a_connection_that_was_answered_may_be_silent_for_longer(impatient: int) -> None:
    client = Asking(impatient)
    assert client.ask(request())[0] == 200
    time.sleep(0.6)
    assert client.ask(request())[0] == 200


def test_answers_that_nobody_reads_do_not_pile_up(listening: Listening) -> None:  # noqa: F811
    """A client that only asks: after its share of buffers nothing more of it is read, and then it is given up."""
    port, _, _ = listening()
    _running[port].config.app.slow = 0.5
    rows = [one_hot(k % 4) for k in range(256)]
    raw = np.array(rows, "<f4").tobytes()
    tensor = {"name": "x", "shape": [256, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    lines = [f"POST {INFER} HTTP/1.1", "Host: x", f"Inference-Header-Content-Length: {len(head)}"]
    one = "\r\n".join([*lines, f"Content-Length: {len(head) + len(raw)}", "", ""]).encode() + head + raw
    largest = 0
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.settimeout(0.05)
        until, closed, left = time.monotonic() + 60, False, one
        while not closed and time.monotonic() < until:
            try:
                left = left[client.send(left) :] or one
            except TimeoutError:
                pass
            except ConnectionError:
                closed = True
            buffers = [p.transport.get_write_buffer_size() for p in _protocols(port) if p.transport is not None]
            largest = max([largest, *buffers])
    assert closed, "the client was never given up"
    assert largest < 1_000_000
    assert Asking(port).ask(request())[0] == 200


def test_a_client_that_reads_slowly_gets_all_of_its_answers(listening: Listening) -> None:  # noqa: F811
    port, _, _ = listening()
    _running[port].config.app.slow = 0.3
    count = 3000
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.settimeout(20)
        found, sent = b"", 0
        while found.count(b"HTTP/1.1 200") < count:
            for _ in range(50):
                if sent < count:
                    client.sendall(request(0, INFER, "Connection: keep-alive"))
                    sent += 1
            more = client.recv(20_000)
            assert more, "the connection was closed"
            found += more
    assert found.count(b"HTTP/1.1 200") == count


def _protocols(port: int) -> list[InferenceProtocol]:
    return [found for found in list(_running[port].server_state.connections) if isinstance(found, InferenceProtocol)]
