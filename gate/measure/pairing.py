"""From the times of interleaved bursts to one launch's values: pure functions of arrays.

A *round* is one burst of each role (baseline, candidate, …) in random order. The first inference of every burst is
dropped: it finds the caches as another process left them. A round during which the hypervisor stole time or the
scheduler took the core away is dropped for all roles alike, whatever it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import MeasurementError

Array = NDArray[np.float64]
FEWEST_KEPT = 0.5
"""Below this share of calm rounds a launch keeps them all: the share dropped then says that nothing can be judged."""


@dataclass(frozen=True)
class Round:
    """One burst of each role."""

    seconds: Mapping[str, Array]
    """Per role, seconds of each inference after the first."""
    disturbed: bool
    """Whether time was stolen or a process lost its core during the round."""


def seconds_of(nanoseconds: NDArray[np.int64], count: int, elapsed_ns: int, where: str) -> Array:
    """Check one burst's durations against the asking process's own clock; returns seconds.

    `elapsed_ns` is what the asker saw pass between request and answer. A negative, zero or absurd duration, or a sum
    beyond what passed, means that a clock jumped or that the worker lies: `MeasurementError`.
    """
    if nanoseconds.shape != (count,):
        raise MeasurementError(f"answered {nanoseconds.size} durations instead of {count}", where=where)
    if (nanoseconds <= 0).any():
        raise MeasurementError(f"the clock went backwards: a duration of {nanoseconds.min()} ns", where=where)
    if int(nanoseconds.max()) > elapsed_ns or float(nanoseconds.sum(dtype=np.float64)) > elapsed_ns:
        total = nanoseconds.sum(dtype=np.float64) / 1e9
        raise MeasurementError(
            f"the clock jumped: durations of {total:.6g} s within {elapsed_ns / 1e9:.6g} s", where=where
        )
    return nanoseconds / 1e9


def kept(rounds: Sequence[Round]) -> list[Round]:
    """The rounds that nothing disturbed; all of them where too few are left to say anything."""
    calm = [item for item in rounds if not item.disturbed]
    return calm if len(calm) >= FEWEST_KEPT * len(rounds) else list(rounds)


def dropped(rounds: Sequence[Round]) -> float:
    """Share of disturbed rounds."""
    return sum(item.disturbed for item in rounds) / len(rounds) if rounds else 0.0


def log_ratio(rounds: Sequence[Round], role: str, reference: str) -> float:
    """Median over rounds of log(median of `role` / median of `reference`)."""
    each = [np.log(np.median(item.seconds[role]) / np.median(item.seconds[reference])) for item in rounds]
    return float(np.median(each))


def quantile(rounds: Sequence[Round], role: str, level: float) -> float:
    """The `level` quantile, in seconds, over all inferences of a role in a launch.

    The smallest observation with at least that share at or below it: an observed value, never interpolated.
    """
    return float(np.quantile(np.concatenate([item.seconds[role] for item in rounds]), level, method="inverted_cdf"))


def samples(rounds: Sequence[Round], role: str) -> int:
    """Single inferences behind a launch's value."""
    return sum(len(item.seconds[role]) for item in rounds)
