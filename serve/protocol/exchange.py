"""One inference request on a connection of `shortcut`, and its answer."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from weighbridge.core.errors import WeighbridgeError
from weighbridge.serve.answers import Answer
from weighbridge.serve.protocol.application import encoded, headers_of, status_of
from weighbridge.serve.protocol.reading import Head


class _Nobody:
    """What uvicorn sets where a client leaves; nobody waits for it here."""

    def set(self) -> None:
        """See `asyncio.Event`."""


_NOBODY = _Nobody()
OK = HTTPStatus.OK


class Exchange:
    """One inference request and its answer; it stands where uvicorn keeps its own cycles."""

    head: Head | None = None
    """Set once the request is read."""
    parts: list[bytes]
    """Of the body; set with the first."""
    received = 0
    given_up: asyncio.TimerHandle | None = None
    followed = False
    """Whether uvicorn has queued a request behind this one."""
    response_complete = disconnected = False
    message_event = _NOBODY

    keep_alive = True

    def __init__(self, protocol: Any, model: str, version: str | None, size: int, began: float) -> None:
        self.protocol, self.model, self.version, self.size, self.began = protocol, model, version, size, began

    def take(self, body: bytes) -> None:
        """A part of the body; llhttp gives no more of it than `Content-Length` says."""
        if self.received:
            self.parts.append(body)
        else:
            self.parts = [body]
        self.received += len(body)

    def answer(self, found: Answer | WeighbridgeError) -> None:
        """Send the answer, from whatever thread."""
        try:
            if isinstance(found, WeighbridgeError):
                raise found
            status, (body, headers) = OK, encoded(self.model, found)
        except WeighbridgeError as error:
            status = status_of(error)
            body, headers = json.dumps({"error": str(error)}).encode(), headers_of(status)
        self.protocol.reply(self, status, body, headers)
