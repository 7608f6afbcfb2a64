"""Worker processes as the gate sees them: started fresh, asked with a deadline, killed as a group.

Whatever goes wrong with one (it crashes, hangs, is killed, prints garbage) is a `MeasurementError`, never an answer.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from typing import Protocol as Interface

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure import frames
from weighbridge.gate.measure.patience import Patience
from weighbridge.gate.measure.process_limits import MEMORY_VARIABLE
from weighbridge.gate.measure.staged_artifact import StagedArtifact

ROOT = Path(__file__).absolute().parents[3]
WORKER = """\
import sys, types
package = types.ModuleType("weighbridge")
package.__path__ = [sys.argv[1] + "/weighbridge"]
sys.modules["weighbridge"] = package
from weighbridge.gate.measure.worker import main
main()
"""
"""A worker of this very code: not of another version that its Python may have installed, as on a device."""
ARGUMENTS = ("-I", "-c", WORKER, str(ROOT))
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV", MEMORY_VARIABLE)
REAP_SECONDS = 5.0


class Answering(Interface):
    """A worker, here or at the other end of a connection."""

    name: str
    timeout: float

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def ask(
        self, operation: str, payload: bytes = b"", *, timeout: float | None = None, **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for its answer."""
        ...


class Child:
    """A process that answers frames on its pipes. Use it as a context: leaving it kills the process group.

    Every way in which it can go wrong is raised as what `died` and `hung` make: a `MeasurementError` here.
    """

    most_payload = frames.MAX_PAYLOAD
    """Bytes of one answer at most."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], *, timeout: float) -> None:
        self.name = name
        self.timeout = timeout
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=dict(environment),
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.sink, self.source = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.sink, False)
        os.set_blocking(self.source, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End the process and whatever it started. Does nothing the second time."""
        if self.errors.closed:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            self.process.wait(REAP_SECONDS)
            for stream in (self.process.stdin, self.process.stdout, self.errors):
                if stream is not None:
                    stream.close()

    def ask(
        self, operation: str, payload: bytes = b"", *, timeout: float | None = None, **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for its answer; see `send` and `receive`."""
        self.send(operation, payload, timeout=timeout, **request)
        return self.receive(timeout=timeout)

    def send(self, operation: str, payload: bytes = b"", *, timeout: float | None = None, **request: Any) -> None:
        """Send one request; a worker that does not take it in time is a fault."""
        self.write(frames.pack({"op": operation, **request}, payload), operation, timeout=timeout)

    def write(self, data: bytes, what: str, *, timeout: float | None = None) -> None:
        """Write bytes, `what` names them in faults; progress must be made within every `timeout` seconds."""
        left = memoryview(data)
        while left:
            self._await(self.sink, select.POLLOUT, self._patience(timeout), what)
            try:
                left = left[os.write(self.sink, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self.died() from None

    def receive(self, *, timeout: float | None = None) -> tuple[dict[str, Any], bytes]:
        """One answer: its JSON object and payload. Anything that is none raises `MeasurementError`."""
        patience = self._patience(timeout)
        header = self._read(frames.HEADER.size, patience)
        try:
            length, size = frames.unpack_header(header)
            answer = json.loads(self._read(length, patience), parse_constant=_refuse)
        except (frames.ProtocolError, ValueError, RecursionError) as error:
            raise self._fault(f"sent an invalid message: {error}") from error
        if size > self.most_payload:
            raise self._fault(f"claims an answer of {size} bytes; at most {self.most_payload} are read")
        payload = self._read(size, patience)
        if not isinstance(answer, dict):
            raise self._fault(f"sent an invalid message: {answer!r:.80} is not an object")
        if "error" in answer:
            raise self.refused(answer)
        return answer, payload

    def _patience(self, timeout: float | None) -> Patience:
        return Patience(timeout or self.timeout, self.process.pid)

    def _read(self, count: int, patience: Patience) -> bytes:
        parts: list[bytes] = []
        while count:
            self._await(self.source, select.POLLIN, patience, "an answer")
            try:
                part = os.read(self.source, min(count, 1 << 20))
            except BlockingIOError:
                continue
            if not part:
                raise self.died()
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _await(self, handle: int, event: int, patience: Patience, what: str) -> None:
        poller = select.poll()
        poller.register(handle, event)
        if not patience.until(lambda seconds: poller.poll(seconds * 1000)):
            said = self._last_words()
            self.kill()
            raise self.hung(f"hung: no progress on {what} within the time-out; it was killed{said}")

    def _death(self) -> str:
        """Why the process is gone, in words."""
        try:
            code = self.process.wait(REAP_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its pipe and hung"
        said = self._last_words()
        if code == -signal.SIGKILL:
            return f"was killed by the system (SIGKILL), as happens when memory runs out{said}"
        if code < 0:
            return f"crashed by signal {-code} ({signal.Signals(-code).name}){said}"
        return f"ended with exit code {code} in the middle of its work{said}"

    def _last_words(self) -> str:
        if self.errors.closed:
            return ""
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 2000))
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"; it said: {lines[-1][:300]}" if lines else ""

    def died(self) -> MeasurementError:
        """What is raised when the process is gone."""
        return self._fault(self._death())

    def refused(self, answer: Mapping[str, Any]) -> MeasurementError:
        """What is raised when it answers that it cannot."""
        return self._fault(str(answer["error"])[:800])

    def hung(self, what: str) -> MeasurementError:
        """What is raised when it makes no progress."""
        return self._fault(what)

    def _fault(self, what: str) -> MeasurementError:
        return MeasurementError(what, where=self.name)


class Worker(Child):
    """One fresh process with one artifact."""

    def __init__(
        self,
        name: str,
        *,
        threads: int = 1,
        timeout: float = 60.0,
        command: Sequence[str] = (sys.executable, *ARGUMENTS),
    ) -> None:
        environment = {key: os.environ[key] for key in KEPT_VARIABLES if key in os.environ}
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"ORT_DISABLE_TELEMETRY": "1"}
        super().__init__(name, command, environment, timeout=timeout)


def open_artifact(
    artifact: StagedArtifact, *, cores: Sequence[int] = (), threads: int = 1, timeout: float = 60.0
) -> tuple[Worker, dict[str, Any]]:
    """Start a worker and load an artifact into it; the caller leaves the worker's context. Returns what `start` and
    `load` answered: `version`, `memory` (bytes, of the empty runtime), `load_ns`.
    """
    opened = start_worker(artifact, threads=threads, timeout=timeout)
    return opened, load_into(opened, artifact, cores=cores, threads=threads)


def start_worker(artifact: StagedArtifact, *, threads: int = 1, timeout: float = 60.0) -> Worker:
    """A worker that imports the runtime of an artifact; `load_into` waits for it. The caller leaves its context."""
    opened = Worker(artifact.name, threads=threads, timeout=timeout)
    try:
        opened.send("start", adapter=str(artifact.adapter))
    except BaseException:
        opened.kill()
        raise
    return opened


def load_into(
    opened: Worker, artifact: StagedArtifact, *, cores: Sequence[int] = (), threads: int = 1
) -> dict[str, Any]:
    """Load the artifact into a worker of `start_worker`; see `open_artifact`. A worker that fails is killed."""
    try:
        started, _ = opened.receive()
    except BaseException:
        opened.kill()
        raise
    return {**started, **load_next(opened, artifact, cores=cores, threads=threads)}


def load_next(
    opened: Worker, artifact: StagedArtifact, *, cores: Sequence[int] = (), threads: int = 1
) -> dict[str, Any]:
    """Load an artifact into a worker whose runtime is there, in the place of what it had; as `load_into`."""
    try:
        return opened.ask("load", threads=threads, cores=list(cores), **artifact.loaded)[0]
    except BaseException:
        opened.kill()
        raise


def send_arrays(opened: Answering, operation: str, arrays: Mapping[str, Any], **request: Any) -> dict[str, Any]:
    """Ask an operation that takes arrays and answers with arrays or facts; returns the answer, arrays unpacked."""
    described, payload = frames.pack_arrays(arrays)
    answer, body = opened.ask(operation, payload, arrays=described, **request)
    if "arrays" in answer:
        try:
            return {**answer, "arrays": frames.unpack_arrays(answer["arrays"], body)}
        except frames.ProtocolError as error:
            raise MeasurementError(f"sent an invalid message: {error}", where=opened.name) from error
    return answer


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")
