"""One thread a version: requests that wait while the model runs go through it together next time.

At one client nothing waits. `delay` makes the first request of a batch wait for others, at most so long. The queue is
bounded: what does not fit is refused at once, instead of everybody waiting longer.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from weighbridge.core.errors import MeasurementError, StateError, WeighbridgeError
from weighbridge.serve.models.queueing import Inbox, Result, Source, Waiting, in_loop
from weighbridge.serve.models.runtimes import Loaded
from weighbridge.serve.tensors import Array, Feed


class BusyError(StateError):
    """The queue is full, or the version does not answer: try again later."""


@dataclass(frozen=True)
class Batching:
    """How requests share runs."""

    rows: int = 32
    """Examples in one run at most."""
    delay: float = 0.0
    """Seconds that a request may wait for others to join."""
    queued: int = 256
    """Requests that may wait."""
    patience: float = 10.0
    """Seconds after which a request is given up."""
    spin: float = 0.0005
    """Seconds for which a thread waits for a lone, quick client without sleeping; see `queueing`."""


@dataclass
class Batcher:
    """Runs one loaded model; `submit` and `run` may be called by many tasks at once."""

    loaded: Loaded
    settings: Batching
    clock: Callable[[], float] = time.monotonic
    _inbox: Inbox = field(init=False)
    _open: dict[Waiting, bool] = field(default_factory=dict)
    """Requests without an answer, the oldest first. Whoever takes one out settles it: never twice."""
    _since: float | None = None
    """When the run in progress began."""
    _running: tuple[Waiting, ...] = ()
    """Requests in the run in progress."""
    _sweeps: asyncio.AbstractEventLoop | None = None
    """The loop in which requests that wait too long are given up, while there are any."""

    def __post_init__(self) -> None:
        self._batches = self.loaded.batches
        self._inbox = Inbox(spin=self.settings.spin)
        threading.Thread(target=self._work, daemon=True, name="inference").start()

    @property
    def waiting(self) -> int:
        """Requests that wait or run."""
        return len(self._open)

    @property
    def stuck(self) -> bool:
        """Whether the run in progress has taken longer than any request waits, or than one of its own did.

        A run begins after its requests came: by its own time alone, who was given up could ask again and wait as long.
        """
        since, running = self._since, self._running
        if since is None:
            return False
        given_up = any(waiting not in self._open for waiting in running)
        return self.clock() - since > self.settings.patience or (given_up and self._running is running)

    def submit(
        self,
        feed: Feed,
        settle: Callable[[Result], None],
        loop: asyncio.AbstractEventLoop | None = None,
        source: Source | None = None,
    ) -> None:
        """Run a request, and call `settle` once: with all outputs, or with a `MeasurementError` where it took too long
        or the runtime failed. A `BusyError` where the queue is full or the model hangs.

        Called in an event loop, or from another thread with the loop. `settle` is called in the thread of the runtime
        where the request ran and waits alone, which saves waking the loop, and in the loop otherwise. In the first
        case the thread goes on with the request's `source`, if it has one.
        """
        if self.stuck:
            raise BusyError("the model does not answer")
        if len(self._open) >= self.settings.queued:
            raise BusyError(f"{len(self._open)} requests are waiting")
        loop = loop or asyncio.get_running_loop()
        waiting = Waiting(feed, settle, loop, self.clock() + self.settings.patience, source)
        self._open[waiting] = True
        if self._sweeps is not loop:
            self._sweeps = loop
            in_loop(loop, loop.call_later, self.settings.patience, self._sweep)
        self._inbox.put(waiting)

    async def run(self, feed: Feed) -> list[Array]:
        """All outputs for one request; errors as of `submit`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Array]] = loop.create_future()
        self.submit(feed, lambda result: in_loop(loop, _settle, future, result))
        return await future

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._inbox.put(None)

    def _sweep(self) -> None:
        """Give up what has waited too long; look again when the next one has."""
        now, patience, loop = self.clock(), self.settings.patience, asyncio.get_running_loop()
        self._sweeps = None  # first: a thread that submits after the look below begins a sweep of its own
        for oldest in list(self._open):
            if oldest.until > now:
                self._sweeps = loop
                loop.call_later(max(0.001, oldest.until - now), self._sweep)
                return
            self._finish(oldest, MeasurementError(f"no answer within {patience:g} s"))

    def _finish(self, waiting: Waiting, result: Result) -> bool:
        """Settle it; False where that was done before."""
        if not self._open.pop(waiting, False):
            return False
        waiting.settle(result)
        return True

    def _work(self) -> None:
        left: Waiting | None = None
        while True:
            first = left or self._inbox.next()
            if first is None:
                return
            left = None
            if first not in self._open:
                continue  # given up: nobody waits for its answer
            batch, left, ended = self._gather(first)
            self._running, self._since = tuple(batch), self.clock()
            results = self._answers(batch)
            self._since, self._running = None, ()
            if len(batch) == 1 and left is None and self._inbox.empty():
                self._inbox.keep(first.source if self._finish(first, results[0]) else None)
            else:
                self._hand_over(batch, results)
            if ended and left is None:
                return
            if ended:
                self._inbox.put(None)

    def _hand_over(self, batch: Sequence[Waiting], results: Sequence[Result]) -> None:
        """Settle in the loops, each woken once: this thread goes on with the next run."""
        self._inbox.keep(None)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Waiting, Result]]] = {}
        for waiting, result in zip(batch, results, strict=True):
            by_loop.setdefault(waiting.loop, []).append((waiting, result))
        for loop, items in by_loop.items():
            in_loop(loop, self._finish_all, items)

    def _finish_all(self, items: Sequence[tuple[Waiting, Result]]) -> None:
        for waiting, result in items:
            self._finish(waiting, result)

    def _gather(self, first: Waiting) -> tuple[list[Waiting], Waiting | None, bool]:
        """The first request with those behind it that fit; one that did not fit; whether the queue ended."""
        batch = [first]
        if not self._batches or (self.settings.delay <= 0 and self._inbox.empty()):
            return batch, None, False
        (rows, form), until = first.layout, self.clock() + self.settings.delay
        while rows < self.settings.rows:
            try:
                wait = until - self.clock()
                following = self._inbox.within(wait)
            except queue.Empty:
                break
            if following is None:
                return batch, None, True
            if following not in self._open:
                continue
            if following.layout[1] != form or rows + following.rows > self.settings.rows:
                return batch, following, False
            batch.append(following)
            rows += following.rows
        return batch, None, False

    def _answers(self, batch: Sequence[Waiting]) -> Sequence[Result]:
        """Run a batch; one that fails is run one by one, so that a request fails for itself alone."""
        try:
            return self._together(batch)
        except Exception as error:  # noqa: BLE001  # the runtime's own errors share no base; each reaches its request
            return [_failed(error)] if len(batch) == 1 else [self._single(waiting) for waiting in batch]

    def _single(self, waiting: Waiting) -> Result:
        try:
            return self.loaded.run(waiting.feed)
        except Exception as error:  # noqa: BLE001  # as above
            return _failed(error)

    def _together(self, batch: Sequence[Waiting]) -> Sequence[Result]:
        if len(batch) == 1:
            return [self.loaded.run(batch[0].feed)]
        feed = {name: _joined([waiting.feed[name] for waiting in batch]) for name in batch[0].feed}
        outputs = self.loaded.run(feed)
        total = sum(waiting.rows for waiting in batch)
        if any(output.shape[:1] != (total,) for output in outputs):
            raise ValueError("the outputs have another number of examples than the inputs")
        ends = itertools.accumulate(waiting.rows for waiting in batch)
        return [
            [output[end - waiting.rows : end] for output in outputs] for waiting, end in zip(batch, ends, strict=True)
        ]


def _joined(arrays: Sequence[Array]) -> Array:
    """Arrays of one form, one after the other. numpy's own lets go of the interpreter for each of them, and waits for
    the loop as often.
    """
    data = b"".join([np.ascontiguousarray(array).data for array in arrays])
    rows = sum(len(array) for array in arrays)
    return np.frombuffer(data, arrays[0].dtype).reshape(rows, *arrays[0].shape[1:])


def _failed(error: Exception) -> MeasurementError:
    found = MeasurementError(f"the model failed: {' '.join(str(error).split())[:200]}")
    found.__cause__ = error
    return found


def _settle(future: asyncio.Future[list[Array]], result: Result) -> None:
    if future.done():
        return  # given up meanwhile
    if isinstance(result, WeighbridgeError):
        future.set_exception(result)
    else:
        future.set_result(result)
