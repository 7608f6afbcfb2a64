"""What counts say against a reference window, by kind of evidence.

`realised`: labels and failures; `estimated`: accuracy from confidence alone (CBPE: the window's labels calibrate
confidence, its mean over the traffic now estimates accuracy now); `drift`: predictions, input summaries, latency.
Every interval is a confidence sequence, so that looking often raises no alarm.
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


def level(policy: WatchSection, comparisons: int) -> float:
    """The alpha of one comparison in one epoch, so that a month's false alarms add up to `ALARMS_A_MONTH`."""
    epochs = _MONTH / policy.epoch + 1
    return ALARMS_A_MONTH / epochs / max(1, comparisons)


def shifts(reference: ReferenceWindow, now: Counts, policy: WatchSection) -> tuple[Shift, ...]:
    """All comparisons for which both sides have data."""
    before = reference.counts
    slices = [name for name in before.slices if name in now.slices]
    inputs = [name for name in before.inputs if name in now.inputs]
    alpha = level(policy, 5 + len(inputs))
    found = [
        *_realised(before, now, policy, alpha),
        *_slices(before, now, policy, alpha / max(1, len(slices)), slices),
        *_estimated(reference, now, policy, alpha),
        *_drift(before, now, policy, alpha, inputs),
    ]
    return tuple(shift for shift in found if shift.samples and shift.reference_samples)


def _realised(before: Counts, now: Counts, policy: WatchSection, alpha: float) -> Iterator[Shift]:
    drop = sequential.difference((before.right, before.labelled), (now.right, now.labelled), alpha)
    yield Shift("realised", "accuracy", policy.max_drop, drop, now.labelled, before.labelled)
    more = sequential.difference((now.errors, now.judged), (before.errors, before.judged), alpha)
    yield Shift("realised", "failures", policy.max_error_increase, more, now.judged, before.judged)


def _slices(before: Counts, now: Counts, policy: WatchSection, alpha: float, names: list[str]) -> Iterator[Shift]:
    for name in names:
        (n1, right1), (n2, right2) = before.slices[name], now.slices[name]
        drop = sequential.difference((right1, n1), (right2, n2), alpha)
        yield Shift("realised", f"accuracy of slice {name}", policy.slice_max_drop, drop, n2, n1)


def _estimated(reference: ReferenceWindow, now: Counts, policy: WatchSection, alpha: float) -> Iterator[Shift]:
    sums = [_expected(reference, counts) for counts in (reference.counts, now)]
    if len(now.confidences) == len(CONFIDENCES) + 1:
        drop = sequential.difference(sums[0], sums[1], alpha)
        yield Shift("estimated", "estimated accuracy", policy.max_drop, drop, sums[1][1], sums[0][1])


def _expected(reference: ReferenceWindow, counts: Counts) -> tuple[float, int]:
    """Right answers that the confidence promises, and of how many."""
    middles = [(low + high) / 2 for low, high in zip((0.0, *CONFIDENCES), (*CONFIDENCES, 1.0), strict=True)]
    of_bins = [(n, reference.score(middle)) for (n, _, _), middle in zip(counts.confidences, middles, strict=False)]
    return sum(n * score for n, score in of_bins), sum(n for n, _ in of_bins)


def _drift(before: Counts, now: Counts, policy: WatchSection, alpha: float, inputs: list[str]) -> Iterator[Shift]:
    names = sorted({*before.predictions})
    rows = [_row(counts.predictions, names) for counts in (before, now)]
    yield _moved("predictions", rows[0], rows[1], policy, alpha)
    for name in inputs:
        yield _moved(f"input {name}", before.inputs[name], now.inputs[name], policy, alpha)
    slow = sequential.difference((now.slow, now.timed), (before.slow, before.timed), alpha)
    yield Shift("drift", "slow requests", policy.max_slow_increase, slow, now.timed, before.timed)


def _row(counts: Mapping[str, int], names: list[str]) -> list[int]:
    """By the reference window's classes, which were fixed before what is judged; all others together."""
    return [*(counts.get(name, 0) for name in names), sum(n for name, n in counts.items() if name not in names)]


def _moved(what: str, before: list[int], now: list[int], policy: WatchSection, alpha: float) -> Shift:
    interval = sequential.total_variation(now, before, alpha)
    return Shift("drift", what, policy.max_shift, interval, sum(now), sum(before))
