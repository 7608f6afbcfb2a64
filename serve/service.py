"""One request from decoded tensors to counted answer, whatever protocol it came by."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from weighbridge.core.errors import InputError, MeasurementError, StateError, WeighbridgeError
from weighbridge.serve import answers, routing
from weighbridge.serve.answers import Outputs
from weighbridge.serve.batching import BusyError
from weighbridge.serve.fleet import Board, Fleet, Serving
from weighbridge.serve.journal import Appender, DoubledError, Journal, UnknownRequestError
from weighbridge.serve.telemetry import Telemetry
from weighbridge.serve.tensors import Array, Feed, Limits, Request, Spec

SHADOWS = 64
"""Shadow requests that may be under way; more are dropped: the canary must not slow down stable."""


class AbsentError(StateError):
    """A model or version that is not served here."""


@dataclass(frozen=True)
class Options:
    """How requests are treated."""

    limits: Limits = field(default_factory=Limits)
    shadow: float = 0.0
    """Per cent of the requests of stable that the canary answers too, unseen."""
    classes: answers.Reader = answers.classes
    slices: answers.Slicer | None = None
    sample: float = 0.0
    """Per cent of the requests that are logged."""
    log_inputs: bool = False


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    id: str
    version: str
    outputs: dict[str, Array]
    request: Request


@dataclass
class Service:
    """Answers requests with what the fleet serves, and counts."""

    model: str
    fleet: Fleet
    telemetry: Telemetry
    journal: Journal
    options: Options = field(default_factory=Options)
    log: Appender | None = None
    clock: Callable[[], float] = time.perf_counter
    draining: bool = False
    _shadows: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        board = self.fleet.board
        return board is not None and not board.stable.batcher.stuck and not self.draining

    def board(self, model: str) -> Board:
        """What serves now; `AbsentError` for another model, `BusyError` where nothing may serve."""
        if model != self.model:
            raise AbsentError(f"no model {model[:80]!r} is served here", fix=self.model)
        if self.fleet.board is None:
            raise BusyError("no version may be served", where=self.model)
        return self.fleet.board

    def named(self, model: str, version: str | None) -> Serving:
        """The stable version, or the one of that name where it serves."""
        found = self.board(model).named(version)
        if found is None:
            raise AbsentError(f"{self.model} {version!r} is not served")
        return found

    async def infer(
        self, model: str, version: str | None, key: str | None, decode: Callable[[Sequence[Spec], Limits], Request]
    ) -> Answer:
        """Answer one request. What fails on the canary is counted there and answered by stable."""
        began = self.clock()
        board = self.board(model)
        asked = self.named(model, version)
        try:
            request = decode(asked.loaded.inputs, self.options.limits)
            _require_outputs(request.outputs, asked.loaded.outputs)
        except InputError:
            self.telemetry.refuse("request", "invalid")
            raise
        slices = self._slices(request.feed)
        identity = request.id or os.urandom(12).hex()
        routed = self._route(board, key or identity) if version is None else asked
        try:
            serving, outputs = routed, await self._run(routed, request.feed, began)
        except (BusyError, MeasurementError) as error:
            self._log(identity, routed, began, None, slices, request.feed)
            if routed is board.stable or version is not None:
                raise
            self.telemetry.refuse("canary", "answered by stable" if not isinstance(error, BusyError) else "busy")
            serving, outputs = board.stable, await self._run(board.stable, request.feed, self.clock())
        self._count(identity, serving, outputs, slices)
        self._log(identity, serving, began, outputs, slices, request.feed)
        if serving is board.stable and version is None:
            self._shadow(board, key or identity, identity, request.feed, outputs)
        wanted = {name: outputs[name] for name in request.outputs} if request.outputs else outputs
        return Answer(identity, serving.version, wanted, request)

    def feedback(self, identity: Any, label: Any) -> None:
        """A label that came late. UnknownRequestError requests and second labels are refused, and counted."""
        labels = label if isinstance(label, list) else [label]
        if not isinstance(identity, str) or not all(_is_class(value) for value in labels):
            raise InputError('expected {"id": text, "label": text or whole number, or a list of them}')
        try:
            self.journal.label(identity, [str(value) for value in labels])
        except (UnknownRequestError, DoubledError, InputError, StateError) as error:
            why = {UnknownRequestError: "unknown", DoubledError: "doubled", StateError: "not stored"}.get(
                type(error), "invalid"
            )
            self.telemetry.refuse("feedback", why)
            raise

    def _route(self, board: Board, key: str) -> Serving:
        canary = board.canary
        if canary is not None and routing.goes_to_canary(canary.version, board.weight, key):
            return canary
        return board.stable

    async def _run(self, serving: Serving, feed: Feed, began: float) -> dict[str, Array]:
        """A version's outputs by name, counted as its request, and as its error where it fails."""
        arm = self.telemetry.arm(serving.version)
        arm.counts["requests"] += 1
        try:
            outputs = await _outputs(serving, feed)
        except WeighbridgeError:
            arm.counts["errors"] += 1
            raise
        finally:
            arm.timed(self.clock() - began)
        return outputs

    def _count(self, identity: str, serving: Serving, outputs: Outputs, slices: tuple[str, ...]) -> None:
        arm = self.telemetry.arm(serving.version)
        for name in slices:
            arm.slices[name] = arm.slices.get(name, 0) + 1
        found = self._classes(outputs)
        if found is not None:
            arm.predicted(found)
            self._store(lambda: self.journal.answered(identity, serving.version, found, slices))

    def _classes(self, outputs: Outputs) -> list[str] | None:
        try:
            return self.options.classes(outputs)
        except Exception:  # noqa: BLE001  # a user's function may raise anything; the answer is not its business
            self.telemetry.refuse("classes", "failed")
            return None

    def _slices(self, feed: Feed) -> tuple[str, ...]:
        try:
            return answers.slices_of(self.options.slices, feed)
        except Exception:  # noqa: BLE001  # as above
            self.telemetry.refuse("slices", "failed")
            return ()

    def _store(self, write: Callable[[], None]) -> None:
        """A full disk loses feedback to come, not answers."""
        try:
            write()
        except StateError:
            self.telemetry.refuse("journal", "not written")

    def _shadow(self, board: Board, key: str, identity: str, feed: Feed, outputs: Outputs) -> None:
        canary = board.canary
        if canary is None or not routing.is_shadowed(canary.version, self.options.shadow, key):
            return
        if len(self._shadows) >= SHADOWS:
            self.telemetry.refuse("shadow", "busy")
            return
        task = asyncio.get_running_loop().create_task(self._compare(canary, identity, feed, outputs))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _compare(self, canary: Serving, identity: str, feed: Feed, outputs: Outputs) -> None:
        """A canary that does not answer disagrees."""
        arm = self.telemetry.arm(canary.version)
        try:
            theirs = await _outputs(canary, feed)
        except BusyError:
            self.telemetry.refuse("shadow", "busy")
            return
        except MeasurementError:
            arm.counts["compared"] += 1
            arm.counts["disagreed"] += 1
            return
        arm.counts["compared"] += 1
        arm.counts["disagreed"] += not answers.agree(outputs, theirs, self._classes)
        found = self._classes(theirs)
        if found is not None:
            self._store(lambda: self.journal.shadowed(identity, canary.version, found))

    def _log(  # noqa: PLR0913, PLR0917  # the fields of a line
        self,
        identity: str,
        serving: Serving,
        began: float,
        outputs: Outputs | None,
        slices: tuple[str, ...],
        feed: Feed,
    ) -> None:
        log = self.log
        if log is None or routing.share("log", serving.version, identity) >= self.options.sample:
            return
        line: dict[str, Any] = {"time": datetime.now(UTC).isoformat(), "version": serving.version, "id": identity}
        line.update(error=outputs is None, latency=self.clock() - began)
        found = self._classes(outputs) if outputs is not None else None
        if found is not None and len(found) == 1:
            line["prediction"] = found[0]
        if slices:
            line["slices"] = list(slices)
        if self.options.log_inputs:
            line["inputs"] = {name: array.tolist() for name, array in feed.items()}
        self._store(lambda: log.append(line))


async def _outputs(serving: Serving, feed: Feed) -> dict[str, Array]:
    arrays = await serving.batcher.run(feed)
    outputs = {spec.name: array for spec, array in zip(serving.loaded.outputs, arrays, strict=True)}
    for name, array in outputs.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise MeasurementError("contains NaN", where=f"output {name}")
    return outputs


def _require_outputs(wanted: Sequence[str], outputs: Sequence[Spec]) -> None:
    known = [spec.name for spec in outputs]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise InputError(
            f"the model has no output {missing[0][:80]!r}", where="outputs", fix=f"it has {', '.join(known)}"
        )


def _is_class(value: Any) -> bool:
    return (isinstance(value, str) and 0 < len(value) <= 64) or (isinstance(value, int) and not isinstance(value, bool))
