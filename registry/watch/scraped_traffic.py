"""What a Prometheus server counted of the stable version: its reference window, and counts by epoch.

Classes, failures, latency by buckets, labels in all and by slice. Confidence and inputs are not counted by the server:
what is estimated from them, and the detectors of change, need the log.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from weighbridge.registry.canary.prometheus import CounterReader, Fetch, asked
from weighbridge.registry.canary.telemetry import Window
from weighbridge.registry.state.records import Placed
from weighbridge.registry.trust.watch_policy import WatchSection
from weighbridge.registry.watch.logged_traffic import LONGEST, WHOLE
from weighbridge.registry.watch.reference_traffic import CONFIDENCES, Counts, ReferenceWindow
from weighbridge.registry.watch.stream_detectors import Change

_REQUESTS, _LABELLED = "weighbridge_requests_total", "weighbridge_labelled_total"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Scraped:
    """Which server to ask about which model."""

    model: str
    address: str
    fetch: Fetch | None = None
    """How it is asked; None: over HTTP."""
    step: float = 300.0
    """Seconds between the values that are read."""


@dataclass
class ScrapedTraffic:
    """The counters of one stable version."""

    source: Scraped
    stable: Placed
    policy: WatchSection
    now: datetime
    problems: list[str] = field(default_factory=list)
    """What is wrong with the data that was read so far; with any, nothing that was read may be used."""

    def __post_init__(self) -> None:
        _, self._fetch = asked(self.source.address, self.source.fetch)

    def reference_window(self) -> ReferenceWindow | str:
        """The epoch before the promotion, where the version had a canary with enough requests then; else the time from
        the promotion until there were enough. Why there is none, where there were not.
        """
        promoted = datetime.fromisoformat(self.stable.since)
        canary = self._reader(promoted - timedelta(seconds=self.policy.epoch), promoted)
        needs = {_REQUESTS: self.policy.reference, _LABELLED: self.policy.min_labels}
        if all(canary.total(name) >= n for name, n in needs.items()):
            return self._reference(canary)
        if self.now <= promoted:
            return "the clock says that the version was promoted in the future"
        first = self._reader(promoted, self.now)
        reached = {name: first.reached(name, n) for name, n in needs.items() if n}
        for name, at in reached.items():
            if at is None:
                what = "requests" if name == _REQUESTS else "labels"
                return f"the reference window has {first.total(name)} of {needs[name]} {what}"
        ends = datetime.fromtimestamp(math.ceil(max(at for at in reached.values() if at is not None)), UTC)
        return self._reference(self._reader(promoted, ends))

    def epochs(self, reference: ReferenceWindow) -> Iterator[tuple[str, Counts]]:
        """All since the reference, `LONGEST` epochs at most (a server keeps its samples for days), and the last two by
        themselves.
        """
        begins, length = datetime.fromisoformat(reference.until), timedelta(seconds=self.policy.epoch)
        if self.now <= begins:
            return
        newest = (self.now - begins) // length
        first = max(0, newest - LONGEST + 1)
        starts = {place: begins + place * length for place in (first, newest - 1, newest) if place >= first}
        for place, start in starts.items():
            ends = min(self.now, start + length) if place > first else self.now
            name = start.isoformat() if place > first else f"since {start.isoformat()}" if place else WHOLE
            yield name, self._counts(self._reader(start, ends), reference.slow_seconds)

    def changes(self, reference: ReferenceWindow) -> list[Change]:  # noqa: ARG002  # as of `LoggedTraffic`
        """None: detectors are fed request by request."""
        return []

    def _reader(self, since: datetime, until: datetime) -> CounterReader:
        version = self.stable.version
        window = Window(self.source.model, version, version, since, until)
        return CounterReader(self._fetch, window, version, self.problems, self.source.step)

    def _reference(self, reader: CounterReader) -> ReferenceWindow:
        buckets = reader.buckets()
        latency = {f"p{share}": _quantile(buckets, share / 100) for share in (50, 95, 99)}
        known = {name: bound for name, bound in latency.items() if bound is not None}
        return ReferenceWindow(
            model=self.source.model,
            version=self.stable.version,
            since=reader.window.since.astimezone(UTC).strftime(_TIME),
            until=reader.window.until.astimezone(UTC).strftime(_TIME),
            counts=self._counts(reader, known.get("p95")),
            slow_seconds=known.get("p95"),
            latency=known,
        )

    def _counts(self, reader: CounterReader, slow_seconds: float | None) -> Counts:
        arm, buckets = reader.arm(), reader.buckets()
        timed = buckets.get(math.inf, 0) if slow_seconds in buckets else 0
        return Counts(
            requests=arm.requests,
            judged=arm.judged,
            errors=arm.errors,
            labelled=arm.labelled,
            right=arm.right,
            timed=timed,
            slow=max(0, timed - buckets[slow_seconds]) if slow_seconds is not None and timed else 0,
            slices=arm.slices,
            predictions=dict(sorted(arm.predictions.items())),
            confidences=[(0, 0, 0)] * (len(CONFIDENCES) + 1),
        )


def _quantile(buckets: Mapping[float, int], share: float) -> float | None:
    """The first bound that this share of the requests keeps; None where no finite one does."""
    total = buckets.get(math.inf, 0)
    kept = (bound for bound in sorted(buckets) if total and buckets[bound] >= share * total)
    bound = next(kept, math.inf)
    return bound if math.isfinite(bound) else None
