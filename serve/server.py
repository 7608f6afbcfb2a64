"""The process: load what the registry says, listen, poll, and go down without losing a request."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from weighbridge.core.errors import StateError, WeighbridgeError
from weighbridge.serve.answers import Options
from weighbridge.serve.following import Desired, Follower
from weighbridge.serve.models.batching import Batching
from weighbridge.serve.models.fleet import Fleet, drain
from weighbridge.serve.observability.counters import Telemetry
from weighbridge.serve.observability.journal import Appender, Journal
from weighbridge.serve.observability.traces import Tracer, provider_for
from weighbridge.serve.protocol.application import Application
from weighbridge.serve.protocol.shortcut import protocol_of
from weighbridge.serve.service import Service

_LOG = logging.getLogger("weighbridge.serve")
SWITCH = 0.0002
"""Seconds for which one thread keeps the interpreter while another waits; Python's own 5 ms are a model's runs."""


@dataclass(frozen=True)
class Listening:
    """Where, and how patiently."""

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    connections: int = 1024
    poll: float = 30.0
    """Seconds between looks at the registry's remote."""
    drain: float = 30.0
    """Seconds that requests under way may take when the server goes down."""


@dataclass
class Server:
    """One model, served."""

    follower: Follower
    listening: Listening = field(default_factory=Listening)
    batching: Batching = field(default_factory=Batching)
    options: Options = field(default_factory=Options)
    threads: int = 1
    log: Path | None = None
    key_header: str = "x-request-key"
    traces: str | None = None
    """Where spans are sent (OTLP over HTTP); None: nowhere."""
    traced: float = 1.0
    """Per cent of the requests that are traced, beside those that a sampled trace called."""

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.follower.bytes_of, self.batching, self.threads)
        self._wanted: Desired | None = None
        self._remote_problem: str | None = None
        self._pending = False
        """Whether a state was taken that an unforeseen error kept from being served."""
        self._stop = threading.Event()

    def start(self) -> Application:
        """Load what is to be served; what cannot be is an error, and nothing listens."""
        model = self.follower.model
        self._wanted = self.follower.start()
        self._remote_problem = self.follower.problem
        journal = Journal(self.follower.folder / "journal.jsonl")
        telemetry = Telemetry(model, lambda: journal.totals, self._gauges)
        telemetry.limit(self._wanted.thresholds)
        self.fleet.update(self._wanted)
        self._tell()
        log = Appender(self.log) if self.log is not None else None
        self.service = Service(model, self.fleet, telemetry, journal, self.options, log, self._tracer())
        return Application(self.service, self.key_header, status=self.status)

    def _tracer(self) -> Tracer | None:
        return Tracer(provider_for(self.traces, self.traced), time.time_ns) if self.traces is not None else None

    def look(self) -> None:
        """Serve what moved in the registry. One that is away, rewound or forged changes nothing."""
        try:
            found = self.follower.poll()
            self._remote_problem = None
        except WeighbridgeError as error:
            if str(error) != self._remote_problem:
                _LOG.warning("the registry's state is not taken: %s", error)
            self._remote_problem, found = str(error), None
        self._wanted = found or self._wanted
        # What did not load is tried again: its bytes may have arrived meanwhile.
        self._pending = self._pending or found is not None
        if self._wanted is not None and (self._pending or self.fleet.problem):
            self.service.telemetry.limit(self._wanted.thresholds)
            try:
                self.fleet.update(self._wanted)
            except WeighbridgeError as error:
                _LOG.warning("nothing is served: %s", error)
            self._pending = False
            if found is not None:
                self._tell()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain."""
        application = self.start()
        listening = self.listening
        config = uvicorn.Config(
            application, host=listening.host, port=listening.port, lifespan="off", log_level="warning",
            access_log=False, proxy_headers=False, http=protocol_of(application),
            limit_concurrency=listening.connections, timeout_graceful_shutdown=round(listening.drain),
            timeout_keep_alive=75, server_header=False, date_header=False, ws="none",
        )  # fmt: skip
        sys.setswitchinterval(SWITCH)
        gc.collect()
        gc.freeze()  # what was imported stays: no later collection looks at it, which would hold up requests
        self.follow()
        try:
            # asyncio's own loop, not uvloop: that keeps the interpreter from the runtimes' threads for longer; it
            # carried a tenth fewer requests in the same time.
            asyncio.run(self._serve(_Draining(config, self.service, self._remote)))
        finally:
            self.close()

    def follow(self) -> None:
        """Look at the registry from now on, in a thread."""
        threading.Thread(target=self._poll, daemon=True, name="registry").start()

    def close(self) -> None:
        """Follow no longer, and let go of the folder."""
        self._stop.set()
        if self.service.tracer is not None:
            self.service.tracer.provider.shutdown()
        self.service.journal.close()
        self.follower.close()

    def _remote(self) -> Any:
        """A gRPC server that listens, not started; None where none is wanted."""
        listening = self.listening
        if listening.grpc_port is None:
            return None
        from weighbridge.serve.protocol.remote import Remote  # noqa: PLC0415  # grpcio starts threads where it is imported

        address = f"{listening.host}:{listening.grpc_port}"
        largest = self.options.limits.body_bytes
        made, port = Remote(self.service, self.key_header).server(address, largest, listening.connections)
        _LOG.info("gRPC on %s:%d", listening.host, port)
        return made

    async def _serve(self, server: _Draining) -> None:
        await server.serve()
        if self.fleet.board is not None:
            await drain(self.fleet.board, self.listening.drain)

    def _poll(self) -> None:
        while not self._stop.wait(self.listening.poll):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  # the rim of this thread, which has to go on following
                _LOG.exception("a look at the registry failed")
                self._remote_problem = f"a look at the registry failed: {type(error).__name__}: {error}"
                self.service.telemetry.refuse("look", "failed")

    def status(self) -> dict[str, Any]:
        """What serves, since which commit, and how old that is."""
        board, age = self.fleet.board, self.follower.age
        return {
            "model": self.follower.model,
            "commit": board.commit if board else None,
            "stable": board.stable.version if board else None,
            "stable_digest": board.stable.artifact.digest if board else None,
            "canary": board.canary.version if board and board.canary else None,
            "weight": board.weight if board else 0.0,
            "previous": board.previous.version if board and board.previous else None,
            "registry_age_seconds": age,
            "problems": [problem for problem in (self._remote_problem, self.fleet.problem) if problem],
        }

    def _gauges(self) -> Iterator[tuple[str, str, dict[str, str], float]]:
        board, age = self.fleet.board, self.follower.age
        if age is not None:
            yield "weighbridge_registry_age_seconds", "Since the registry's remote last answered", {}, age
        yield (
            "weighbridge_registry_problem",
            "1: the registry's newest state is not what serves",
            {},
            float(bool(self._remote_problem or self.fleet.problem)),
        )
        for channel, serving in (("stable", board.stable), ("canary", board.canary)) if board else ():
            if serving is not None and board is not None:
                weight = board.weight if channel == "canary" else 100.0 - board.weight
                labels = {"channel": channel, "version": serving.version, "digest": serving.artifact.digest}
                yield "weighbridge_serving", "Per cent of the requests, by channel", labels, weight

    def _tell(self) -> None:
        board = self.fleet.board
        if board is not None:
            canary = f", {board.canary.version} to {board.weight:g}%" if board.canary else ""
            _LOG.info("serving %s@%s%s", self.follower.model, board.stable.version, canary)
        if self.fleet.problem:
            _LOG.warning("%s", self.fleet.problem)


class _Draining(uvicorn.Server):
    """Says that it is not ready as soon as it is told to go down."""

    def __init__(self, config: uvicorn.Config, service: Service, remote: Callable[[], Any]) -> None:
        super().__init__(config)
        self.service, self.remote = service, remote
        self.calls: Any = None

    async def startup(self, sockets: Any = None) -> None:
        """An address that is taken is a `StateError`, not an exit in the middle."""
        try:
            await super().startup(sockets)
        except SystemExit as error:
            raise StateError(f"cannot listen on {self.config.host}:{self.config.port}") from error
        self.calls = self.remote()
        if self.calls is not None:
            await self.calls.start()

    async def shutdown(self, sockets: Any = None) -> None:
        """Both protocols finish what they have begun."""
        stopping: list[Any] = [] if self.calls is None else [self.calls.stop(self.config.timeout_graceful_shutdown)]
        await asyncio.gather(super().shutdown(sockets), *stopping)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """See `uvicorn.Server`; the second signal ends it at once."""
        self.service.draining = True
        super().handle_exit(sig, frame)
