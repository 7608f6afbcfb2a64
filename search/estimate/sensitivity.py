"""What each choice costs and saves by itself, found out without training: the second rung of a search.

Damage is the Kullback-Leibler divergence of the answers on calibration data from those of the baseline. Time is
measured: the share of each layer from one profile of the baseline, and of each form of weights as it runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.compress.graph.layers import calls
from weighbridge.compress.recipe.maker import Maker
from weighbridge.compress.techniques.prune.structured import cost
from weighbridge.compress.training.module_quality import predict
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.progress import Progress
from weighbridge.search.estimate.layer_times import RESTING, predicted_time, time_shares
from weighbridge.search.problem.searched_model import Source
from weighbridge.search.problem.space import Space, Value

Array = NDArray[Any]


@dataclass(frozen=True)
class Effect:
    """One value of one knob, alone."""

    knob: str
    value: Value
    damage: float
    """Kullback-Leibler divergence of the answers, in nats; of values the squared relative error."""
    bytes: float
    """log(bytes / the baseline's)."""
    time: float
    """log(predicted time / the baseline's)."""


def effects(source: Source, space: Space, progress: Progress) -> list[Effect]:
    """Every value of every knob alone; those that the model refuses are left out. The value at rest costs nothing."""
    assert source.context.data.calibration is not None  # the contract of `Context.data`
    maker = Maker(source.context, source.target, source.start, train=False)
    baseline = maker.make([]).data
    shares = time_shares(source) if source.target.name == "onnxruntime" else {}
    inputs = source.context.data.calibration.inputs
    reference = source.target.run(baseline, inputs)[0]
    single = {name: values for name, values in space.knobs.items() if name not in RESTING}
    total = sum(len(values) - 1 for values in single.values())
    found: list[Effect] = []
    for name, values in single.items():
        found.append(Effect(name, values[0], 0.0, 0.0, 0.0))
        for value in values[1:]:
            progress("sensitivity", len(found), total + len(single), f"{name} {value}")
            try:
                found.append(_effect(maker, source, space, (name, value), (baseline, reference, shares)))
            except WeighbridgeError:
                continue
    progress("sensitivity", total + len(single), total + len(single), f"{len(found)} choices")
    return found


def _effect(
    maker: Maker,
    source: Source,
    space: Space,
    choice: tuple[str, Value],
    baseline: tuple[bytes, Array, Mapping[str, float]],
) -> Effect:
    data, reference, shares = baseline
    assert source.context.data.calibration is not None  # the contract of `Context.data`
    calibration = source.context.data.calibration
    steps = space.read(space.point({choice[0]: choice[1]}), 0)
    if not choice[0].startswith(("width", "factor")):
        made = maker.make(steps)
        answers = source.target.run(made.data, calibration.inputs)[0]
        return Effect(*choice, divergence(answers, reference), math.log(made.sizes.bytes / len(data)), 0.0)
    module = maker.module(steps)
    before = maker.module()
    params = cost(module, calibration)[1] / cost(before, calibration)[1]
    inputs = batch(calibration, slice(0, 1))[0]
    was, now = ({name: call.macs for name, call in calls(one, inputs).items()} for one in (before, module))
    answers = predict(module, calibration)[0]
    return Effect(*choice, divergence(answers, reference), math.log(params), math.log(predicted_time(was, now, shares)))


def divergence(ours: Array, theirs: Array) -> float:
    """Mean Kullback-Leibler divergence of softmax answers (n, classes), in nats; of values the squared relative error.

    Answers with NaN or infinite values are infinitely far.
    """
    if not np.isfinite(ours).all():
        return math.inf
    if theirs.ndim == 2 and theirs.shape[1] > 1:
        p, q = (_log_softmax(item.astype(np.float64)) for item in (theirs, ours))
        return float((np.exp(p) * (p - q)).sum(1).mean())
    return float(np.square(ours - theirs).mean() / max(float(np.square(theirs).mean()), 1e-12))


def _log_softmax(values: Array) -> Array:
    shifted = values - values.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


__all__ = ["Effect", "divergence", "effects", "predicted_time", "time_shares"]
