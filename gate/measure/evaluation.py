"""Outputs of an artifact over a data set, taken from the file by its runtime in a worker process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import MeasurementError
from weighbridge.core.ragged import buckets, is_ragged, joined, stacked, values_of
from weighbridge.data import Split
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.process import Answering, send_arrays
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.measure.two_processes import TwoProcesses

Array = NDArray[Any]
Start = Callable[[StagedArtifact, float], AbstractContextManager[Answering]]
"""Opens a process with an artifact, by a time-out in seconds for one request."""

LARGE_BATCH = 128
PROBED = 128
"""Examples that are answered at both batch sizes to see whether a large batch gives the same answers."""
ALIKE = 1e-3
"""Of the largest answer: what a large batch's answers may be apart."""
MANY = 4 * PROBED
"""Fewer examples go at the deployed batch: seeing whether a large one answers alike costs more than it saves."""
REPEATED = 128
"""Examples at most that a second process answers too."""
ROUNDING = 1e-5
"""Of the largest answer: what two processes' answers to the same example may be apart."""
CHUNK_BYTES = 1 << 25
CHUNK_EXAMPLES = 512
SLOW_SHARE = 0.2
"""Of the time-out: what one large batch may take at most, by the time of the deployed one."""
QUICK_SHARE = 0.05
"""Requests grow as long as one takes less than this share of the time-out: a slow model is not taken for a hung one."""


@dataclass(frozen=True)
class Manner:
    """How examples are put to a model."""

    feeding: Feeding
    batch_size: int = 1
    """The batch that is deployed and timed."""
    timeout: float = 60.0


def answer(
    artifact: StagedArtifact,
    split: Split,
    outputs: Sequence[int],
    manner: Manner,
    start: Start | None = None,
) -> tuple[list[Array], str]:
    """The chosen outputs, each (n, …), for every example, and a sentence on the batch that was used.

    A large batch is used only where it answers the first examples as the deployed batch does: dynamic quantization
    takes its scales from the whole batch. `start` is called twice, for two processes, elsewhere or such as answer for
    other artifacts too. Raises `MeasurementError` for a
    worker that goes wrong, for NaN and infinities, for a model that answers the same whatever it is given, and for one
    that answers some examples otherwise in a second process.
    """
    feeding = manner.feeding
    with ExitStack() as stack:
        opened = start or stack.enter_context(TwoProcesses()).take
        with opened(artifact, manner.timeout) as worker:
            batch = least = feeding.at_most(manner.batch_size)
            note = f"evaluated at batch {batch}"
            if feeding.at_most(LARGE_BATCH) > batch and len(split) > MANY:
                large = _large_batch(worker, split.take(slice(batch)), feeding, outputs, batch)
                if large == batch:
                    note += ": a larger one takes too long"
                elif _agree(worker, split.take(_probed(split)), feeding, outputs, (batch, large)):
                    note = f"evaluated at batch {large}, which answers like batch {batch}"
                    batch = large
                else:
                    note += f": a batch of {large} answers differently"
            found = answers_of(worker, split.inputs, feeding, outputs, batch, least=least)
        # A stream is what it is only from its beginning.
        chosen = np.arange(min(len(split), REPEATED)) if feeding.streams else repeated_examples(split, batch)
        with opened(artifact, manner.timeout) as worker:
            again = answers_of(worker, split.take(chosen).inputs, feeding, outputs, batch, least=least)
    check_repeatable([output[chosen] for output in found], again, artifact.name)
    _check_attention(found, split, artifact.name)
    return found, note


def repeated(total: int, batch: int) -> Array:
    """Indices of the examples that are answered a second time: whole batches as they were, spread over the data set.

    A batch may shape its answers (dynamic quantization), so that it is repeated whole; what a model remembers of the
    examples before shows as well, as fewer come before.
    """
    whole = total // batch
    if whole == 0:
        return np.arange(total)
    starts = np.unique(np.linspace(0, whole - 1, min(whole, max(1, REPEATED // batch))).round().astype(int))
    return np.asarray((starts[:, None] * batch + np.arange(batch)).reshape(-1))


def repeated_examples(split: Split, batch: int) -> Array:
    """As `repeated`, where batches are of one length each."""
    kinds = buckets(split.inputs)
    if len(kinds) == 1:
        return repeated(len(split), batch)
    batches = [chosen[begin : begin + batch] for chosen in kinds for begin in range(0, len(chosen), batch)]
    picked = np.unique(
        np.linspace(0, len(batches) - 1, min(len(batches), max(1, REPEATED // batch))).round().astype(int)
    )
    return np.sort(np.concatenate([batches[place] for place in picked]))


def check_repeatable(first: Sequence[Array], second: Sequence[Array], name: str) -> None:
    """Two processes' answers to the same examples, each (n, …), must be one; else a `MeasurementError` says how far.

    Floating-point sums may be taken in another order where memory is aligned otherwise: what rounding explains is one.
    """
    for index, (ours, theirs) in enumerate(zip(first, second, strict=True)):
        shapes = _unlike_shapes(ours, theirs)
        if shapes is not None:
            raise MeasurementError(f"output {index} has {shapes[0]}, in a second process {shapes[1]}", where=name)
        differing = _differing(ours, theirs, ROUNDING)
        if differing.any():
            far = f" (by up to {_apart(ours, theirs):.3g})" if ours.dtype.kind in "fiub" else ""
            raise MeasurementError(
                f"its answers differ between runs: of {len(differing)} examples answered in two processes, "
                f"{int(differing.sum())} got other values of output {index}{far}",
                where=name,
                fix="does it contain random operators, such as dropout that was left on?",
            )


def _unlike_shapes(ours: Any, theirs: Any) -> tuple[Any, Any] | None:
    """Two answers' shapes where they differ; of those that differ in length, the shapes of the first such example."""
    if is_ragged(ours) and is_ragged(theirs) and ours.shapes.shape == theirs.shapes.shape:
        unlike = np.flatnonzero((ours.shapes != theirs.shapes).any(axis=1))
        pair = [tuple(side.shapes[unlike[0]].tolist()) for side in (ours, theirs)] if len(unlike) else None
        return None if pair is None else (pair[0], pair[1])
    first, second = ((array.ndim, "of many lengths") if is_ragged(array) else array.shape for array in (ours, theirs))
    return None if first == second else (first, second)


def _differing(ours: Any, theirs: Any, share: float) -> Array:
    """Which examples got other values (n,), beyond a share of the largest one; one by one where they differ in length.

    Text and whole numbers are the same or they are not.
    """
    values = values_of(ours)
    near = share * float(max(values.max(initial=0), -values.min(initial=0))) if values.dtype.kind == "f" else None

    def same(one: Array, other: Array) -> Array:
        return one == other if near is None else np.isclose(one, other, rtol=share, atol=near)

    if is_ragged(ours):
        return np.array([not same(*pair).all() for pair in zip(ours, theirs, strict=True)])
    return np.asarray(~same(ours, theirs).reshape(len(ours), -1).all(axis=1))


def _apart(ours: Any, theirs: Any) -> float:
    return float(np.abs(values_of(ours).astype(np.float64) - values_of(theirs)).max())


def check_answers(outputs: Sequence[Array], split: Split, name: str) -> None:
    """Numbers, finite ones, and not the same whatever the input: anything else is a `MeasurementError`."""
    check_numbers(outputs, name)
    _check_attention(outputs, split, name)


def _large_batch(worker: Answering, split: Split, feeding: Feeding, outputs: Sequence[int], batch: int) -> int:
    """The largest batch up to `LARGE_BATCH` whose answer is not in danger of being taken for a hung worker.

    Twice the deployed batch after the other, from what that takes itself; `batch` where the model is slow.
    """
    begin = time.monotonic()
    answers_of(worker, split.inputs, feeding, outputs, batch)
    each = (time.monotonic() - begin) / batch
    fits = int(SLOW_SHARE * worker.timeout / max(each, 1e-9))
    large = LARGE_BATCH
    while large > max(batch, fits):
        large //= 2
    return max(large, batch)


def _probed(split: Split) -> Array:
    """The first examples, or where they differ in length those of the lengths that most have, as in whole batches."""
    kinds = sorted(buckets(split.inputs), key=len, reverse=True)
    return np.sort(np.concatenate(kinds)[:PROBED])


def _agree(worker: Answering, split: Split, feeding: Feeding, outputs: Sequence[int], batches: tuple[int, int]) -> bool:
    small, large = (answers_of(worker, split.inputs, feeding, outputs, batch, least=batches[0]) for batch in batches)
    pairs = zip(small, large, strict=True)
    return all(
        _unlike_shapes(ours, theirs) is None and not _differing(ours, theirs, ALIKE).any() for ours, theirs in pairs
    )


def answers_of(  # noqa: PLR0913  # the last has a default
    worker: Answering,
    inputs: Mapping[str, Array],
    feeding: Feeding,
    outputs: Sequence[int],
    batch: int,
    *,
    least: int | None = None,
) -> list[Array]:
    """All examples in requests of whole batches; the last batch is filled up with its last example.

    Where examples differ in length a batch has one length, and answers that differ in length come as `Ragged`. Few may
    be of one length: with `least`, those left over by whole batches are one of their own number, or of `least` if that
    is more.
    """
    if any(is_ragged(array) for array in inputs.values()):
        cut = [part for chosen in buckets(inputs) for part in _whole_and_rest(chosen, batch, least or batch)]
        parts = [
            (chosen, _answers_of_one_shape(worker, stacked(inputs, chosen), feeding, outputs, size))
            for chosen, size in cut
        ]
        return [joined([(chosen, found[place]) for chosen, found in parts]) for place in range(len(outputs))]
    return _answers_of_one_shape(worker, inputs, feeding, outputs, batch)


def _whole_and_rest(chosen: Array, batch: int, least: int) -> list[tuple[Array, int]]:
    """Indices of one length as whole batches and those left over, each with the size of its batches.

    The size depends on the examples of a batch alone: a second process that gets some of the batches takes them alike.
    """
    whole = len(chosen) // batch * batch
    parts = [(chosen[:whole], batch), (chosen[whole:], max(least, len(chosen) - whole))]
    return [(part, size) for part, size in parts if len(part)]


def _answers_of_one_shape(
    worker: Answering, inputs: Mapping[str, Array], feeding: Feeding, outputs: Sequence[int], batch: int
) -> list[Array]:
    total = len(next(iter(inputs.values())))
    size = max(1, sum(array[:1].nbytes for array in inputs.values()))
    most = max(1, min(CHUNK_BYTES // size, CHUNK_EXAMPLES) // batch) * batch
    step, begin = batch, 0
    parts: list[dict[str, Array]] = []
    while begin < total:
        asked = time.monotonic()
        count = min(step, total - begin)
        padding = -count % batch
        chunk = {name: _padded(array[begin : begin + count], padding) for name, array in inputs.items()}
        said = feeding.request(begin, count)
        reply = send_arrays(worker, "evaluate", chunk, batch=batch, outputs=list(outputs), padding=padding, **said)
        parts.append(_answered(reply, outputs, worker.name))
        begin += count
        if time.monotonic() - asked < QUICK_SHARE * worker.timeout:
            step = min(2 * step, most)
    try:
        joined = [np.concatenate([part[str(index)] for part in parts]) for index in outputs]
    except ValueError as error:
        raise MeasurementError(f"answered outputs of differing shapes: {error}", where=worker.name) from error
    if any(len(array) != total for array in joined):
        raise MeasurementError(f"answered {[len(array) for array in joined]} of {total} examples", where=worker.name)
    check_numbers(joined, worker.name)
    return joined


def _answered(reply: Mapping[str, Any], outputs: Sequence[int], name: str) -> dict[str, Array]:
    """The arrays of a reply: a worker elsewhere may answer anything."""
    arrays: dict[str, Array] = reply.get("arrays", {})
    lacking = [index for index in outputs if str(index) not in arrays or arrays[str(index)].ndim == 0]
    if lacking:
        raise MeasurementError(f"answered nothing for output {lacking[0]}", where=name)
    return arrays


def _padded(array: Array, padding: int) -> Array:
    return np.concatenate([array, np.repeat(array[-1:], padding, axis=0)]) if padding else array


def check_numbers(outputs: Sequence[Array], name: str) -> None:
    """Raise `MeasurementError` for outputs, each (n, …), that are neither finite numbers nor text."""
    for index, array in enumerate(outputs):
        if array.dtype.kind == "U":
            continue
        if array.dtype.kind not in "iufb":
            raise MeasurementError(f"output {index} is {array.dtype}, neither numbers nor text", where=name)
        bad = len(array) - int(np.isfinite(array.reshape(len(array), -1)).all(axis=1).sum())
        if bad:
            raise MeasurementError(f"{bad} of {len(array)} answers contain NaN or infinite values", where=name)


def _check_attention(outputs: Sequence[Array], split: Split, name: str) -> None:
    differs = any(is_ragged(array) or (array != array[:1]).any() for array in split.inputs.values())
    if differs and all(not is_ragged(array) and (array == array[:1]).all() for array in outputs):
        raise MeasurementError("gives the same answers for different inputs: it ignores its input", where=name)
