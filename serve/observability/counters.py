"""Counters as `registry canary judge` reads them (docs/howto/canary.md), and what operators look at beside them."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from weighbridge.serve.observability.journal import Totals

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; the latency limits of online budgets are added."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MANY = 1000
"""Different predictions of one version that are counted by name; the rest is one series."""

_HELP = {
    "requests": "Requests answered or failed",
    "errors": "Requests that failed",
    "stood_in": "Requests that the canary failed on and this version was asked instead; none of its own",
    "stood_in_errors": "Of these, where this version failed too",
    "compared": "Shadowed requests",
    "disagreed": "Shadowed requests that stable answered otherwise",
    "labelled": "Answers with feedback",
    "correct": "Answers with feedback that were right",
    "paired": "Answers of canary and stable to one request, with feedback",
    "paired_only_stable": "Of these, where only stable was right",
    "paired_only_canary": "Of these, where only the canary was right",
}
_FEEDBACK = ("labelled", "correct", "paired", "paired_only_stable", "paired_only_canary")
_LIVE = ("requests", "errors", "compared", "disagreed", "stood_in", "stood_in_errors")


@dataclass(eq=False)
class Arm:
    """What is counted of one version. Plain integers: all of it happens in one thread."""

    bounds: tuple[float, ...]
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_LIVE, 0))
    predictions: dict[str, int] = field(default_factory=dict)
    slices: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    """Sums of what `buckets` counts: end to end, and the model's own."""
    buckets: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rebound(self.bounds)

    def rebound(self, bounds: tuple[float, ...]) -> None:
        """Count latencies by these bounds from now on, from zero: all buckets reset together, as after a restart."""
        self.bounds, self.seconds = bounds, [0.0, 0.0]
        self.buckets = [[0] * (len(bounds) + 1) for _ in self.seconds]

    def timed(self, whole: float, model: float) -> None:
        """One request took so many seconds, of which the model so many."""
        sums, buckets, bounds = self.seconds, self.buckets, self.bounds
        sums[0] += whole
        sums[1] += model
        buckets[0][bisect.bisect_left(bounds, whole)] += 1
        buckets[1][bisect.bisect_left(bounds, model)] += 1

    def predicted(self, classes: Iterable[str]) -> None:
        """These classes were answered."""
        for name in classes:
            known = name in self.predictions or len(self.predictions) < MANY
            key = name if known else "other"
            self.predictions[key] = self.predictions.get(key, 0) + 1


@dataclass(eq=False)
class Telemetry:
    """All that is counted for one model; `text` renders it."""

    model: str
    totals: Callable[[], Totals]
    """Counts of feedback, which the journal keeps."""
    gauges: Callable[[], Iterable[tuple[str, str, dict[str, str], float]]]
    """(name, help, labels, value) of what is so now."""
    arms: dict[str, Arm] = field(default_factory=dict)
    refused: dict[tuple[str, str], int] = field(default_factory=dict)
    """(what, why) → how often: requests that were shed, feedback that was refused, lines that were lost."""
    _bounds: tuple[float, ...] = BUCKETS
    _refusing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def arm(self, version: str) -> Arm:
        """The counts of a version."""
        found = self.arms.get(version)
        if found is None:
            found = self.arms[version] = Arm(self._bounds)
        return found

    def refuse(self, what: str, why: str) -> None:
        """Count what was not done; in any thread."""
        with self._refusing:
            self.refused[what, why] = self.refused.get((what, why), 0) + 1

    def limit(self, thresholds: Sequence[float]) -> None:
        """See to it that every histogram has a bucket at each threshold; buckets are added, never removed."""
        bounds = tuple(sorted({*self._bounds, *thresholds}))
        if bounds != self._bounds:
            self._bounds = bounds
            for arm in self.arms.values():
                arm.rebound(bounds)

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        arms, totals = dict(self.arms), Counts(self.totals())
        for name in _LIVE:
            rows = [((version,), arm.counts[name]) for version, arm in arms.items()]
            yield self._counter(name, ["version"], rows)
        for name in _FEEDBACK:
            yield self._counter(name, ["version"], totals.of(name))
        predictions = [((v, name), n) for v, arm in arms.items() for name, n in list(arm.predictions.items())]
        yield self._counter("predictions", ["version", "prediction"], predictions, "Answers by class")
        slices = [((v, name), n) for v, arm in arms.items() for name, n in list(arm.slices.items())]
        yield self._counter("slice_requests", ["version", "slice"], slices, "Requests by slice")
        for name in ("labelled", "correct"):
            yield self._counter(
                f"slice_{name}", ["version", "slice"], totals.by_slice(name), f"{_HELP[name]}, by slice"
            )
        yield self._latency(arms, 0, "latency", "From a request read to its answer ready")
        yield self._latency(arms, 1, "model_latency", "Of that, from a request handed to the model to its outputs")
        yield self._counter("refused", ["what", "why"], list(self.refused.items()), "What was not done, and why")
        yield from self._gauges()

    def _counter(
        self, name: str, labels: list[str], rows: Iterable[tuple[tuple[str, ...], int]], text: str = ""
    ) -> Metric:
        metric = CounterMetricFamily(f"weighbridge_{name}", text or _HELP[name], labels=["model", *labels])
        for values, count in rows:
            metric.add_metric([self.model, *values], count)
        return metric

    def _latency(self, arms: dict[str, Arm], place: int, name: str, text: str) -> Metric:
        metric = HistogramMetricFamily(f"weighbridge_{name}_seconds", text, labels=["model", "version"])
        for version, arm in arms.items():
            total, rows = 0, []
            for bound, count in zip((*map(_bound, arm.bounds), "+Inf"), arm.buckets[place], strict=True):
                total += count
                rows.append((bound, total))
            metric.add_metric([self.model, version], rows, arm.seconds[place])
        return metric

    def _gauges(self) -> Iterator[Metric]:
        made: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self.gauges():
            metric = made.setdefault(name, GaugeMetricFamily(name, text, labels=["model", *labels]))
            metric.add_metric([self.model, *labels.values()], value)
        yield from made.values()


def _bound(seconds: float) -> str:
    return repr(float(seconds))


@dataclass(frozen=True)
class Counts:
    """Counts of feedback, by version and by slice."""

    totals: Totals

    def of(self, name: str) -> list[tuple[tuple[str, ...], int]]:
        """One row a version."""
        return [((v,), n) for (counter, v, part), n in list(self.totals.items()) if counter == name and not part]

    def by_slice(self, name: str) -> list[tuple[tuple[str, ...], int]]:
        """One row a version and slice."""
        return [((v, part), n) for (counter, v, part), n in list(self.totals.items()) if counter == name and part]
