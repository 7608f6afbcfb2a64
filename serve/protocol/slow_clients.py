"""Clients that do not go on: a head that does not end, an answer that nobody reads. uvicorn waits for both without end.

What a body may take is `application.slow` too; a connection that has been answered may be silent for as long as
uvicorn's keep-alive.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from weighbridge.serve.protocol.application import Application

_TOO_SLOW = STATUS_LINE[HTTPStatus.REQUEST_TIMEOUT] + b"connection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which gives a client up that keeps it waiting for `application.slow` seconds."""

    application: Application
    cycle: Any
    _head_due: asyncio.TimerHandle | None = None
    """Runs while a head is awaited: from the connection on, and from a request's first byte on."""
    _unread_due: asyncio.TimerHandle | None = None
    """Runs while the client does not read what was written."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._await_head(begun=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.head_came()
        if self._unread_due is not None:
            self._unread_due.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self._await_head(begun=True)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self.head_came()
        super().on_headers_complete()

    def head_came(self) -> None:
        """A head is complete."""
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _await_head(self, *, begun: bool) -> None:
        self.head_came()
        self._head_due = self.loop.call_later(self.application.slow, self._no_head, begun)

    def _no_head(self, begun: bool) -> None:  # noqa: FBT001  # as a timer calls it
        self._head_due = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_head(begun=begun)  # an answer before it is still under way
            return
        if begun:
            self.transport.write(_TOO_SLOW)
        self.transport.close()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`. Nothing more is read of a client that leaves its answers."""
        super().pause_writing()
        self.flow.pause_reading()
        self._look_again()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._unread_due is not None:
            self._unread_due.cancel()
            self._unread_due = None
        super().resume_writing()
        if self.cycle is None or self.cycle.response_complete:
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """See `uvicorn.protocols.http.httptools_impl`."""
        super().on_response_complete()
        if self._unread_due is not None:
            self.flow.pause_reading()

    def _look_again(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._unread_due = self.loop.call_later(self.application.slow, self._unread, left)

    def _unread(self, before: int) -> None:
        """Give up a client that has read nothing; one that reads slowly is waited for."""
        if self.transport.get_write_buffer_size() >= before:
            self.transport.abort()
        else:
            self._look_again()
