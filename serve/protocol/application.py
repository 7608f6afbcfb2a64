"""The Open Inference Protocol v2 over HTTP, as an ASGI application: health, metadata, infer; feedback and metrics.

Inference goes past the framework's router and its request object, which would take longer than a small model.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from http import HTTPStatus
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from weighbridge import __version__
from weighbridge.core.errors import InputError, MeasurementError, StateError, WeighbridgeError
from weighbridge.core.files import parse_json
from weighbridge.serve.answers import AbsentError, Answer
from weighbridge.serve.models.batching import BusyError
from weighbridge.serve.observability.counters import CONTENT_TYPE
from weighbridge.serve.observability.journal import DoubledError, UnknownRequestError
from weighbridge.serve.observability.traces import PARENT
from weighbridge.serve.protocol.heads import Heads
from weighbridge.serve.service import Service
from weighbridge.serve.tensors import encode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_LENGTH = b"inference-header-content-length"
FEEDBACK_BYTES = 64_000


class TooLargeError(InputError):
    """A body over the limit."""


class SlowBodyError(InputError):
    """A body that did not arrive in time."""


class EncodingError(InputError):
    """A body in an encoding that is not read."""


class Gone(Exception):  # noqa: N818  # no error: the client has left
    """Nobody waits for the answer."""


_STATUS: dict[type[WeighbridgeError], HTTPStatus] = {
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    SlowBodyError: HTTPStatus.REQUEST_TIMEOUT,
    EncodingError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnknownRequestError: HTTPStatus.NOT_FOUND,
    AbsentError: HTTPStatus.NOT_FOUND,
    DoubledError: HTTPStatus.CONFLICT,
    BusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    InputError: HTTPStatus.BAD_REQUEST,
    StateError: HTTPStatus.SERVICE_UNAVAILABLE,
    MeasurementError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""What each kind of error is over HTTP; the first that fits."""


