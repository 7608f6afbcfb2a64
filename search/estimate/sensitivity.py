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
from weighbridge.search.problem.weight_forms import SHARE, plain

Array = NDArray[Any]
Timer = Callable[[Mapping[str, bytes]], Mapping[str, float]]
"""Files by name → their time beside the baseline's; what cannot be timed is missing."""
MIDDLE = "middle"
"""Names the file of middle widths that forms of weights are timed beside."""
WIDE = 1 << 25
"""Bytes of a model from which on forms are timed as they are: its layers stay wide, and every file takes seconds."""
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


@dataclass(frozen=True)
class _Baseline:
    """What every choice is held against."""

    data: bytes
    answers: Array
    middle: Mapping[str, Value]
    """Values at which forms of weights are timed: every layer at a middle width."""


def effects(
    source: Source,
    space: Space,
    progress: Progress,
    time: Timer | None = None,
    late: Callable[[], bool] = lambda: False,
) -> list[Effect]:
    """Every value of every knob alone; those that the model refuses are left out, and from when it is `late` the rest.
    The value at rest costs nothing.

    Without `time`, a file takes as long as it has multiply-accumulates.
    """
    assert source.context.data.calibration is not None  # the contract of `Context.data`
    maker = Maker(source.context, source.target, source.start, train=False)
    data = maker.make([]).data
    answers = source.target.run(data, source.context.data.calibration.inputs)[0]
    baseline = _Baseline(data, answers, _middle(space) if len(data) < WIDE else {})
    made: dict[tuple[str, Value], _Choice] = {}
    wanted = in_order(space)
    for number, (name, value) in enumerate(wanted):
        if late():
            break
        progress("sensitivity", number, len(wanted), f"{name} {value}")
        try:
            made[name, value] = _choice(maker, source, space, (name, value), baseline)
        except WeighbridgeError:
            continue
    found = _by_knob(space, made)
    progress("sensitivity", len(wanted), len(wanted), f"{len(made)} choices")
    if time is not None:
        files = {key: choice.data for key, choice in _keyed(found) if choice.data is not None}
        if baseline.middle:
            files[MIDDLE] = maker.make(space.read(space.point(baseline.middle), 0)).data
        return _with_times(found, time(files))
    return [choice.effect for choices in found.values() for choice in choices]


def in_order(space: Space) -> list[tuple[str, Value]]:
    """Values that ask for something, what tells most of a large model in little time first: forms made for such a
    model, other schemes, the strongest value of what changes shapes (whose time is measured), weaker ones, and what
    is packed.
    """

    def place(item: tuple[str, Value]) -> int:
        name, value = item
        if name.startswith(SHAPES):
            return 1 if value == space.knobs[name][-1] else 2
        if name == "sparsity" or str(value).startswith(SHARE):
            return 3
        return 0 if plain(str(value)) else -1

    knobs = {name: values[1:] for name, values in space.knobs.items() if name not in RESTING}
    return sorted(((name, value) for name, values in knobs.items() for value in values), key=place)


def _by_knob(space: Space, made: Mapping[tuple[str, Value], _Choice]) -> dict[str, list[_Choice]]:
    """Choices in the order of their knobs' values, the one at rest first."""
    found = {}
    for name, values in space.knobs.items():
        if name not in RESTING:
            alone = [made[name, value] for value in values[1:] if (name, value) in made]
            found[name] = [_Choice(Effect(name, values[0], 0.0, 0.0, 0.0)), *alone]
    return found


def _choice(maker: Maker, source: Source, space: Space, choice: tuple[str, Value], baseline: _Baseline) -> _Choice:
    """What a choice does before any training, and the file that tells its time."""
    name, value = choice
    assert source.context.data.calibration is not None  # the contract of `Context.data`
    calibration = source.context.data.calibration
    steps = space.read(space.point({name: value}), 0)
    if not name.startswith(SHAPES):
        made = maker.make(steps)
        answers = source.target.run(made.data, calibration.inputs)[0]
        log_bytes = math.log(made.sizes.bytes / len(baseline.data))
        effect = Effect(name, value, divergence(answers, baseline.answers), log_bytes, 0.0)
        # Integers that are faster in wide layers are slower in narrow ones, where a search ends.
        if name != "sparsity" and baseline.middle:
            made = maker.make(space.read(space.point({**baseline.middle, name: value}), 0))
        return _Choice(effect, data=None if name == "sparsity" else made.data)
    module = maker.module(steps)
    (macs, params), (all_macs, all_params) = (cost(item, calibration) for item in (module, maker.module()))
    left = max(macs, 1) / max(all_macs, 1)
    strongest = value == space.knobs[name][-1]
    damage = divergence(predict(module, calibration)[0], baseline.answers)
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
