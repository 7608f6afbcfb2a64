"""Where in params.yaml a fault of a step lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from weighbridge.compress.recipe.library_errors import LIBRARY_ERRORS, first_line, of_library, out_of_memory
from weighbridge.compress.steps import Step
from weighbridge.core.errors import InvariantError, StateError, WeighbridgeError


@contextmanager
def placed(step: Step) -> Iterator[None]:
    """Errors of a technique that name themselves (`prune: keep`) say where in params that is.

    What a library below it raises (torch, onnx, onnxruntime, torch-pruning) is an `InvariantError` with its reason.
    """
    try:
        yield
    except LIBRARY_ERRORS as error:
        library = of_library(error)
        if library is None:
            raise
        if out_of_memory(error):
            raise StateError(
                f"{library} ran out of memory: {first_line(error)}", where=step.where, fix="free memory, and run again"
            ) from error
        raise InvariantError(
            f"{library} cannot take the model: {type(error).__name__}: {first_line(error)}",
            where=step.where,
            fix="name the layer under 'keep', or leave the step out",
        ) from error
    except WeighbridgeError as error:
        where = error.where or step.name
        inside = where.removeprefix(step.name).lstrip(" :.")
        if where == step.name or where.startswith((f"{step.name}:", f"{step.name}.")):
            error.where = f"{step.where}.{inside}" if inside else step.where
        elif not where.startswith(step.where):
            error.where = f"{step.where}: {where}"
        raise
