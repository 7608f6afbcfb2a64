"""States that a model reaches along its streams, as examples have them: compression sees what is carried at work.

Calibrated on first states alone, a quantizer would know zeros where the model at work carries anything it can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.compress.graph.feeds import declared, fixed_batch
from weighbridge.compress.graph.forward import output_names
from weighbridge.compress.graph.sessions import outputs_of, session
from weighbridge.compress.steps import Graph, Subject
from weighbridge.compress.training.module_quality import predict
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import signature
from weighbridge.data import Data, Split

Array = NDArray[Any]
Step = Callable[[Split], Mapping[str, Array]]
"""One step of several streams at once: what each carried input gets next, (streams, …)."""


def with_reached(data: Data, source: Subject | Graph) -> Data:
    """The data with the states that the source reaches, in each split; as it is where nothing is carried."""
    if not _carried():
        return data
    return replace(
        data,
        train=along_streams(data.train, source),
        test=along_streams(data.test, source),
        calibration=None if data.calibration is None else along_streams(data.calibration, source),
    )


def along_streams(split: Split, source: Subject | Graph) -> Split:
    """The split with the state that each example finds: what a stream begins with, then what the step before it gave.

    A state that grows, such as a cache, stays as the data has it: each of its texts begins one.
    """
    carried = _carried()
    if not carried:
        return split
    groups = np.zeros(len(split)) if split.groups is None else split.groups
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    lengths = np.diff(np.append(starts, len(split)))
    if lengths.max() == 1:
        return split
    step = _stepper(source, carried)
    states: dict[str, Array] = {name: array.copy() for name, array in split.inputs.items() if name in carried}
    for depth in range(int(lengths.max())):
        now = starts[lengths > depth] + depth
        given = step(Split({name: array[now] for name, array in {**split.inputs, **states}.items()}, split.labels[now]))
        goes_on = lengths[lengths > depth] > depth + 1
        for name, found in given.items():
            held = states.setdefault(name, np.zeros((len(split), *found.shape[1:]), found.dtype))
            if held.shape[1:] != found.shape[1:]:
                return split
            held[now[goes_on] + 1] = found[goes_on]
    return Split({**split.inputs, **states}, split.labels, split.slices, split.groups)


def _carried() -> dict[str, str]:
    """Carried inputs, with the output that each is fed back from."""
    return {name: section.carry for name, section in declared().items() if section.carry}


def _stepper(source: Subject | Graph, carried: Mapping[str, str]) -> Step:
    if isinstance(source, Subject):
        return lambda part: _picked(found := predict(source.module, part), output_names(len(found)), carried)
    proto = source.model
    if (fixed := fixed_batch(signature(proto).inputs) or 1) > 1:
        raise InputError(f"the model takes {fixed} examples at a time: streams have one", where="params.yaml: inputs")
    runner, names = session(proto, "model.onnx"), [port.name for port in signature(proto).outputs]
    return lambda part: _picked(outputs_of(runner, proto, part, "model.onnx"), names, carried)


def _picked(found: Any, names: list[str], carried: Mapping[str, str]) -> dict[str, Array]:
    for name, output in carried.items():
        if output not in names:
            raise InputError(
                f"has no output {output!r}",
                where=f"params.yaml: inputs.{name}.carry",
                fix=f"outputs: {', '.join(names)}",
            )
    return {name: np.asarray(found[names.index(output)]) for name, output in carried.items()}
