"""The user's code around the model, made ready to travel: one file, the names of two functions, a few raw examples."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import InputError
from weighbridge.data import load_data
from weighbridge.gate.measure.launch_setup import Journey

Array = NDArray[Any]


def source_of(journey: Journey) -> Path | None:
    """The file of the module that the configuration names; None where it is a package or has no file."""
    module = journey.factory.partition(":")[0]
    path = journey.folder.joinpath(*module.split(".")).with_suffix(".py")
    if path.is_file():
        return path
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    single = spec is not None and spec.submodule_search_locations is None and spec.origin is not None
    origin = Path(str(spec.origin)) if single and spec is not None else None
    return origin if origin is not None and origin.suffix == ".py" and origin.is_file() else None


def made_ready(journey: Journey) -> Journey:
    """With names and raw examples, where both functions are the module's own and the examples are arrays alike.

    Then the factory need not be called on the device, and the data set that it loads need not be there. Otherwise the
    journey as it is: the device calls the factory.
    """
    try:
        data = load_data(journey.factory, missing=None)
    except InputError:
        return journey  # what it needs may be there and not here
    module = journey.factory.partition(":")[0]
    before, after = _name(data.preprocess, module), _name(data.postprocess, module)
    raw = _alike(list(itertools.islice(data.raw, journey.examples))) if data.raw is not None else None
    if before is None or raw is None or (data.postprocess is not None and after is None):
        return journey
    return replace(journey, preprocess=before, postprocess=after, raw=raw)


def _name(function: Callable[..., Any] | None, module: str) -> str | None:
    """The name by which the module itself knows a function; None for a closure, a method or another module's."""
    name = getattr(function, "__name__", "")
    return name if function is not None and getattr(sys.modules.get(module), name, None) is function else None


def _alike(examples: list[Any]) -> Array | None:
    """Arrays of one type and shape, stacked."""
    if not examples or not all(isinstance(item, np.ndarray) and item.dtype.kind in "iufb" for item in examples):
        return None
    if len({(item.dtype, item.shape) for item in examples}) != 1:
        return None
    return np.stack(examples)