def status_of(error: WeighbridgeError) -> HTTPStatus:
    """The status that says what happened."""
    return next((s for kind, s in _STATUS.items() if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


@dataclass
class Application:
    """The ASGI application. `slow` is how many seconds a body may take to arrive."""

    service: Service
    key_header: str = "x-request-key"
    slow: float = 10.0
    status: Callable[[], dict[str, Any]] = dict
    heads: Heads = field(default_factory=Heads)
    _latest: tuple[object | None, int] = (None, 0)

    def __post_init__(self) -> None:
        self._key = self.key_header.lower().encode()
        model = "/v2/models/{model}"
        version = f"{model}/versions/{{version}}"
        self._rest = Starlette(
            routes=[
                Route("/v2/health/live", self._live),
                Route("/v2/health/ready", self._ready),
                *(Route(path, self._server) for path in ("/v2", "/v2/")),  # the published definition has the second
                *(Route(path, self._metadata) for path in (model, version)),
                *(Route(f"{path}/ready", self._model_ready) for path in (model, version)),
                Route("/v2/feedback", self._feedback, methods=["POST"]),
                Route("/metrics", self._metrics),
                Route("/status", self._status),
            ],
            exception_handlers={WeighbridgeError: _complain},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification 3.0."""
        found = _INFER.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._rest(scope, receive, send)
            return
        try:
            body, headers = await self._infer(scope, receive, found[1], found[2])
            status = HTTPStatus.OK
        except Gone:
            return
        except WeighbridgeError as error:
            status = status_of(error)
            body, headers = json.dumps({"error": str(error)}).encode(), headers_of(status)
        headers += [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _infer(self, scope: Scope, receive: Receive, model: str, version: str | None) -> tuple[bytes, Headers]:
        if scope["method"] != "POST":
            raise InputError(f"expected POST, got {scope['method']}", where=scope["path"])
        headers = dict(scope["headers"])
        body = await read_body(headers, receive, self.service.options.limits.body_bytes, self.slow)
        length = header_length(headers)
        reader = partial(self.heads.decode, body, length)
        answer = await self.service.infer(model, version, self.key_of(headers), reader, parent_of(headers))
        return encoded(model, answer)

    def steadily(self, connection: object | None) -> int:
        """A connection asks, as it did before: how often it has, no other in between. 0 where that must not be counted:
        functions of the operator's are called in the loop only.
        """
        options = self.service.options
        latest, count = self._latest
        counts = connection is not None and options.slices is None and options.preprocess is None
        self._latest = (connection, count + 1 if connection is latest else 1) if counts else (None, 0)
        return self._latest[1]

    def key_of(self, headers: dict[bytes, bytes]) -> str | None:
        """What the split goes by."""
        return headers[self._key].decode("latin-1")[:512] if self._key in headers else None

    def too_slow(self) -> SlowBodyError:
        """What a client hears whose body does not arrive."""
        return SlowBodyError(f"the body did not arrive within {self.slow:g} s")

    async def _live(self, _: HttpRequest) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _: HttpRequest) -> Response:
        ready = self.service.ready
        return JSONResponse({"ready": ready}, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _server(self, _: HttpRequest) -> Response:
        said = {"name": "weighbridge", "version": __version__, "extensions": ["binary_tensor_data"]}
        return JSONResponse(said)

    async def _metadata(self, request: HttpRequest) -> Response:
        return JSONResponse(metadata(self.service, request.path_params["model"], request.path_params.get("version")))

    async def _model_ready(self, request: HttpRequest) -> Response:
        serving = self.service.named(request.path_params["model"], request.path_params.get("version"))
        ready = self.service.ready and not serving.batcher.stuck
        said = {"name": self.service.model, "ready": ready}
        return JSONResponse(said, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _feedback(self, request: HttpRequest) -> Response:
        headers = dict(request.scope["headers"])
        body = await read_body(headers, request.receive, FEEDBACK_BYTES, self.slow)
        try:
            said = parse_json(body.decode("utf-8"), "body")
        except UnicodeDecodeError as error:
            raise InputError("is not UTF-8 text", where="body") from error
        if not isinstance(said, dict):
            raise InputError("is not a JSON object", where="body")
        self.service.feedback(said.get("id"), said.get("label"))
        return JSONResponse({})

    async def _metrics(self, _: HttpRequest) -> Response:
        return Response(self.service.telemetry.text(), media_type=CONTENT_TYPE)

    async def _status(self, _: HttpRequest) -> Response:
        return JSONResponse(self.status())


def metadata(service: Service, model: str, version: str | None) -> dict[str, Any]:
    """A model's metadata, as the protocol names it."""
    serving, board = service.named(model, version), service.board(model)
    return {
        "name": model,
        "versions": [s.version for s in (board.stable, board.canary) if s is not None],
        "platform": serving.loaded.platform,
        "inputs": [spec.to_json() for spec in serving.loaded.inputs],
        "outputs": [spec.to_json() for spec in serving.loaded.outputs],
    }


async def read_body(headers: dict[bytes, bytes], receive: Receive, largest: int, slow: float) -> bytes:
    """A request's body, never more of it than `largest` bytes, and for `slow` seconds at most."""
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise EncodingError("compressed bodies are not read", where="Content-Encoding")
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit() or int(declared) > largest:
        raise TooLargeError(f"a body has at most {largest} bytes")
    try:
        async with asyncio.timeout(slow):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                return _within(message.get("body", b""), largest)
            parts, size = [], 0
            while True:
                if message["type"] != "http.request":
                    raise Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > largest:
                    raise TooLargeError(f"a body has at most {largest} bytes")
                if not message.get("more_body", False):
                    return b"".join(parts)
                message = await receive()
    except TimeoutError as error:
        raise SlowBodyError(f"the body did not arrive within {slow:g} s") from error


def _within(body: bytes, largest: int) -> bytes:
    if len(body) > largest:
        raise TooLargeError(f"a body has at most {largest} bytes")
    return body


def parent_of(headers: dict[bytes, bytes]) -> str | None:
    """The trace that called, where one did."""
    found = headers.get(PARENT.encode())
    return found.decode("latin-1") if found is not None else None


def header_length(headers: dict[bytes, bytes]) -> int | None:
    """Bytes of the JSON in front of binary tensors; None where there are none."""
    text = headers.get(_LENGTH)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 12:
        raise InputError("is not a number of bytes", where="Inference-Header-Content-Length")
    return int(text)


def encoded(model: str, answer: Answer) -> tuple[bytes, Headers]:
    """An answer's body and its headers but the length."""
    body, length = encode(_named(model, answer.version), answer.id, answer.outputs, answer.request.binary)
    if length is None:
        return body, [(b"content-type", b"application/json")]
    kind = (b"content-type", b"application/octet-stream")
    return body, [kind, (_LENGTH, str(length).encode())]


@lru_cache(maxsize=64)
def _named(model: str, version: str) -> bytes:
    """How an answer's JSON begins."""
    return b'{"model_name":%b,"model_version":%b' % (quoted(model).encode(), quoted(version).encode())


def headers_of(status: HTTPStatus) -> Headers:
    """The headers of an error."""
    kind = [(b"content-type", b"application/json")]
    return [*kind, (b"retry-after", b"1")] if status == HTTPStatus.SERVICE_UNAVAILABLE else kind


async def _complain(_: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, WeighbridgeError)
    status = status_of(error)
    headers = {"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse({"error": str(error)}, status, headers)
