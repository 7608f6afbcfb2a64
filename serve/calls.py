"""One request on its way through the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from weighbridge.core.errors import WeighbridgeError
from weighbridge.serve.answers import Answer
from weighbridge.serve.models.fleet import Board
from weighbridge.serve.tensors import Feed, Request

SHADOWS = 64
"""Shadow requests that may be under way; more are dropped: the canary must not slow down stable."""


@dataclass(eq=False, slots=True)
class Call:
    """One request on its way."""

    board: Board
    pinned: bool
    """Whether a version was asked for by name: it has no canary and no shadow."""
    key: str
    identity: str
    request: Request
    feed: Feed
    """What the model gets: the request's inputs, preprocessed."""
    slices: tuple[str, ...]
    done: Done
    loop: asyncio.AbstractEventLoop
    began: float
    submitted: float
    """When the version was asked that is asked now, decoding included for the first."""
    decoded: float
    """When the request was decoded and preprocessed, and the model could be asked."""
    parent: str | None
    """The trace that called."""
    failed_on: str | None = None
    """The canary that could not answer it: stable stands in. Such requests are chosen by the canary's failures, and
    say nothing of stable that could be compared with the canary.
    """


Done = Callable[["Answer | WeighbridgeError"], None]


def settle(future: asyncio.Future[Answer], found: Answer | WeighbridgeError) -> None:
    """Give a request its answer, unless its client has left."""
    if future.done():
        return  # the client has left
    if isinstance(found, WeighbridgeError):
        future.set_exception(found)
    else:
        future.set_result(found)
