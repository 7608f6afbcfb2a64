"""Reading a connection in a model's thread: only requests that begin as the one before, all else is its loop's."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from typing import Any

from weighbridge.serve.models.queueing import in_loop

LARGEST = 256 * 1024
"""Bytes that are read at once, as asyncio does."""
_LOG = logging.getLogger("weighbridge.serve")


@dataclass(frozen=True, slots=True)
class Head:
    """A request's bytes before its body, and what they say: read once where a connection repeats them."""

    raw: bytes
    model: str
    version: str | None
    size: int
    length: int | None
    key: str | None
    parent: str | None

    def begins(self, data: bytes) -> bool:
        """Whether this is one whole request with this head."""
        return len(data) == len(self.raw) + self.size and data.startswith(self.raw)


class Connection:
    """A connection that the runtime's thread reads; see `queueing.Source`. Only what repeats its head is taken there,
    everything else is given back to the loop.
    """

    def __init__(self, protocol: Any, own: socket.socket) -> None:
        self.protocol, self.own = protocol, own
        self.over = False
        self.holder: object | None = None

    def fileno(self) -> int:
        """See `queueing.Source`."""
        return self.own.fileno()

    def read(self) -> None:
        """See `queueing.Source`."""
        before = self.protocol.cycle
        before.response_complete = False  # from here on, whoever shuts down waits for what is read
        try:
            data = self.own.recv(LARGEST)
        except OSError:
            data = b""  # nothing came; or the client has left, which the loop sees too
        try:
            if self.protocol.repeated(data, self):
                return
        except Exception:  # noqa: BLE001  # the rim of a connection, as the loop's own: the thread has others to serve
            _LOG.exception("a connection failed")
            in_loop(self.protocol.loop, self.protocol.transport.abort)
            data = b""
        before.response_complete = True
        self.protocol.steady &= not data
        self.release(data)

    def release(self, data: bytes = b"") -> None:
        """See `queueing.Source`."""
        self.over = True
        in_loop(self.protocol.loop, self.protocol.released, self, data)
