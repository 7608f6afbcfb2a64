"""What counts say against a reference window, by kind of evidence.

`realised`: labels and failures; `estimated`: accuracy from confidence alone (CBPE: the window's labels calibrate
confidence, its mean over the traffic now estimates accuracy now); `drift`: predictions, input summaries, latency.
What is counted now has confidence sequences, so that looking often raises no alarm; the reference window is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from weighbridge.registry.canary import sequential
from weighbridge.registry.canary.sequential import Interval
from weighbridge.registry.trust.watch_policy import WatchSection
from weighbridge.registry.watch.reference_traffic import CONFIDENCES, Counts, ReferenceWindow

Kind = Literal["realised", "estimated", "drift"]
ALARMS_A_MONTH = 0.5
"""Chance, summed over a month, that bounds raise an alarm though nothing has changed."""
_MONTH = 30 * 86_400.0


@dataclass(frozen=True)
class Shift:
    """One thing that was compared with the reference window: how much worse it is, as a share."""

    kind: Kind
    what: str
    """Such as `accuracy`, `accuracy of slice dark`, `predictions`."""
    limit: float
    interval: Interval
    samples: int
    reference_samples: int

    @property
    def beyond(self) -> bool:
        """Whether it is worse than the limit for certain."""
        return self.interval.lower > self.limit

    def text(self) -> str:
        """For people."""
        seen = self.interval
        return f"{self.what} worse by {seen.estimate:.3f} [{seen.lower:.3f}, {seen.upper:.3f}], limit {self.limit:g}"


@dataclass(frozen=True)
class _Levels:
    """How the chance of a false alarm is shared: half to the reference window, which is looked at once and errs once
    for all epochs, and half to what is counted in each epoch.
    """

    once: float
    always: float

    @classmethod
    def of(cls, policy: WatchSection, comparisons: int) -> _Levels:
        epochs = _MONTH / policy.epoch + 1
        once = ALARMS_A_MONTH / 2 / max(1, comparisons)
        return cls(once, once / epochs)

    def among(self, comparisons: int) -> _Levels:
        """Shared once more."""
        return _Levels(self.once / max(1, comparisons), self.always / max(1, comparisons))

    def drop(self, before: tuple[float, int], now: tuple[float, int]) -> Interval:
        """How far a share has fallen since the reference window."""
        return sequential.below(before, now, self.once, self.always)

    def rise(self, before: tuple[float, int], now: tuple[float, int]) -> Interval:
        """How far it has risen."""
        fallen = self.drop(before, now)
        return Interval(-fallen.estimate, -fallen.upper, -fallen.lower)


def shifts(reference: ReferenceWindow, now: Counts, policy: WatchSection) -> tuple[Shift, ...]:
    """All comparisons for which both sides have data."""
    before = reference.counts
    slices = [name for name in before.slices if name in now.slices]
    inputs = [name for name in before.inputs if name in now.inputs]
    levels = _Levels.of(policy, 6 + len(inputs))
    found = [
        *_realised(before, now, policy, levels),
        *_slices(before, now, policy, levels.among(len(slices)), slices),
        *_estimated(reference, now, policy, levels),
        *_drift(before, now, policy, levels, inputs),
    ]
    return tuple(shift for shift in found if shift.samples and shift.reference_samples)


def _realised(before: Counts, now: Counts, policy: WatchSection, levels: _Levels) -> Iterator[Shift]:
    drop = levels.drop((before.right, before.labelled), (now.right, now.labelled))
    yield Shift("realised", "accuracy", policy.max_drop, drop, now.labelled, before.labelled)
    more = levels.rise((before.errors, before.judged), (now.errors, now.judged))
    yield Shift("realised", "failures", policy.max_error_increase, more, now.judged, before.judged)


def _slices(before: Counts, now: Counts, policy: WatchSection, levels: _Levels, names: list[str]) -> Iterator[Shift]:
    for name in names:
        (n1, right1), (n2, right2) = before.slices[name], now.slices[name]
        drop = levels.drop((right1, n1), (right2, n2))
        yield Shift("realised", f"accuracy of slice {name}", policy.slice_max_drop, drop, n2, n1)


def _estimated(reference: ReferenceWindow, now: Counts, policy: WatchSection, levels: _Levels) -> Iterator[Shift]:
    sums = [_expected(reference, counts) for counts in (reference.counts, now)]
    if len(now.confidences) == len(CONFIDENCES) + 1:
        drop = levels.drop(sums[0], sums[1])
        yield Shift("estimated", "estimated accuracy", policy.max_drop, drop, sums[1][1], sums[0][1])


def _expected(reference: ReferenceWindow, counts: Counts) -> tuple[float, int]:
    """Right answers that the confidence promises, and of how many."""
    middles = [(low + high) / 2 for low, high in zip((0.0, *CONFIDENCES), (*CONFIDENCES, 1.0), strict=True)]
    of_bins = [(n, reference.score(middle)) for (n, _, _), middle in zip(counts.confidences, middles, strict=False)]
    return sum(n * score for n, score in of_bins), sum(n for n, _ in of_bins)


def _drift(before: Counts, now: Counts, policy: WatchSection, levels: _Levels, inputs: list[str]) -> Iterator[Shift]:
    names = sorted({*before.predictions})
    rows = [_row(counts.predictions, names) for counts in (before, now)]
    yield _moved("predictions", rows[0], rows[1], policy, levels)
    for name in inputs:
        yield _moved(f"input {name}", before.inputs[name], now.inputs[name], policy, levels)
    slow = levels.rise((before.slow, before.timed), (now.slow, now.timed))
    yield Shift("drift", "slow requests", policy.max_slow_increase, slow, now.timed, before.timed)


def _row(counts: Mapping[str, int], names: list[str]) -> list[int]:
    """By the reference window's classes, which were fixed before what is judged; all others together."""
    return [*(counts.get(name, 0) for name in names), sum(n for name, n in counts.items() if name not in names)]


def _moved(what: str, before: list[int], now: list[int], policy: WatchSection, levels: _Levels) -> Shift:
    interval = sequential.total_variation(now, before, 2 * levels.always)
    return Shift("drift", what, policy.max_shift, interval, sum(now), sum(before))
