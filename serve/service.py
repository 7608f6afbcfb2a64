"""One request from decoded tensors to counted answer, whatever protocol it came by."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from weighbridge.core.errors import InputError, MeasurementError, StateError, WeighbridgeError
from weighbridge.serve import answers, routing
from weighbridge.serve.answers import AbsentError, Answer, Options, Outputs, is_class, named_outputs, require_outputs
from weighbridge.serve.calls import SHADOWS, Call, Done, settle
from weighbridge.serve.models.batching import BusyError
from weighbridge.serve.models.fleet import Board, Fleet, Serving
from weighbridge.serve.models.queueing import Result, Source, in_loop
from weighbridge.serve.observability.counters import Arm, Telemetry
from weighbridge.serve.observability.journal import Appender, DoubledError, Journal, UnknownRequestError
from weighbridge.serve.observability.traces import Traced, Tracer
from weighbridge.serve.tensors import Feed, Limits, Request, Spec

_LOG = logging.getLogger("weighbridge.serve")


Decode = Callable[[Sequence[Spec], Limits], Request]


@dataclass
class Service:
    """Answers requests with what the fleet serves, and counts."""

    model: str
    fleet: Fleet
    telemetry: Telemetry
    journal: Journal
    options: Options = field(default_factory=Options)
    log: Appender | None = None
    tracer: Tracer | None = None
    clock: Callable[[], float] = time.perf_counter
    draining: bool = False
    _counting: threading.Lock = field(default_factory=threading.Lock)
    """Answers are counted in the runtimes' threads and in the loop."""
    _shadows: int = 0

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

    def begin(  # noqa: PLR0913, PLR0917  # what a request has, and who waits
        self,
        model: str,
        version: str | None,
        key: str | None,
        decode: Decode,
        done: Done,
        began: float | None = None,
        parent: str | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        source: Source | None = None,
    ) -> None:
        """Answer one request: `done` is called once, in any thread, with the answer or with an error. A request that
        cannot be taken is an error here, and `done` is not called. What fails on the canary is counted there and
        answered by stable. Called in an event loop, or from another thread with the loop; `source` as of `submit`.
        """
        began = self.clock() if began is None else began
        board = self.board(model)
        asked, options = board.stable if version is None else self.named(model, version), self.options
        try:
            request = decode(asked.loaded.inputs, options.limits)
            if request.outputs:
                require_outputs(request.outputs, asked.loaded.outputs)
        except InputError:
            self.telemetry.refuse("request", "invalid")
            raise
        identity = request.id or os.urandom(12).hex()
        key, loop = key or identity, loop or asyncio.get_running_loop()
        slices = self._slices(request.feed) if options.slices is not None else ()
        feed = self._preprocessed(request.feed) if options.preprocess is not None else request.feed
        pinned, ready = version is not None, self.clock()
        call = Call(board, pinned, key, identity, request, feed, slices, done, loop, began, began, ready, parent)
        self._submit(call, self._route(board, key) if version is None else asked, source)

    async def infer(
        self, model: str, version: str | None, key: str | None, decode: Decode, parent: str | None = None
    ) -> Answer:
        """The answer to one request; see `begin`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self.begin(model, version, key, decode, lambda found: in_loop(loop, settle, future, found), None, parent)
        return await future

    def _submit(self, call: Call, serving: Serving, source: Source | None = None) -> None:
        try:
            serving.batcher.submit(call.feed, lambda result: self._ran(call, serving, result), call.loop, source)
        except BusyError as error:
            self._ran(call, serving, error)

    def _ran(self, call: Call, serving: Serving, result: Result) -> None:
        """A version answered or failed: count it, then answer, or ask stable."""
        try:
            found = self._counted(call, serving, result)
        except Exception as error:  # noqa: BLE001  # the rim of a request: whatever happens, the client hears of it
            _LOG.exception("a request failed")
            found = MeasurementError(f"the server failed: {type(error).__name__}")
        if found is not None:
            call.done(found)
            if self.tracer is not None:
                self._trace(call, serving, failed=isinstance(found, WeighbridgeError))
            return
        in_loop(call.loop, self._submit, call, call.board.stable)

    def _trace(self, call: Call, serving: Serving, *, failed: bool) -> None:
        """After the answer, which does not wait for it. Neither inputs nor outputs are told."""
        assert self.tracer is not None
        attributes: dict[str, str | int | bool] = {
            "weighbridge.model": self.model,
            "weighbridge.version": serving.version,
            "weighbridge.digest": serving.artifact.digest,
            "weighbridge.canary": serving is call.board.canary,
            "weighbridge.request": call.identity,
        }
        age, waited = self.clock() - call.began, call.decoded - call.began
        self.tracer.record(Traced(call.parent, age, waited, attributes, failed))

    def _counted(self, call: Call, serving: Serving, result: Result) -> Answer | WeighbridgeError | None:
        """What is sent back; None where stable has to answer for the canary."""
        outputs = result if isinstance(result, WeighbridgeError) else named_outputs(serving.loaded.outputs, result)
        now = answered = self.clock()
        sent, postprocess = outputs, self.options.postprocess
        if postprocess is not None and not isinstance(outputs, WeighbridgeError):
            sent = answers.postprocessed(postprocess, outputs)
            now = self.clock()
        if isinstance(sent, WeighbridgeError):
            outputs = sent
        failed, stable = isinstance(outputs, WeighbridgeError), call.board.stable
        with self._counting:
            arm = self.telemetry.arm(serving.version)
            if call.failed_on is None:
                arm.counts["requests"] += 1
                arm.counts["errors"] += failed
                arm.timed(now - call.submitted, answered - max(call.submitted, call.decoded))
            else:
                arm.counts["stood_in"] += 1
                arm.counts["stood_in_errors"] += failed
            if isinstance(outputs, WeighbridgeError):
                self._log(call, serving, now - call.began, None)
                if serving is stable or call.pinned:
                    return outputs
                call.submitted, call.failed_on = now, serving.version
                why = "busy" if isinstance(outputs, BusyError) else "answered by stable"
                self.telemetry.refuse("canary", why)
                return None
            self._count(call, serving, arm, outputs)
            self._log(call, serving, now - call.began, outputs)
        asked_already = call.pinned or call.failed_on is not None
        if serving is stable and call.board.canary is not None and not asked_already:
            in_loop(call.loop, self._shadow, call, outputs)
        assert not isinstance(sent, WeighbridgeError)
        wanted = {name: sent[name] for name in call.request.outputs} if call.request.outputs else sent
        return Answer(call.identity, serving.version, wanted, call.request)

    def feedback(self, identity: Any, label: Any) -> None:
        """A label that came late. UnknownRequestError requests and second labels are refused, and counted."""
        labels = label if isinstance(label, list) else [label]
        if not isinstance(identity, str) or not all(is_class(value) for value in labels):
            raise InputError('expected {"id": text, "label": text or whole number, or a list of them}')
        try:
            with self._counting:
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

    def _count(self, call: Call, serving: Serving, arm: Arm, outputs: Outputs) -> None:
        found, own = self._classes(outputs), call.failed_on is None
        for name in call.slices if own else ():
            arm.slices[name] = arm.slices.get(name, 0) + 1
        if found is not None:
            if own:
                arm.predicted(found)
            try:
                self.journal.answered(call.identity, serving.version, found, call.slices, call.failed_on)
            except StateError:
                self.telemetry.refuse("journal", "not written")

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

    def _preprocessed(self, feed: Feed) -> Feed:
        try:
            return answers.preprocessed(self.options.preprocess, feed)
        except MeasurementError:
            self.telemetry.refuse("preprocess", "failed")
            raise

    def _store(self, write: Callable[[], None]) -> None:
        """A full disk loses feedback to come, not answers."""
        try:
            write()
        except StateError:
            self.telemetry.refuse("journal", "not written")

    def _shadow(self, call: Call, outputs: Outputs) -> None:
        """Ask the canary too, in the loop; stable's answer does not wait for it."""
        canary = call.board.canary
        if canary is None or not routing.is_shadowed(canary.version, self.options.shadow, call.key):
            return
        if self._shadows >= SHADOWS:
            self.telemetry.refuse("shadow", "busy")
            return
        try:
            canary.batcher.submit(call.feed, lambda result: self._compared(call, canary, outputs, result))
        except BusyError:
            self.telemetry.refuse("shadow", "busy")
            return
        with self._counting:
            self._shadows += 1

    def _compared(self, call: Call, canary: Serving, outputs: Outputs, result: Result) -> None:
        """A canary that does not answer disagrees."""
        theirs = result if isinstance(result, WeighbridgeError) else named_outputs(canary.loaded.outputs, result)
        with self._counting:
            self._shadows -= 1
            arm = self.telemetry.arm(canary.version)
            arm.counts["compared"] += 1
            if isinstance(theirs, WeighbridgeError):
                arm.counts["disagreed"] += 1
                return
            arm.counts["disagreed"] += not answers.agree(outputs, theirs, self._classes)
            found = self._classes(theirs)
            if found is not None:
                self._store(lambda: self.journal.shadowed(call.identity, canary.version, found))

    def _log(self, call: Call, serving: Serving, latency: float, outputs: Outputs | None) -> None:
        log = self.log
        if log is None or routing.share("log", serving.version, call.identity) >= self.options.sample:
            return
        line: dict[str, Any] = {"time": datetime.now(UTC).isoformat(), "version": serving.version, "id": call.identity}
        line.update(error=outputs is None, latency=latency)
        if call.failed_on is not None:
            line["stands_in_for"] = call.failed_on
        found = self._classes(outputs) if outputs is not None else None
        if found is not None and len(found) == 1:
            line["prediction"] = found[0]
            line["confidence"] = answers.confidence(outputs or {})
        line["summary"] = answers.summary(call.request.feed)
        if call.slices:
            line["slices"] = list(call.slices)
        if self.options.log_inputs:
            line["inputs"] = {name: array.tolist() for name, array in call.request.feed.items()}
        self._store(lambda: log.append(line))
