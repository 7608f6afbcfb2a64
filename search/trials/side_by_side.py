"""Trials of a batch trained side by side: each in a process of its own, on one thread, so that all cores are used.

What a rung comes to depends on its point and epochs alone, so that a search with many processes tries and finds what
one with a single process does. A process that dies loses one rung, which another makes again; where it dies as well,
that trial alone ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from weighbridge.core import errors
from weighbridge.core.documents import Sizes
from weighbridge.core.errors import MeasurementError, WeighbridgeError
from weighbridge.gate.measure.process import THREAD_VARIABLES, Child
from weighbridge.search.problem.space import Point
from weighbridge.search.trials.trial import Rung, TimeUpError, Workshop

PATIENCE = 1e6
"""Seconds that a rung may take: training ends by itself, or with the search."""
TRIES = 2
"""Processes that may die of one rung before its trial ends."""
MODULE = "weighbridge.search.trials.training_process"


class TrainingProcesses:
    """Processes that make rungs. Use `training_processes`."""

    def __init__(self, workshop: Workshop, count: int) -> None:
        self.workshop = workshop
        self.children: list[Child] = []
        self.free: SimpleQueue[Child] = SimpleQueue()
        self.closing = False
        for _ in range(count):
            self.free.put(self._started())

    def make(self, point: Point, epochs: int) -> tuple[Rung, Sizes]:
        """A rung as `Workshop.made` gives it; raises what it raises, or a `MeasurementError` where processes die.

        A rung that trains when the search's time is up is broken off: a `TimeUpError`.
        """
        child = self.free.get()
        try:
            for attempt in range(1, TRIES + 1):
                left = self.workshop.left() if epochs else PATIENCE
                if left <= 0:
                    raise TimeUpError("the search's time is up")
                try:
                    values = self.workshop.space.values(point)
                    answer, _ = child.ask("rung", timeout=min(PATIENCE, left), values=values, epochs=epochs)
                    break
                except MeasurementError as error:
                    child.kill()
                    if self.closing:
                        raise
                    child = self._started()
                    if epochs and self.workshop.left() <= 0:
                        raise TimeUpError("the search's time is up") from error
                    if attempt == TRIES:
                        raise
        finally:
            self.free.put(child)
        return _read(answer)

    def end(self) -> None:
        """Kill all; threads that wait for an answer get an error."""
        self.closing = True
        for child in list(self.children):
            _kill(child)

    def _started(self) -> Child:
        workshop = self.workshop
        source = workshop.searched.source
        asked = {"root": str(source.project.root.absolute()), "target": source.target.name}
        asked |= {"folder": str(workshop.folder.absolute())}
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), "PYTHONPATH": paths}
        command = [sys.executable, "-m", MODULE, json.dumps(asked)]
        child = Child("training", command, environment, timeout=PATIENCE)
        self.children.append(child)
        if self.closing:  # set meanwhile, by the thread that ends all
            _kill(child)
        return child


def _kill(child: Child) -> None:
    """End a process without closing its pipes: another thread may be reading them."""
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)


def _read(answer: dict[str, Any]) -> tuple[Rung, Sizes]:
    if "refused" in answer:
        told = dict(answer["refused"])
        kind = getattr(errors, told.pop("kind"), WeighbridgeError)
        raise kind(told.pop("what"), **told)
    if "system" in answer:
        told = answer["system"]
        raise OSError(told["number"], told["text"], told["path"])
    return Rung(**answer["rung"]), Sizes(**answer["sizes"])


Work = Callable[[], Any]
Each = Callable[[Sequence[Work]], Iterator[tuple[int, Callable[[], Any]]]]
"""Pieces of work → for each as it ends, its index and what gives its result or raises its error."""


def in_turn(pieces: Sequence[Work]) -> Iterator[tuple[int, Callable[[], Any]]]:
    """One after the other, in this process, each when its result is asked for."""
    yield from enumerate(pieces)


@contextmanager
def side_by_side(workshop: Workshop, count: int) -> Iterator[Each]:
    """What runs pieces of work on `count` processes, which live as long as the context; one: in this very process.

    Leaving it early, by Ctrl-C or an error, kills what is under way.
    """
    if count <= 1 or not workshop.trains:
        yield in_turn
        return
    # Threads outlive the processes: a process dies with the thread that started it.
    with ThreadPoolExecutor(count) as threads:
        processes = TrainingProcesses(workshop, count)
        workshop.make = processes.make

        def each(pieces: Sequence[Work]) -> Iterator[tuple[int, Callable[[], Any]]]:
            futures = {threads.submit(piece): index for index, piece in enumerate(pieces)}
            for future in as_completed(futures):
                yield futures[future], future.result

        try:
            yield each
        finally:
            processes.end()
            threads.shutdown(cancel_futures=True)
            for child in processes.children:
                child.kill()
            workshop.make = workshop.made


__all__ = ["Each", "TrainingProcesses", "in_turn", "side_by_side"]
