"""Whether a candidate is as fast on inputs outside the test set: a file may recognise those that it is timed on.

One short launch is taken on inputs that are like the test set's and in none of its examples; what is compared is the
candidate's time beside the baseline's, there and on the test set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.launches import Launch, Setup
from weighbridge.gate.weighing.accumulator import Series

Array = NDArray[Any]
Take = Callable[[Setup, frozenset[str], np.random.Generator], Launch]

METRIC = "latency.p50"
SUSPICIOUS = 1.3
"""Times as long beside the baseline as on the test set: more than launches differ by; a second one must confirm it."""
MIXED = 0.1
"""Share of another example in each."""


def other_inputs(
    inputs: Mapping[str, Array], rng: np.random.Generator, ragged: Collection[str] = ()
) -> dict[str, Array] | None:
    """Inputs of the same types, shapes and ranges (n, …), none of them among the given ones; None where that fails.

    Floats lean towards another example by a tenth; of integers and booleans a tenth come from another example in the
    same place, so that a token stays one. Inputs in `ragged` are values one after the other: they lean towards other
    values, and the rest stays.
    """
    if ragged:
        return {**inputs, **{name: _mixed(inputs[name], rng.permutation(len(inputs[name])), rng) for name in ragged}}
    count = len(next(iter(inputs.values())))
    partner = (np.arange(count) + rng.integers(1, max(count, 2), count)) % count
    made = {name: _mixed(array, partner, rng) for name, array in inputs.items()}
    known = {_key(inputs, index) for index in range(count)}
    fresh = [index for index in range(count) if _key(made, index) not in known]
    return {name: np.ascontiguousarray(array[fresh]) for name, array in made.items()} if fresh else None


def _mixed(array: Array, partner: Array, rng: np.random.Generator) -> Array:
    if array.dtype.kind == "f":
        return np.asarray((array + (array[partner] - array) * array.dtype.type(MIXED)).astype(array.dtype))
    return np.where(rng.random(array.shape) < MIXED, array[partner], array)


def _key(arrays: Mapping[str, Array], index: int) -> bytes:
    return b"".join(array[index].tobytes() for array in arrays.values())


def slower_elsewhere(take: Take, setup: Setup, usual: Series | None, seed: int) -> list[str]:
    """A sentence for the report where the candidate is slower on other inputs; none where it is not.

    `usual` is the median latency's launches on the test set; `take` takes a launch.
    """
    if usual is None or not usual.log_ratio:
        return []
    before = float(np.median(usual.log_ratio))
    inputs = other_inputs(setup.inputs, np.random.default_rng([seed, 2]), list(setup.how.get("shapes", ())))
    if inputs is None:
        return []
    # Short bursts: their length follows the fastest model, and a candidate that is slow here may be very slow.
    protocol = replace(
        setup.protocol,
        fewest_rounds=5,
        launch_seconds=min(0.2, setup.protocol.launch_seconds),
        warm_seconds=0.0,
        burst_seconds=2e-5,
    )
    there = replace(setup, inputs=inputs, protocol=protocol, journey=None, energy=None)
    factors, rng = [], np.random.default_rng([seed, 3])
    for _ in range(2):
        try:
            launch = take(there, frozenset({METRIC}), rng)
        except MeasurementError as error:
            return [f"Inputs that are not in the test set could not be timed: {error.what}."]
        factors.append(math.exp(launch.log_ratios[METRIC]["candidate", "baseline"] - before))
        if factors[-1] < SUSPICIOUS:
            return []
    text = (
        f"The candidate takes {min(factors):.1f} times as long beside the baseline for inputs that are like the test "
        "set's but not in it: its latency on the test set is not its latency in use."
    )
    return [text]
