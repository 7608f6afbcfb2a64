"""What waits for a model's thread: a queue, and a connection that the thread reads by itself.

Two threads that wake each other take longer than a small model. Where one connection asks again and again and nothing
else waits, the model's thread reads it instead of the loop; as soon as anything else is queued, the loop has it back.

A processor that sleeps takes longer to wake than most of the server's work. A client that asked again soon is waited
for without sleeping, for a bounded time; one that took longer than that is waited for asleep until it is quick again.
"""

from __future__ import annotations

import asyncio
import os
import queue
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from weighbridge.core.errors import WeighbridgeError
from weighbridge.serve.tensors import Array, Feed

Result = list[Array] | WeighbridgeError
"""All outputs for one request, or why there are none."""
IDLE = 1000
"""Milliseconds for which a thread waits for one connection alone."""


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Source(Protocol):
    """A connection that its loop does not read while it is a thread's."""

    over: bool
    """Whether it is its loop's again."""
    holder: object | None
    """The queue whose thread reads it."""

    def fileno(self) -> int:
        """What to wait for."""

    def read(self) -> None:
        """Read, and submit the request that was read; never an error."""

    def release(self, data: bytes = b"") -> None:
        """Give it back to its loop, with what was read and not taken."""


@dataclass(eq=False, slots=True)
class Waiting:
    """One request on its way through a model."""

    feed: Feed
    settle: Callable[[Result], None]
    loop: asyncio.AbstractEventLoop
    until: float
    source: Source | None
    _layout: tuple[int, tuple[Any, ...]] | None = field(default=None, init=False)

    @property
    def layout(self) -> tuple[int, tuple[Any, ...]]:
        """How many examples, and what must agree for two requests to run together; read where requests meet only."""
        if self._layout is None:
            rows = {array.shape[0] if array.ndim else 1 for array in self.feed.values()}
            form = tuple((array.dtype.num, array.shape[1:]) for array in self.feed.values())
            # Inputs that disagree about the number of examples run alone: the model decides what that means.
            self._layout = (rows.pop(), form) if len(rows) == 1 else (1, (self,))
        return self._layout

    @property
    def rows(self) -> int:
        """How many examples."""
        return self.layout[0]


@dataclass(eq=False)
class Inbox:
    """A queue whose thread may wait for a source at the same time."""

    source: Source | None = None
    spin: float = 0.0
    """Seconds for which the thread asks for its source's next request before it sleeps. With one processor it never
    does: the client needs that.
    """
    clock: Callable[[], float] = time.monotonic
    _quick: bool = False
    """Whether the last request of the source came within `spin`."""
    _queue: queue.SimpleQueue[Waiting | None] = field(default_factory=queue.SimpleQueue)
    _asleep: bool = False
    """Whether the thread waits for its source, and has to be told of what is queued."""

    def __post_init__(self) -> None:
        self.spin = self.spin if processors() > 1 else 0.0
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear_number = self._ear.fileno()

    def put(self, waiting: Waiting | None) -> None:
        """In any thread; None ends the queue."""
        self._queue.put(waiting)
        if self._asleep:
            with suppress(BlockingIOError):  # it has been rung before
                self._bell.send(b".")

    def empty(self) -> bool:
        """Whether nothing is queued."""
        return self._queue.empty()

    def within(self, seconds: float) -> Waiting | None:
        """What is queued within a time; `queue.Empty` where nothing is."""
        return self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()

    def keep(self, source: Source | None) -> None:
        """Go on with a source, unless its loop has it again. What was kept before has been answered in its loop, or is
        this one.
        """
        if source is self.source and (source is None or not source.over):
            return
        if self.source is not None:
            self.source.holder = None
        self.source = source if source is not None and not source.over and source.holder is None else None
        if self.source is not None:
            self.source.holder = self
            self._quick = False
            self._both = select.poll()
            self._both.register(self._ear_number, select.POLLIN)
            self._both.register(self.source.fileno(), select.POLLIN)

    def next(self) -> Waiting | None:
        """What is queued, or what the source asks. A source that asks nothing, or behind others, is given back."""
        source = self.source
        if source is None:
            return self._queue.get()
        if self._asks(source):
            source.read()
        try:
            found = self._queue.get_nowait()
        except queue.Empty:
            self._leave(source)
            return self._queue.get()
        if found is None or found.source is not source:
            self._leave(source)
        return found

    def _asks(self, source: Source) -> bool:
        """Wait until the source may have a request, nothing else being queued."""
        begin = self.clock()
        if not (self._quick and self._spun(begin + self.spin)):
            self._asleep = True
            ready = self._both.poll(IDLE) if self._queue.empty() else ()
            self._asleep = False
            if any(number == self._ear_number for number, _ in ready):
                self._ear.recv(64)
            self._quick = self.clock() - begin < self.spin
        return self._queue.empty() and not source.over

    def _spun(self, until: float) -> bool:
        """Ask again and again whether anything came; False where nothing did until then."""
        while not self._both.poll(0):
            if not self._queue.empty():
                return True
            if self.clock() >= until:
                return False
        return True

    def _leave(self, source: Source) -> None:
        if not source.over:
            source.release()  # first: no other thread may keep it meanwhile
        self.source = source.holder = None


def in_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Any) -> None:
    """Call something in a loop, from any thread. A loop that has ended has nobody who waits."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise
