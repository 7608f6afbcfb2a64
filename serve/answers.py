"""What an answer says, for counting: classes, whether two answers agree, which slices a request belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from weighbridge.core.errors import InputError, MeasurementError, StateError
from weighbridge.serve.tensors import Array, Feed, Limits, Request, Spec, has_nan

CLASSES = 1000
"""Classes that are told apart at most: each is a time series."""
TOLERANCE = 1e-2
"""Relative and absolute difference up to which outputs without classes agree."""

PROBABLE = 1e-3
"""What the sum of scores may be off one where they are probabilities."""
FEWEST = 16
"""Entries of an input from which on its mean does not tell it."""

Outputs = Mapping[str, Array]
Reader = Callable[[Outputs], list[str] | None]
Slicer = Callable[[Feed], Iterable[str]]
Preprocess = Callable[[Feed], Feed]
Postprocess = Callable[[Outputs], Outputs]


def classes(outputs: Outputs) -> list[str] | None:
    """The class of each example: the largest of the scores in the first output of examples by classes, or a first
    output that is one whole number each; None where the answer is no classification.
    """
    for array in outputs.values():
        if array.ndim == 2 and array.dtype.kind == "f" and 2 <= array.shape[1] <= CLASSES:
            return [str(index) for index in array.argmax(axis=1).tolist()]
        if array.ndim == 1 and array.dtype.kind in "iub":
            return [str(int(value)) for value in array.tolist()]
    return None


def agree(first: Outputs, second: Outputs, read: Reader) -> bool:
    """Whether two answers to one request say the same."""
    one, two = read(first), read(second)
    if one is not None or two is not None:
        return one == two
    if first.keys() != second.keys():
        return False
    return all(
        first[name].shape == second[name].shape
        and np.allclose(first[name], second[name], rtol=TOLERANCE, atol=TOLERANCE)
        for name in first
    )


def confidence(outputs: Outputs) -> float | None:
    """The probability of the predicted class, of one example: its largest score where the scores are probabilities,
    or else the largest of their softmax; None where the answer is no such classification.
    """
    for array in outputs.values():
        if array.ndim == 2 and array.dtype.kind == "f" and 2 <= array.shape[1] <= CLASSES:
            if len(array) != 1:
                return None
            scores = array[0].astype(np.float64)
            if scores.min() >= 0 and abs(scores.sum() - 1) < PROBABLE:
                return float(min(scores.max(), 1.0))
            weights = np.exp(scores - scores.max())
            return float(weights.max() / weights.sum())
    return None


def summary(feed: Feed) -> dict[str, list[float]]:
    """Mean and standard deviation of each input of numbers; of one with few entries nothing, as that would be the
    input itself.
    """
    return {
        name: [float(array.mean(dtype=np.float64)), float(array.std(dtype=np.float64))]
        for name, array in feed.items()
        if array.dtype.kind in "iuf" and array.size >= FEWEST and np.isfinite(array).all()
    }


def slices_of(slicer: Slicer | None, feed: Feed) -> tuple[str, ...]:
    """The slices that a user's function says a request belongs to; anything but names is an `InputError`."""
    if slicer is None:
        return ()
    found = tuple(slicer(feed))
    if not all(isinstance(name, str) and 0 < len(name) <= 64 for name in found) or len(found) > 16:
        raise InputError("expected at most 16 names of at most 64 characters", where="slices")
    return found


def preprocessed(preprocess: Preprocess | None, feed: Feed) -> Feed:
    """The model's inputs, from a request's, by a user's function. One that fails is a `MeasurementError`."""
    return feed if preprocess is None else _applied("preprocess", preprocess, feed)


def postprocessed(postprocess: Postprocess | None, outputs: dict[str, Array]) -> dict[str, Array] | MeasurementError:
    """What is sent, from the model's outputs, by a user's function; an error in their place where it fails."""
    try:
        return outputs if postprocess is None else _applied("postprocess", postprocess, outputs)
    except MeasurementError as error:
        return error


def _applied(name: str, function: Callable[[Any], Any], tensors: Any) -> dict[str, Array]:
    try:
        found = {key: np.asarray(value) for key, value in function(dict(tensors)).items()}
    except Exception as error:
        # A user's function may raise anything; what it says may tell of the request, and stays here.
        raise MeasurementError(f"{name} failed: {type(error).__name__}") from error
    for key, before in tensors.items():
        if key not in found or found[key].dtype != before.dtype:
            raise MeasurementError(f"{name} failed: expected {key} as {before.dtype}, as it was given")
    return {key: found[key] for key in tensors}


class AbsentError(StateError):
    """A model or version that is not served here."""


class Answer(NamedTuple):
    """What is sent back."""

    id: str
    version: str
    outputs: dict[str, Array]
    request: Request


def named_outputs(specs: Sequence[Spec], arrays: Sequence[Array]) -> dict[str, Array] | MeasurementError:
    """A model's outputs by name; an error in their place where one contains NaN."""
    outputs = {spec.name: array for spec, array in zip(specs, arrays, strict=True)}
    for name, array in outputs.items():
        if has_nan(array):
            return MeasurementError("contains NaN", where=f"output {name}")
    return outputs


def require_outputs(wanted: Sequence[str], outputs: Sequence[Spec]) -> None:
    """Raise `InputError` for a name that is none of the outputs."""
    known = [spec.name for spec in outputs]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise InputError(
            f"the model has no output {missing[0][:80]!r}", where="outputs", fix=f"it has {', '.join(known)}"
        )


def is_class(value: Any) -> bool:
    """Whether a label is a short name or a whole number."""
    return (isinstance(value, str) and 0 < len(value) <= 64) or (isinstance(value, int) and not isinstance(value, bool))


@dataclass(frozen=True)
class Options:
    """How requests are treated."""

    limits: Limits = field(default_factory=Limits)
    shadow: float = 0.0
    """Per cent of the requests of stable that the canary answers too, unseen."""
    classes: Reader = classes
    slices: Slicer | None = None
    preprocess: Preprocess | None = None
    """From a request's inputs to the model's: same names and types."""
    postprocess: Postprocess | None = None
    """From the model's outputs to what is sent: same names and types. Classes are read from the model's own."""
    sample: float = 0.0
    """Per cent of the requests that are logged."""
    log_inputs: bool = False
