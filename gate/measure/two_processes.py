"""Two processes of this machine that answer for one artifact after the other, so that each is asked in both.

A process takes longer to import a runtime than most models take to answer: starting two for all artifacts of a
weighing, instead of two for each, costs what one for each would. Nothing is timed in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from weighbridge.gate.measure.process import Answering, Worker, load_into, load_next, start_worker
from weighbridge.gate.measure.staged_artifact import StagedArtifact


class TwoProcesses:
    """Use it as a context: leaving it ends both. A process that went wrong is not asked again: that error ends it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._adapter: Path | None = None
        self._started: list[Worker] = []
        self._fresh: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def take(self, artifact: StagedArtifact, timeout: float) -> Iterator[Answering]:
        """The process that was asked less recently, with the artifact loaded; `MeasurementError` where it does not."""
        if artifact.adapter != self._adapter:
            self._stack.close()
            self._adapter = artifact.adapter
            # Both at once: the second imports its runtime while the first one answers.
            self._started = [self._stack.enter_context(start_worker(artifact, timeout=timeout)) for _ in range(2)]
            self._fresh = [*self._started]
        worker = self._started.pop(0)
        self._started.append(worker)
        worker.name, worker.timeout = artifact.name, timeout
        if worker in self._fresh:
            self._fresh.remove(worker)
            load_into(worker, artifact)
        else:
            load_next(worker, artifact)
        yield worker
