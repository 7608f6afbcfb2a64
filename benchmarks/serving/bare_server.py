"""What a server cannot go below here: HTTP parsed by httptools, an answer of fixed bytes, no protocol and no model.

`python bare_server.py PORT loop 0` answers in the event loop, `… thread 0` from another thread, as a server does whose
model must not keep the loop from its other clients. The last number is for how many seconds the loop is busy before.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import sys
import threading
import time
from typing import Any

import httptools

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + b"x" * 200
SWITCH = 0.0002
"""As the server sets it."""


class Answering(asyncio.Protocol):
    """One connection."""

    waiting: queue.SimpleQueue[socket.socket] | None = None
    busy: float = 0

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)
        self.own = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        until = time.perf_counter() + self.busy
        while time.perf_counter() < until:
            pass
        if self.waiting is None:
            self.transport.write(ANSWER)
        else:
            self.waiting.put(self.own)


def _answer(waiting: queue.SimpleQueue[socket.socket], loop: asyncio.AbstractEventLoop) -> None:
    while True:
        waiting.get().send(ANSWER)
        loop.call_soon_threadsafe(int)  # the loop is woken once an answer, to take up what came behind it


async def serve(port: int, mode: str, busy: float) -> None:
    """Until the process is ended."""
    Answering.busy = busy
    loop = asyncio.get_running_loop()
    if mode == "thread":
        Answering.waiting = queue.SimpleQueue()
        threading.Thread(target=_answer, args=(Answering.waiting, loop), daemon=True).start()
    server = await loop.create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH)
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
