"""A language model that goes on with a text: its likeliest token, again and again. Nothing is timed here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.formats.onnx_file import Signature
from weighbridge.gate.measure.evaluation import check_numbers
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.process import Answering, send_arrays
from weighbridge.gate.measure.worker_inputs import one_token

Array = NDArray[Any]
SECONDS = 10.0
"""For one model and one text: what is not there by then is left out."""


@dataclass(frozen=True)
class Reader:
    """How a model reads a text and what comes after it."""

    feeding: Feeding
    tokens: str
    """The input with the tokens, (n, t) in the data."""
    steps: Mapping[str, str]
    """Input → what it gets of a prompt for one token more; see `worker_inputs.one_token`. Empty without a cache: then
    the whole text is read each time."""
    output: int
    """Index of the logits."""

    def beginning(self, inputs: Mapping[str, Array], index: int, count: int) -> dict[str, Array]:
        """The first `count` tokens of one example, as arrays (1, …)."""
        along = {*self.steps, self.tokens}
        return {
            name: array[index : index + 1, :count] if name in along else array[index : index + 1]
            for name, array in inputs.items()
        }


def reader(signature: Signature, feeding: Feeding, output: int) -> Reader:
    """How to continue texts with a model; raises `UnfitError` with the reason where that cannot be told."""
    declared: Mapping[str, tuple[str, int]] = feeding.how.get("step", {})
    constant = feeding.how.get("constant", ())
    ports = {port.name: port for port in signature.inputs}
    along = {name: axis for name, (_, axis) in declared.items()}
    if not feeding.streams:
        along = {name: 1 for name, port in ports.items() if name not in constant and len(port.shape) > 1}
    last = [name for name in along if declared.get(name, ("last", 0))[0] == "last"]
    texts = [name for name in last if np.dtype(ports[name].dtype).kind in "iu"]
    if len(texts) != 1:
        raise UnfitError(f"which input has the tokens is not clear: {', '.join(texts) or 'none is of integers'}")
    if not feeding.streams and len(along) > 1:
        other = next(name for name in along if name != texts[0])
        raise UnfitError(f"the model has no cache, and how the input {other!r} grows with a text is not known")
    for name, axis in along.items():
        if isinstance(size := ports[name].shape[axis], int):
            raise UnfitError(f"the input {name!r} takes {size} tokens and no other number of them")
    return Reader(feeding, texts[0], {name: mode for name, (mode, _) in declared.items()}, output)


def continued(
    worker: Answering,
    reader: Reader,
    beginning: Mapping[str, Array],
    count: int,
    clock: Callable[[], float] = time.monotonic,
) -> list[int]:
    """The `count` tokens that follow a beginning (arrays (1, …)); fewer where `SECONDS` end before.

    Raises `MeasurementError` for a worker that goes wrong or answers no numbers, `UnfitError` where the output gives
    no logits (1, tokens, vocabulary).
    """
    until, fed = clock() + SECONDS, dict(beginning)
    found: list[int] = []
    while len(found) < count and (not found or clock() < until):
        logits = _logits(worker, reader, fed, first=not found)
        found.append(int(logits[0, -1].argmax()))
        token = np.array([[found[-1]]], fed[reader.tokens].dtype)
        if not reader.feeding.streams:
            fed[reader.tokens] = np.concatenate([fed[reader.tokens], token], axis=1)
            continue
        fed = {name: one_token(fed[name], reader.steps[name], 1) if name in reader.steps else fed[name] for name in fed}
        fed[reader.tokens] = token
    return found


def _logits(worker: Answering, reader: Reader, fed: Mapping[str, Array], *, first: bool) -> Array:
    said: dict[str, Any] = {"single": list(reader.feeding.single), "how": dict(reader.feeding.how)}
    if reader.feeding.streams:
        said["resets"] = [first]
    reply = send_arrays(worker, "evaluate", fed, batch=1, outputs=[reader.output], padding=0, **said)
    found = reply.get("arrays", {}).get(str(reader.output))
    if found is None or found.dtype.kind != "f" or found.ndim != 3 or len(found) != 1:
        shape = None if found is None else found.shape
        raise UnfitError(f"an output of shape {shape} gives no logits: expected (1, tokens, vocabulary)")
    check_numbers([found], worker.name)
    return np.asarray(found)
