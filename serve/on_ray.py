"""The same application as a Ray Serve deployment, for more than one machine carries.

    serve run weighbridge.serve.on_ray:application model=my-net registry=/srv/models.git replicas=4

Every replica follows the registry by itself, and verifies what it loads. The split goes by a hash of the request's key,
so a key meets one version at whichever replica. What is counted and what late labels are matched with belongs to a
replica: each has a port of its own for Prometheus, and labels are taken where there is one replica only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it where a cluster starts

from prometheus_client import start_http_server
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from weighbridge.core.errors import InputError, StateError
from weighbridge.serve.answers import Options
from weighbridge.serve.following import Follower, InUseError, default_folder
from weighbridge.serve.models.batching import Batching
from weighbridge.serve.protocol.application import Application
from weighbridge.serve.server import Listening, Server

SLOTS = 256
"""Replicas on one machine at most: each has a folder and a port of its own."""
_OWN = ("/v2/feedback", "/metrics", "/status")
"""Paths whose answers belong to one replica."""


class Deployed(BaseModel):
    """What `serve run` is told, as `key=value`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    registry: str
    """The registry's repository: URL, or a folder that every machine has."""
    branch: str | None = None
    target: str | None = None
    cache: str | None = None
    """Where each machine keeps clones, bytes and journals."""
    replicas: int = Field(1, ge=1, le=SLOTS)
    cpus: float = Field(1.0, gt=0)
    """Of Ray's, for each replica."""
    threads: int = Field(1, ge=1)
    max_batch: int = Field(32, ge=1)
    queue: int = Field(256, ge=1)
    timeout: float = Field(10.0, gt=0)
    """Seconds after which a request is given up."""
    poll: float = Field(30.0, gt=0)
    """Seconds between looks at the registry."""
    shadow: float = Field(0.0, ge=0, le=100)
    """Per cent of stable's requests that the canary answers too."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(None, ge=1, le=65535 - SLOTS)
    """The first of the ports at which the replicas of a machine give their counters; None: none."""


class Replica:
    """One process of the deployment."""

    def __init__(self, told: Deployed) -> None:
        self.told = told
        self.server, self.application, slot = _started(told)
        self.server.follow()
        self._scraped = None
        if told.metrics_port is not None:
            registry = self.server.service.telemetry.registry
            self._scraped, _ = start_http_server(told.metrics_port + slot, told.metrics_host, registry)

    async def __call__(self, request: Request) -> Response:
        """One HTTP request, as Ray Serve's proxy hands it on."""
        if self.told.replicas > 1 and request.url.path in _OWN:
            return JSONResponse({"error": f"{request.url.path} belongs to one replica of {self.told.replicas}"}, 501)
        sent: list[Mapping[str, Any]] = []

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        await self.application(request.scope, request.receive, send)
        start = next(message for message in sent if message["type"] == "http.response.start")
        body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
        answer = Response(body, start["status"])
        answer.raw_headers = list(start["headers"])
        return answer

    def check_health(self) -> None:
        """Ray starts another process instead of one whose model hangs."""
        if not self.server.service.ready:
            raise StateError("the stable version does not answer", where=self.told.model)

    def close(self) -> None:
        """Let go of the port and the folder."""
        if self._scraped is not None:
            self._scraped.shutdown()
        self.server.close()

    def __del__(self) -> None:
        """Ray ends replicas so; one that did not start has nothing to let go of."""
        if hasattr(self, "_scraped"):
            self.close()


def _started(told: Deployed) -> tuple[Server, Application, int]:
    """A server in the first folder of this machine that no other replica has, and the folder's number."""
    base = Path(told.cache) if told.cache else default_folder(told.registry, told.model)
    for slot in range(SLOTS):
        follower = Follower(told.registry, told.model, base / str(slot), target=told.target, branch=told.branch)
        batching = Batching(told.max_batch, queued=told.queue, patience=told.timeout)
        server = Server(follower, Listening(poll=told.poll), batching, Options(shadow=told.shadow), told.threads)
        try:
            application = server.start()
        except InUseError:
            continue
        return server, application, slot
    raise StateError(f"has {SLOTS} replicas already", where=str(base))


def application(told: Mapping[str, Any]) -> serve.Application:
    """The deployment of one model, as `serve run` builds it; wrong settings are an `InputError`."""
    try:
        settings = Deployed.model_validate(dict(told))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(first["msg"], where=".".join(map(str, first["loc"])) or "settings") from error
    options = {"num_cpus": settings.cpus}
    deployment = serve.deployment(Replica).options(
        name=settings.model,
        num_replicas=settings.replicas,
        ray_actor_options=options,
        max_ongoing_requests=settings.queue,
        health_check_period_s=5,
    )
    return deployment.bind(settings)
