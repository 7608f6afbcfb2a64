"""The reference window: what a version's traffic and answers looked like when it was promoted; and counts by its bins.

The newest requests before the promotion, where the version had a canary; else its first ones.
"""

from __future__ import annotations

import bisect
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from weighbridge.core.documents.base import Recorded
from weighbridge.registry.state.records import ModelName, Timestamp, Version
from weighbridge.registry.watch.seen_requests import Seen

NAME = "reference-window.json"
"""Under `evidence/<version>/`."""
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Edges of the bins in which confidence is calibrated."""
_TENTHS = 10
MANY = 1000
"""Predictions that are told apart; the rest is counted together."""


class Counts(Recorded):
    """What was seen of a version in some time."""

    requests: int = 0
    judged: int = 0
    """Requests that say whether they failed."""
    errors: int = 0
    labelled: int = 0
    right: int = 0
    timed: int = 0
    slow: int = 0
    """Slower than the reference window's 95th percentile."""
    slices: dict[str, tuple[int, int]] = {}
    """Labelled and right, by slice."""
    predictions: dict[str, int] = {}
    confidences: list[tuple[int, int, int]] = []
    """Requests, labelled and right, by bin of confidence."""
    inputs: dict[str, list[int]] = {}
    """By input: requests by the reference window's tenths of its means."""


class ReferenceWindow(Recorded):
    """Traffic and answers of a version when it was promoted. Written once, beside its record."""

    schema_version: int = 1
    model: ModelName
    version: Version
    since: Timestamp
    until: Timestamp
    counts: Counts
    slow_seconds: float | None = Field(default=None, ge=0)
    """The 95th percentile of latency."""
    latency: dict[str, float] = {}
    """Seconds: p50, p95, p99."""
    edges: dict[str, list[float]] = {}
    """By input: the nine edges between tenths of its means."""
    inputs: dict[str, tuple[float, float]] = {}
    """By input: mean and standard deviation of its means."""

    def score(self, confidence: float) -> float:
        """The chance that an answer of this confidence is right: as the window's labels say, or the confidence."""
        _, labelled, right = self.counts.confidences[bisect.bisect_right(CONFIDENCES, confidence)]
        return (right + 1) / (labelled + 2) if labelled >= 20 else confidence  # Laplace's rule; few labels say little


@dataclass
class Counting:
    """Counts requests, by a reference window's bins where it has them."""

    slow_seconds: float | None = None
    edges: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._counts = Counts(confidences=[(0, 0, 0)] * (len(CONFIDENCES) + 1))
        self._plain: Counter[str] = Counter()
        self._predictions: Counter[str] = Counter()
        self._slices: dict[str, list[int]] = {}
        self._bins = [[0, 0, 0] for _ in range(len(CONFIDENCES) + 1)]
        self._inputs = {name: [0] * _TENTHS for name in self.edges}

    def add(self, seen: Seen) -> None:
        """One more request."""
        plain, right = self._plain, seen.right
        plain["requests"] += 1
        plain["judged"] += seen.error is not None
        plain["errors"] += bool(seen.error)
        if seen.latency is not None and self.slow_seconds is not None:
            plain["timed"] += 1
            plain["slow"] += seen.latency > self.slow_seconds
        if seen.prediction is not None:
            known = seen.prediction in self._predictions or len(self._predictions) < MANY
            self._predictions[seen.prediction if known else "other"] += 1
        if right is not None:
            plain["labelled"] += 1
            plain["right"] += right
            for name in seen.slices:
                counted = self._slices.setdefault(name, [0, 0])
                counted[0] += 1
                counted[1] += right
        if seen.confidence is not None:
            place = self._bins[bisect.bisect_right(CONFIDENCES, seen.confidence)]
            for index, one in enumerate((True, right is not None, bool(right))):
                place[index] += one
        for name, edges in self.edges.items():
            if name in seen.summary:
                self._inputs[name][bisect.bisect_right(edges, seen.summary[name][0])] += 1

    def counts(self) -> Counts:
        """What was counted."""
        return Counts(
            **self._plain,
            slices={name: (n, right) for name, (n, right) in sorted(self._slices.items())},
            predictions=dict(sorted(self._predictions.items())),
            confidences=[(n, labelled, right) for n, labelled, right in self._bins],
            inputs=self._inputs,
        )


def reference_of(model: str, version: str, requests: Sequence[Seen]) -> ReferenceWindow:
    """The reference window that these requests make."""
    latencies = sorted(seen.latency for seen in requests if seen.latency is not None)
    names = sorted({name for seen in requests for name in seen.summary})
    means = {name: [seen.summary[name][0] for seen in requests if name in seen.summary] for name in names}
    means = {name: values for name, values in means.items() if len(values) >= _TENTHS}
    edges = {name: statistics.quantiles(values, n=_TENTHS) for name, values in means.items()}
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) >= 2 else []
    latency: dict[str, Any] = {f"p{share}": cuts[share - 1] for share in (50, 95, 99)} if cuts else {}
    counting = Counting(latency.get("p95"), edges)
    for seen in requests:
        counting.add(seen)
    times = sorted(seen.time for seen in requests)
    return ReferenceWindow(
        model=model,
        version=version,
        since=times[0].strftime("%Y-%m-%dT%H:%M:%SZ"),
        until=times[-1].strftime("%Y-%m-%dT%H:%M:%SZ"),
        counts=counting.counts(),
        slow_seconds=latency.get("p95"),
        latency=latency,
        edges=edges,
        inputs={name: (statistics.fmean(values), statistics.pstdev(values)) for name, values in means.items()},
    )
