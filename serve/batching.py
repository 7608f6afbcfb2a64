"""One thread a version: requests that wait while the model runs go through it together next time.

At one client nothing waits. `delay` makes the first request of a batch wait for others, at most so long. The queue is
bounded: what does not fit is refused at once, instead of everybody waiting longer.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weighbridge.core.errors import MeasurementError, StateError
from weighbridge.serve.runtimes import Loaded
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


@dataclass(frozen=True, eq=False)
class _Waiting:
    feed: Feed
    rows: int
    form: tuple[Any, ...]
    done: Callable[[list[Array] | BaseException], None]


@dataclass
class Batcher:
    """Runs one loaded model; `run` may be called by many tasks at once."""

    loaded: Loaded
    settings: Batching
    clock: Callable[[], float] = time.monotonic
    _queue: queue.SimpleQueue[_Waiting | None] = field(default_factory=queue.SimpleQueue)
    _since: float | None = None
    """When the run in progress began."""
    _waiting: int = 0

    def __post_init__(self) -> None:
        threading.Thread(target=self._work, daemon=True, name="inference").start()

    @property
    def waiting(self) -> int:
        """Requests that wait or run."""
        return self._waiting

    @property
    def stuck(self) -> bool:
        """Whether the run in progress has taken longer than any request waits."""
        since = self._since
        return since is not None and self.clock() - since > self.settings.patience

    async def run(self, feed: Feed) -> list[Array]:
        """All outputs for one request; a `BusyError` where the queue is full or the model hangs, a `MeasurementError`
        where it took too long or the runtime failed.
        """
        if self.stuck:
            raise BusyError("the model does not answer")
        if self._waiting >= self.settings.queued:
            raise BusyError(f"{self._waiting} requests are waiting")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Array]] = loop.create_future()

        def finish(result: list[Array] | BaseException) -> None:
            loop.call_soon_threadsafe(_settle, future, result)

        self._waiting += 1
        try:
            self._queue.put(_Waiting(feed, *_form(feed), finish))
            async with asyncio.timeout(self.settings.patience):
                return await future
        except TimeoutError as error:
            raise MeasurementError(f"no answer within {self.settings.patience:g} s") from error
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._queue.put(None)

    def _work(self) -> None:
        left: _Waiting | None = None
        while True:
            first = left or self._queue.get()
            if first is None:
                return
            batch, left, ended = self._gather(first)
            self._since = self.clock()
            self._answer(batch)
            self._since = None
            if ended and left is None:
                return
            if ended:
                self._queue.put(None)

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], _Waiting | None, bool]:
        """The first request with those behind it that fit; one that did not fit; whether the queue ended."""
        batch, rows, until = [first], first.rows, self.clock() + self.settings.delay
        while self.loaded.batches and rows < self.settings.rows:
            try:
                wait = until - self.clock()
                following = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return batch, None, True
            if following.form != first.form or rows + following.rows > self.settings.rows:
                return batch, following, False
            batch.append(following)
            rows += following.rows
        return batch, None, False

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Run a batch; one that fails is run one by one, so that a request fails for itself alone."""
        try:
            results: Sequence[list[Array] | BaseException] = self._together(batch)
        except Exception as error:  # noqa: BLE001  # the runtime's own errors share no base; each reaches its request
            results = [_failed(error)] if len(batch) == 1 else [self._single(waiting) for waiting in batch]
        for waiting, result in zip(batch, results, strict=True):
            waiting.done(result)

    def _single(self, waiting: _Waiting) -> list[Array] | BaseException:
        try:
            return self.loaded.run(waiting.feed)
        except Exception as error:  # noqa: BLE001  # as above
            return _failed(error)

    def _together(self, batch: Sequence[_Waiting]) -> list[list[Array]]:
        if len(batch) == 1:
            return [self.loaded.run(batch[0].feed)]
        feed = {name: np.concatenate([waiting.feed[name] for waiting in batch]) for name in batch[0].feed}
        outputs = self.loaded.run(feed)
        total = sum(waiting.rows for waiting in batch)
        if any(output.shape[:1] != (total,) for output in outputs):
            raise ValueError("the outputs have another number of examples than the inputs")
        ends = np.cumsum([waiting.rows for waiting in batch])[:-1]
        parts = [np.split(output, ends) for output in outputs]
        return [list(row) for row in zip(*parts, strict=True)]


def _failed(error: Exception) -> MeasurementError:
    found = MeasurementError(f"the model failed: {' '.join(str(error).split())[:200]}")
    found.__cause__ = error
    return found


def _form(feed: Feed) -> tuple[int, tuple[Any, ...]]:
    """How many examples, and what must agree for two requests to run together."""
    rows = {array.shape[0] if array.ndim else 1 for array in feed.values()}
    form = tuple((array.dtype.num, array.shape[1:]) for array in feed.values())
    # Inputs that disagree about the number of examples run alone: the model decides what that means.
    return (rows.pop(), form) if len(rows) == 1 else (1, (object(),))


def _settle(future: asyncio.Future[list[Array]], result: list[Array] | BaseException) -> None:
    if future.done():
        return  # given up meanwhile
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
