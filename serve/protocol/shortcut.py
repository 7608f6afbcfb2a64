"""Inference over HTTP/1.1 past the framework: from the parser to the service, and from the runtime to the socket.

A small model takes less time than a server's usual layers. Only what is plainly an inference request with a body of a
known size goes this way; everything else, and all that is wrong with a request, is `application`'s business.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import threading
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from weighbridge.core.errors import WeighbridgeError
from weighbridge.serve.answers import Answer
from weighbridge.serve.batching import in_loop
from weighbridge.serve.protocol.application import (
    Application,
    Headers,
    encoded,
    header_length,
    headers_of,
    parent_of,
    status_of,
)

_INFER = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([A-Za-z0-9._-]+))?/infer")
_GENERAL = {b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", b"connection"}
"""A request with one of these headers goes the general way."""


class _Direct:
    """One inference request and its answer; it stands where uvicorn keeps its own cycles."""

    def __init__(self, protocol: InferenceProtocol, model: str, version: str | None, size: int) -> None:
        self.protocol, self.model, self.version, self.size = protocol, model, version, size
        self.parts: list[bytes] = []
        self.received = 0
        self.began = 0.0
        self.given_up: asyncio.TimerHandle | None = None
        self.keep_alive = True
        self.followed = False
        """Whether uvicorn has queued a request behind this one."""
        self.response_complete = self.disconnected = False
        self.message_event = asyncio.Event()  # uvicorn sets it where the client leaves; it has no waiters here

    def take(self, body: bytes) -> None:
        """A part of the body; llhttp gives no more of it than `Content-Length` says."""
        self.parts.append(body)
        self.received += len(body)

    def answer(self, found: Answer | WeighbridgeError) -> None:
        """Send the answer, from whatever thread."""
        try:
            if isinstance(found, WeighbridgeError):
                raise found
            status, (body, headers) = HTTPStatus.OK, encoded(self.model, found)
        except WeighbridgeError as error:
            status = status_of(error)
            body, headers = json.dumps({"error": str(error)}).encode(), headers_of(status)
        self.protocol.reply(self, status, body, headers)


class InferenceProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a way of its own for inference."""

    application: Application
    """Set by `protocol_of`."""
    cycle: Any
    _own: socket.socket | None = None
    """A second descriptor of the connection: what has it may write even while the loop closes its own."""
    _thread: int

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._thread = threading.get_ident()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._own = None
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        found = _INFER.fullmatch(self.url)
        size = self._size() if found is not None and self.parser.get_method() == b"POST" else None
        free = self.cycle is None or self.cycle.response_complete
        if found is None or size is None or not free or self.parser.get_http_version() != "1.1":
            ahead = self.cycle
            super().on_headers_complete()
            if type(ahead) is _Direct and self.pipeline and self.pipeline[0][0] is self.cycle:
                ahead.followed = True
            return
        version = found[2].decode() if found[2] else None
        self.cycle = cycle = _Direct(self, found[1].decode(), version, size)
        cycle.began = self.application.service.clock()

    def _size(self) -> int | None:
        """Bytes of the body; None where the request has to go the general way."""
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            return None
        size = None
        for name, value in self.headers:
            if name in _GENERAL:
                return None
            if name == b"content-length":
                size = int(value) if value.isdigit() and len(value) < 16 else None
        return size if size is not None and 0 < size <= self.application.service.options.limits.body_bytes else None

    def on_body(self, body: bytes) -> None:
        """See `httptools.HttpRequestParser`."""
        cycle = self.cycle
        if type(cycle) is not _Direct:
            super().on_body(body)
            return
        cycle.take(body)
        if cycle.received < cycle.size and cycle.given_up is None:
            cycle.given_up = self.loop.call_later(self.application.slow, self._too_slow, cycle)

    def on_message_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        cycle = self.cycle
        if type(cycle) is not _Direct:
            super().on_message_complete()
            return
        if cycle.response_complete:
            return  # it was given up
        if cycle.given_up is not None:
            cycle.given_up.cancel()
        try:
            self._begin(cycle)
        except WeighbridgeError as error:
            cycle.answer(error)

    def _begin(self, cycle: _Direct) -> None:
        application = self.application
        headers = dict(self.headers)
        body = cycle.parts[0] if len(cycle.parts) == 1 else b"".join(cycle.parts)
        cycle.parts = []
        length = header_length(headers)
        reader = partial(application.heads.decode, body, length)
        self._open_own()
        application.service.begin(
            cycle.model,
            cycle.version,
            application.key_of(headers),
            reader,
            cycle.answer,
            cycle.began,
            parent_of(headers),
        )

    def _open_own(self) -> None:
        """Nothing is written to the connection by the loop while a request is under way, but what it has not sent of
        an answer before goes first.
        """
        if self._own is None:
            number = self.transport.get_extra_info("socket").fileno()
            self._own = socket.socket(fileno=os.dup(number))
            self._own.setblocking(False)
        self._sent_all = self.transport.get_write_buffer_size() == 0

    def _too_slow(self, cycle: _Direct) -> None:
        cycle.keep_alive = False
        cycle.answer(self.application.too_slow())

    def reply(self, cycle: _Direct, status: HTTPStatus, body: bytes, headers: Headers) -> None:
        """Send an answer: at once from the thread that has it, or from the loop."""
        lines = [STATUS_LINE[status]]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        data = b"".join((*lines, b"content-length: %d\r\n\r\n" % len(body), body))
        if threading.get_ident() == self._thread:
            self._write(cycle, data)
            return
        own, sent = self._own, 0
        if own is not None and self._sent_all and cycle.keep_alive:
            try:
                sent = own.send(data)
            except BlockingIOError:
                pass
            except OSError:
                return  # the client has left; the loop sees it too
            # What follows on this connection may come before the loop hears that this is complete.
            cycle.response_complete = sent == len(data)
        in_loop(self.loop, self._write, cycle, data[sent:])

    def _write(self, cycle: _Direct, data: bytes) -> None:
        cycle.response_complete = True
        if self.transport.is_closing():
            return
        if data:
            self.transport.write(data)
        if not cycle.keep_alive:
            self.transport.close()
        if self.cycle is cycle or cycle.followed:
            self.on_response_complete()


def protocol_of(application: Application) -> type[InferenceProtocol]:
    """The protocol for one application, as uvicorn takes it."""
    return type("ApplicationProtocol", (InferenceProtocol,), {"application": application})
