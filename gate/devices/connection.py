"""One stream to the gate's agent on a device: a process whose pipes end there. Frames go both ways, nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.process import ROOT, Child

BOOTSTRAP = Path(__file__).with_name("first_message.py")
STARTER = "import sys;b=sys.stdin.buffer;exec(compile(b.read(int(b.read(10))),'weighbridge','exec'))"
"""All that the device's shell sees: Python reads the rest from its standard input, so that nothing needs quoting."""
MODULES = (
    "weighbridge/core/callables.py",
    "weighbridge/core/errors.py",
    "weighbridge/core/example_files.py",
    "weighbridge/core/examples.py",
    "weighbridge/core/facts/isa.py",
    "weighbridge/core/file_lock.py",
    "weighbridge/core/facts/targets.py",
    "weighbridge/core/ragged.py",
    "weighbridge/core/row_answers.py",
    "weighbridge/data.py",
    "weighbridge/gate/devices/agent.py",
    "weighbridge/gate/measure/bench.py",
    "weighbridge/gate/measure/energy.py",
    "weighbridge/gate/measure/frames.py",
    "weighbridge/gate/measure/launch_setup.py",
    "weighbridge/gate/measure/machine.py",
    "weighbridge/gate/measure/patience.py",
    "weighbridge/gate/measure/process.py",
    "weighbridge/gate/measure/process_limits.py",
    "weighbridge/gate/measure/recording.py",
    "weighbridge/gate/measure/staged_artifact.py",
    "weighbridge/gate/measure/worker.py",
    "weighbridge/gate/measure/operations.py",
    "weighbridge/gate/measure/worker_inputs.py",
)
"""What runs there, beside numpy and the standard library; `data` is what a user's factory imports."""
MOST_PAYLOAD = 1 << 30
"""Bytes of one answer at most: what a device claims to send is not believed beyond this."""


class DroppedError(MeasurementError):
    """The connection ended, or made no progress: asking again may help."""


class RefusedError(MeasurementError):
    """The agent answered that it cannot: asking again would not help."""


class Connection(Child):
    """A connected agent. `command` starts a Python on the device with our pipes on its standard streams."""

    most_payload = MOST_PAYLOAD

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, folder: str, timeout: float
    ) -> None:
        super().__init__(name, command, environment, timeout=timeout)
        modules = {path: (ROOT / path).read_text() for path in MODULES}
        order = json.dumps({"folder": folder, "modules": modules}).encode()
        bootstrap = BOOTSTRAP.read_bytes()
        try:
            for part in (bootstrap, order):
                self.write(f"{len(part):010d}".encode() + part, "the connection")
            self.said, _ = self.ask("hello")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Close the stream, give the agent a moment to see its end, then end our process."""
        if self.errors.closed:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # killed below: at the other end the stream ends with it
            self.process.wait(2.0)
        super().kill()

    def died(self) -> MeasurementError:
        """The way there is cut, or was never there."""
        return DroppedError(self._death(), where=self.name)

    def refused(self, answer: Mapping[str, Any]) -> MeasurementError:
        """What went wrong there, with the role that it concerns."""
        role = str(answer.get("where", ""))[:80]
        return RefusedError(str(answer["error"])[:800], where=f"{self.name}: {role}" if role else self.name)

    def hung(self, what: str) -> MeasurementError:
        """Nothing comes through."""
        return DroppedError(what, where=self.name)

    def open(self, artifact: Mapping[str, Any], *, threads: int, timeout: float) -> RemoteWorker:
        """Start a worker there."""
        answer, _ = self.ask("open", artifact=artifact, threads=threads, limit=timeout)
        number = answer.get("worker")
        if not isinstance(number, int):
            raise MeasurementError(f"did not start a worker: it answered {answer!r:.80}", where=self.name)
        return RemoteWorker(self, number, f"{self.name}: {artifact['name']}", timeout)


class RemoteWorker:
    """A worker at the other end: asked as `weighbridge.gate.measure.process.Worker` is."""

    def __init__(self, connection: Connection, number: int, name: str, timeout: float) -> None:
        self.connection, self.number = connection, number
        self.name, self.timeout = name, timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, MeasurementError):
            self.connection.ask("close", worker=self.number)

    def ask(
        self, operation: str, payload: bytes = b"", *, timeout: float | None = None, **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        """See `gate.measure.process.Worker.ask`. The time-out holds there; here it is that of the way on top."""
        question = {"op": operation, "timeout": timeout or self.timeout, **request}
        patience = (timeout or self.timeout) + self.connection.timeout
        return self.connection.ask("ask", payload, timeout=patience, worker=self.number, question=question)
