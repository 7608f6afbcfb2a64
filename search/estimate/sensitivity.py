"""What each choice costs and saves by itself, found out without training: the second rung of a search.

Damage is the Kullback-Leibler divergence of the answers on calibration data from those of the baseline. Time is
measured on the device, beside the baseline: a layer's share of the multiply-accumulates says little of its time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.compress.recipe.maker import Maker
from weighbridge.compress.techniques.prune.structured import cost
from weighbridge.compress.training.module_quality import predict
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.progress import Progress
from weighbridge.search.problem.searched_model import Source
from weighbridge.search.problem.space import WITHOUT, Space, Value

Array = NDArray[Any]
Timer = Callable[[Mapping[str, bytes]], Mapping[str, float]]
"""Files by name → their time beside the baseline's; what cannot be timed is missing."""
MIDDLE = "middle"
"""Names the file of middle widths that forms of weights are timed beside."""
RESTING = ("rate", "teacher")
"""Knobs that change nothing before training."""
SHAPES = ("width", WITHOUT, "depth", "factor")
"""What names of knobs begin with that change the module's shapes."""


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


@dataclass(frozen=True)
class _Choice:
    """One value of one knob, made."""

    effect: Effect
    """Its time is not known yet: that of the least work there is."""
    left: float = 1.0
    """Multiply-accumulates of the module beside the baseline's; 1 where only the form of weights is another."""
    data: bytes | None = None
    """The file that tells its time."""


def effects(source: Source, space: Space, progress: Progress, time: Timer | None = None) -> list[Effect]:
    """Every value of every knob alone; those that the model refuses are left out. The value at rest costs nothing.

    Without `time`, a file takes as long as it has multiply-accumulates.
    """
    assert source.context.data.calibration is not None  # the contract of `Context.data`
    maker = Maker(source.context, source.target, source.start, train=False)
    baseline = maker.make([]).data
    reference = source.target.run(baseline, source.context.data.calibration.inputs)[0]
    single = {name: values for name, values in space.knobs.items() if name not in RESTING}
    total = sum(len(values) for values in single.values())
    found: dict[str, list[_Choice]] = {}
    for name, values in single.items():
        found[name] = [_Choice(Effect(name, values[0], 0.0, 0.0, 0.0))]
        for value in values[1:]:
            progress("sensitivity", sum(map(len, found.values())), total, f"{name} {value}")
            try:
                found[name].append(_choice(maker, source, space, (name, value), (baseline, reference)))
            except WeighbridgeError:
                continue
    progress("sensitivity", total, total, f"{sum(map(len, found.values()))} choices")
    if time is not None:
        files = {key: choice.data for key, choice in _keyed(found) if choice.data is not None}
        if middle := _middle(space):
            files[MIDDLE] = maker.make(space.read(space.point(middle), 0)).data
        return _with_times(found, time(files))
    return [choice.effect for choices in found.values() for choice in choices]


def _choice(
    maker: Maker, source: Source, space: Space, choice: tuple[str, Value], baseline: tuple[bytes, Array]
) -> _Choice:
    """What a choice does before any training, and the file that tells its time."""
    name, value = choice
    data, reference = baseline
    assert source.context.data.calibration is not None  # the contract of `Context.data`
    calibration = source.context.data.calibration
    steps = space.read(space.point({name: value}), 0)
    if not name.startswith(SHAPES):
        made = maker.make(steps)
        answers = source.target.run(made.data, calibration.inputs)[0]
        effect = Effect(name, value, divergence(answers, reference), math.log(made.sizes.bytes / len(data)), 0.0)
        # Integers that are faster in wide layers are slower in narrow ones, where a search ends.
        file = None if name == "sparsity" else maker.make(space.read(space.point({**_middle(space), name: value}), 0))
        return _Choice(effect, data=file.data if file is not None else None)
    module = maker.module(steps)
    (macs, params), (all_macs, all_params) = (cost(item, calibration) for item in (module, maker.module()))
    left = max(macs, 1) / max(all_macs, 1)
    strongest = value == space.knobs[name][-1]
    damage = divergence(predict(module, calibration)[0], reference)
    effect = Effect(name, value, damage, math.log(params / all_params), math.log(left))
    return _Choice(effect, left, maker.make(steps).data if strongest else None)


def _middle(space: Space) -> dict[str, Value]:
    """Every layer at a middle width."""
    return {name: values[len(values) // 2] for name, values in space.knobs.items() if name.startswith("width")}


def _key(choice: _Choice) -> str:
    return f"{choice.effect.knob} {choice.effect.value}"


def _keyed(found: Mapping[str, Sequence[_Choice]]) -> Iterator[tuple[str, _Choice]]:
    for choices in found.values():
        for choice in choices:
            yield _key(choice), choice


def _with_times(found: Mapping[str, Sequence[_Choice]], times: Mapping[str, float]) -> list[Effect]:
    """Effects with measured times; what broke its worker is no choice.

    Of a knob that changes shapes the strongest value is measured, and a weaker one saves as much of that as it saves
    of the work: exports of many shapes would take longer than what they tell is worth.
    """
    effects = []
    for key, choice in _keyed(found):
        name, effect = choice.effect.knob, choice.effect
        strongest = found[name][-1]
        if choice.data is not None and key not in times:
            continue
        if name.startswith(SHAPES) and strongest.left < 1 and (least := times.get(_key(strongest))) is not None:
            part = (1 - choice.left) / (1 - strongest.left)
            effect = replace(effect, time=math.log(1 - part * (1 - least)))
        elif choice.data is not None:
            effect = replace(effect, time=math.log(times[key] / times.get(MIDDLE, 1.0)))
        effects.append(effect)
    return effects


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


__all__ = ["Effect", "Timer", "divergence", "effects"]
