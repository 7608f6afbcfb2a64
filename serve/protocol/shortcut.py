"""Inference over HTTP/1.1 past the framework: from the parser to the service, and from the runtime to the socket.

A small model takes less time than a server's usual layers. Only what is plainly an inference request with a body of a
known size goes this way; everything else, and all that is wrong with a request, is `application`'s business.
"""

from __future__ import annotations

import os
import re
import select
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from weighbridge.core.errors import WeighbridgeError
from weighbridge.serve.models.queueing import in_loop
from weighbridge.serve.protocol.application import (
    Application,
    Headers,
    header_length,
    parent_of,
)
from weighbridge.serve.protocol.exchange import OK, Exchange
from weighbridge.serve.protocol.reading import Connection, Head
from weighbridge.serve.protocol.slow_clients import PatientProtocol

_INFER = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([A-Za-z0-9._-]+))?/infer")
_STATUS_OK = STATUS_LINE[OK]
_GENERAL = {b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", b"connection"}
"""A request with one of these headers goes the general way."""
STEADY = 4
"""Requests one after the other, of one connection and with one head, after which the runtime's thread reads it."""


class InferenceProtocol(PatientProtocol):
    """uvicorn's protocol, with a way of its own for inference."""

    application: Application
    """Set by `protocol_of`."""
    cycle: Any
    _own: socket.socket | None = None
    """A second descriptor of the connection: what has it may write even while the loop closes its own."""
    _thread: int
    _sending: threading.Lock
    """Held while the thread that has an answer sends it."""
    _head: Head | None = None
    """Of the request before, where that came in one piece."""
    _between: bool = True
    """Whether the parser is between two requests."""
    _source: Connection | None = None
    steady: bool = True
    """Whether the connection never sent anything else where the runtime's thread read it."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._thread = threading.get_ident()
        self._sending = threading.Lock()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        own, self._own = self._own, None
        if self._source is not None:
            self._source.over, self._source = True, None
        if own is not None:
            with suppress(OSError):  # the client has closed it before
                own.shutdown(socket.SHUT_RDWR)  # for the client, and for the thread that waits for it
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.repeated(data, None):
            return
        self._head, begins = None, self._between
        super().data_received(data)
        cycle = self.cycle
        if begins and self._between and type(cycle) is Exchange and cycle.head is not None:
            end = data.find(b"\r\n\r\n") + 4
            if end + cycle.size == len(data):
                self._head = replace(cycle.head, raw=data[:end])

    def on_message_begin(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        found = _INFER.fullmatch(self.url)
        size = self._size() if found is not None and self.parser.get_method() == b"POST" else None
        free = self._free()
        if found is None or size is None or not free or self.parser.get_http_version() != "1.1":
            ahead = self.cycle
            super().on_headers_complete()
            if type(ahead) is Exchange and self.pipeline and self.pipeline[0][0] is self.cycle:
                ahead.followed = True
            return
        self.head_came()
        version = found[2].decode() if found[2] else None
        self.cycle = Exchange(self, found[1].decode(), version, size, self.application.service.clock())

    def _free(self) -> bool:
        with self._sending:
            return self.cycle is None or bool(self.cycle.response_complete)

    def _crowded(self) -> bool:
        return self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency

    def _size(self) -> int | None:
        """Bytes of the body; None where the request has to go the general way."""
        if self._crowded():
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
        if type(cycle) is not Exchange:
            super().on_body(body)
            return
        cycle.take(body)
        if cycle.received < cycle.size and cycle.given_up is None:
            cycle.given_up = self.loop.call_later(self.application.slow, self._too_slow, cycle)

    def on_message_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self._between = True
        cycle = self.cycle
        if type(cycle) is not Exchange:
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

    def _begin(self, cycle: Exchange) -> None:
        application = self.application
        headers = dict(self.headers)
        body = cycle.parts[0] if len(cycle.parts) == 1 else b"".join(cycle.parts)
        cycle.parts = []
        length, key, parent = header_length(headers), application.key_of(headers), parent_of(headers)
        cycle.head = Head(b"", cycle.model, cycle.version, cycle.size, length, key, parent)
        application.steadily(None)
        self._ask(cycle, cycle.head, body, None)

    def repeated(self, data: bytes, source: Connection | None) -> bool:
        """Take a request that has the head of the one before, without parsing it anew; False where it has not. With a
        source in the runtime's thread, in the loop otherwise.
        """
        head = self._head
        if head is None or not head.begins(data) or not self._between or self._crowded():
            return False
        if source is None:
            if not self._free():
                return False
            self._unset_keepalive_if_required()
        service = self.application.service
        self.cycle = cycle = Exchange(self, head.model, head.version, head.size, service.clock())
        if service.draining:
            cycle.keep_alive = False
        try:
            self._ask(cycle, head, data[len(head.raw) :], source or self._steady())
        except WeighbridgeError as error:
            cycle.answer(error)
        return True

    def _steady(self) -> Connection | None:
        """The connection as a source, read by its loop no more, where it has asked and no other for a while."""
        count = self.application.steadily(self)
        if count < STEADY or not self.steady or not hasattr(select, "poll"):
            return None
        own = self._open_own()
        self.flow.pause_reading()
        self._source = Connection(self, own)
        return self._source

    def released(self, source: Connection, data: bytes) -> None:
        """Read the connection in the loop again; in the loop."""
        if self._source is not source:
            return
        self._source = None
        if self.transport.is_closing() or not self.cycle.response_complete:
            return  # an answer that is under way comes by the loop
        if not self.cycle.keep_alive:
            self.transport.close()
            return
        self.on_response_complete()
        if data:
            self.data_received(data)

    def _ask(self, cycle: Exchange, head: Head, body: bytes, source: Connection | None) -> None:
        self._open_own()
        reader = partial(self.application.heads.decode, body, head.length)
        self.application.service.begin(
            head.model, head.version, head.key, reader, cycle.answer, cycle.began, head.parent, self.loop, source
        )

    def _open_own(self) -> socket.socket:
        """Nothing is written to the connection by the loop while a request is under way, but what it has not sent of
        an answer before goes first.
        """
        if self._own is None:
            number = self.transport.get_extra_info("socket").fileno()
            self._own = socket.socket(fileno=os.dup(number))
            self._own.setblocking(False)
        self._sent_all = self.transport.get_write_buffer_size() == 0
        return self._own

    def _too_slow(self, cycle: Exchange) -> None:
        cycle.keep_alive = False
        cycle.answer(self.application.too_slow())

    def reply(self, cycle: Exchange, status: HTTPStatus, body: bytes, headers: Headers) -> None:
        """Send an answer: at once from the thread that has it, or from the loop."""
        lines = [_STATUS_OK if status is OK else STATUS_LINE[status]]
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
            # What follows on this connection may come before this thread goes on: the loop waits for it in `_free`.
            with self._sending:
                try:
                    sent = own.send(data)
                except BlockingIOError:
                    pass
                except OSError:
                    return  # the client has left; the loop sees it too
                cycle.response_complete = sent == len(data)
        source = self._source
        if source is not None and cycle.response_complete and not source.over:
            return  # the thread that reads on has sent it
        if source is not None:
            source.over = True
        in_loop(self.loop, self._write, cycle, data[sent:])

    def _write(self, cycle: Exchange, data: bytes) -> None:
        cycle.response_complete = True
        if self._source is not None and self.cycle is cycle:  # not where a later request has it
            self._source.over, self._source = True, None
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
