"""The gate's hand on a device: keeps files, starts workers, takes launches; does what the connection's frames ask.

It imports numpy, the standard library and the modules that came with it. When its standard input ends, for whatever
reason, its workers end, it ends, and its folder is removed.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from weighbridge.core.errors import MeasurementError, WeighbridgeError
from weighbridge.core.file_lock import lock_taken
from weighbridge.gate.measure import machine
from weighbridge.gate.measure.bench import record
from weighbridge.gate.measure.energy import Counters, counters
from weighbridge.gate.measure.frames import HEADER, pack, unpack_arrays, unpack_header
from weighbridge.gate.measure.launch_setup import Cores, Journey, LaunchProtocol, Setup
from weighbridge.gate.measure.operations import file_digest
from weighbridge.gate.measure.process import Worker, open_artifact
from weighbridge.gate.measure.recording import to_wire
from weighbridge.gate.measure.staged_artifact import StagedArtifact

Answer = tuple[dict[str, Any], bytes]
CODE_SECONDS = 50.0
"""For a user's data factory: less than the other end waits without progress."""


class Agent:
    """What one connection holds on the device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays: dict[str, Any] = {}
        self.raw: dict[str, Any] = {}
        self.workers: dict[int, Worker] = {}
        self.lock: int | None = None

    def hello(self, _: Mapping[str, Any], __: bytes) -> Answer:
        """What the machine is, the step of its clock, its energy counters, and the room in its folder."""
        energy = counters()
        free = shutil.disk_usage(self.folder).free
        return {
            "facts": machine.facts(),
            "clock_ns": machine.clock_step_ns(),
            "energy": energy if isinstance(energy, str) else "",
            "free_bytes": free,
            "machine": platform.machine(),
            "folder": str(self.folder),
        }, b""

    def put(self, request: Mapping[str, Any], payload: bytes) -> Answer:
        """Keep a file; answers with the digest of what now lies on the disk."""
        path = self._inside(request["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
        return {"digest": file_digest(str(path)), "path": str(path)}, b""

    def inputs(self, request: Mapping[str, Any], payload: bytes) -> Answer:
        """Keep the arrays that timing loops go through."""
        self.arrays = unpack_arrays(request["arrays"], payload)
        return {}, b""

    def examples(self, request: Mapping[str, Any], payload: bytes) -> Answer:
        """Keep raw examples for the user's code."""
        self.raw = unpack_arrays(request["arrays"], payload)
        return {}, b""

    def take_lock(self, _: Mapping[str, Any], __: bytes) -> Answer:
        """Whether this connection is now the only one that measures on the machine."""
        if self.lock is None:
            path = machine.lock_path(os.environ)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return {"taken": lock_taken(self.lock)}, b""

    def load(self, _: Mapping[str, Any], __: bytes) -> Answer:
        """How busy each core is."""
        return {"cores": {str(core): ticks for core, ticks in machine.recent_load().items()}}, b""

    def record(self, request: Mapping[str, Any], _: bytes) -> Answer:
        """Take one launch."""
        energy = counters() if request["energy"] else None
        setup = Setup(
            {role: _artifact(said) for role, said in request["roles"].items()},
            self.arrays,
            tuple(request["single"]),
            LaunchProtocol(**request["protocol"]),
            Cores(tuple(request["workers"]), tuple(request["harness"])),
            self._journey(request["journey"]),
            energy if isinstance(energy, Counters) else None,
            request.get("how", {}),
        )
        rng = np.random.default_rng(request["seed"])
        return to_wire(record(setup, frozenset(request["metrics"]), rng, control=request["control"]))

    def open(self, request: Mapping[str, Any], _: bytes) -> Answer:
        """Start a worker with an artifact, for questions other than launches."""
        worker, loaded = open_artifact(
            _artifact(request["artifact"]), threads=request["threads"], timeout=request["limit"]
        )
        number = 1 + max(self.workers, default=0)
        self.workers[number] = worker
        return {"worker": number, "loaded": loaded}, b""

    def ask(self, request: Mapping[str, Any], payload: bytes) -> Answer:
        """Hand a question to a worker and its answer back."""
        asked = dict(request["question"])
        return self.workers[request["worker"]].ask(asked.pop("op"), payload, **asked)

    def close(self, request: Mapping[str, Any], _: bytes) -> Answer:
        """End a worker."""
        self.workers.pop(request["worker"]).kill()
        return {}, b""

    def code(self, request: Mapping[str, Any], _: bytes) -> Answer:
        """Load the user's code once, in a process of its own, to see whether it runs here at all."""
        journey = self._journey(request["journey"])
        assert journey is not None
        with Worker("the data factory", timeout=CODE_SECONDS) as worker:
            journey.load_into(worker)
        return {}, b""

    def _journey(self, said: Mapping[str, Any] | None) -> Journey | None:
        if said is None:
            return None
        named = said["preprocess"], said["postprocess"], self.raw.get("raw") if said["preprocess"] else None
        return Journey(said["factory"], Path(said["folder"]), said["examples"], *named)

    def _inside(self, name: str) -> Path:
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise MeasurementError(f"{name!r} is outside the folder")
        return path


def _artifact(said: Mapping[str, Any]) -> StagedArtifact:
    files = tuple((str(path), str(digest)) for path, digest in said["files"])
    return StagedArtifact(said["name"], files, Path(said["adapter"]), tuple(said["inputs"]))


def main(folder: str, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer frames until the stream ends; a reader of its own sees the end while a launch is under way."""
    agent = Agent(Path(folder))
    frames: queue.Queue[tuple[dict[str, Any], bytes]] = queue.Queue()
    threading.Thread(target=_read, args=(source, frames, agent), daemon=True).start()
    operations: dict[str, Callable[[Mapping[str, Any], bytes], Answer]] = {
        "hello": agent.hello,
        "put": agent.put,
        "inputs": agent.inputs,
        "examples": agent.examples,
        "lock": agent.take_lock,
        "load": agent.load,
        "record": agent.record,
        "open": agent.open,
        "ask": agent.ask,
        "close": agent.close,
        "code": agent.code,
    }
    while True:
        request, payload = frames.get()
        try:
            answer, body = operations[request["op"]](request, payload)
        except Exception as error:  # noqa: BLE001  # the rim of this process: the one that asked decides what it means
            answer, body = _problem(error), b""
        sink.write(pack(answer, body))
        sink.flush()


def _problem(error: Exception) -> dict[str, Any]:
    if isinstance(error, WeighbridgeError):
        return {"error": error.what, "where": error.where or ""}
    if isinstance(error, OSError):
        return {"error": f"{error.strerror or error} ({error.filename})" if error.filename else str(error)}
    return {"error": f"{type(error).__name__}: {error}"[:600]}


def _read(source: BinaryIO, frames: queue.Queue[tuple[dict[str, Any], bytes]], agent: Agent) -> None:
    try:
        while header := source.read(HEADER.size):
            length, size = unpack_header(header)
            request = json.loads(source.read(length))
            frames.put((request, source.read(size)))
    finally:
        # The connection is gone. What workers still run dies with this process, and the folder goes after it.
        for worker in list(agent.workers.values()):
            worker.kill()
        os._exit(0)
