"""A client that costs little: rendered requests on sockets that stay open, answers that are not decoded.

A client with a library's full stack takes longer than the server, and on two cores it takes it from the server.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_LENGTH = b"content-length: "


def rendered(path: str, array: Any, identity: str = "", **headers: str) -> bytes:
    """An inference request with one binary tensor `image`, answered with binary tensors."""
    raw = array.tobytes()
    tensor = {
        "name": "image",
        "shape": list(array.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    said = {"inputs": [tensor], "parameters": {"binary_data_output": True}, **({"id": identity} if identity else {})}
    head = json.dumps(said).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Inference-Header-Content-Length: {len(head)}",
        f"Content-Length: {len(head) + len(raw)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + head + raw


def rendered_json(path: str, said: Any) -> bytes:
    """A POST of JSON."""
    body = json.dumps(said).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Connection:
    """One socket that stays open."""

    port: int
    sent: float = 0.0
    _kept: bytes = b""

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of one request."""
        self.socket.sendall(request)
        while True:
            found = self.received()
            if found is not None:
                return found

    def received(self) -> tuple[int, bytes] | None:
        """The answer, or None where more of it is to come; `ConnectionError` where none will."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("closed")
        data = self._kept + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            head = data[:end].lower()
            start = head.index(_LENGTH) + len(_LENGTH)
            if len(data) >= end + 4 + int(head[start:].split(b"\r", 1)[0]):
                self._kept = b""
                return int(data[9:12]), data[end + 4 :]
        self._kept = data
        return None


def latencies(port: int, request: bytes, count: int) -> list[float]:
    """Seconds of `count` requests, one after the other; one that fails ends the benchmark."""
    connection, found = Connection(port), []
    for _ in range(count):
        begin = time.perf_counter()
        status, body = connection.ask(request)
        found.append(time.perf_counter() - begin)
        if status != 200:
            raise SystemExit(f"status {status}: {body[:500]!r}")
    connection.socket.close()
    return found


@dataclass
class Load:
    """What many clients saw."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return self.statuses[200] / self.seconds


def saturate(port: int, request: bytes, clients: int, seconds: float) -> Load:
    """`clients` clients that each ask again as soon as they are answered."""
    connections = {c.socket.fileno(): c for c in (Connection(port) for _ in range(clients))}
    poll, load, begin = select.epoll(), Load(), time.perf_counter()
    for number, connection in connections.items():
        poll.register(number, select.EPOLLIN)
        connection.socket.sendall(request)
        connection.sent = begin
    now = begin
    while now - begin < seconds:
        events = poll.poll(5)
        now = time.perf_counter()
        if not events:
            raise SystemExit("no answer for 5 seconds")
        for number, _ in events:
            connection = connections[number]
            found = connection.received()
            if found is None:
                continue
            load.statuses[found[0]] += 1
            load.times.append(now - connection.sent)
            connection.sent = now
            connection.socket.sendall(request)
    load.seconds = now - begin
    for connection in connections.values():
        connection.socket.close()
    return load
