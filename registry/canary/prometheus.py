"""What was seen online, from a Prometheus server: raw counters, differenced here.

Counters, each with labels `model` and `version` (further labels are summed over):
`weighbridge_requests_total`, `weighbridge_errors_total`, `weighbridge_latency_seconds_bucket{le}`,
`weighbridge_labelled_total`, `weighbridge_correct_total`, `weighbridge_predictions_total{prediction}`,
`weighbridge_compared_total`, `weighbridge_disagreed_total`, `weighbridge_paired_total`,
`weighbridge_paired_only_stable_total`, `weighbridge_paired_only_canary_total`,
`weighbridge_slice_labelled_total{slice}`, `weighbridge_slice_correct_total{slice}`.

`increase()` extrapolates to fractions of requests; a sequential test needs counts, so raw samples are read.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any

from weighbridge.core.errors import InputError, StateError
from weighbridge.registry.canary.telemetry import Arm, Observed, Window

Fetch = Callable[[str, dict[str, str]], Any]
"""From an API path and its parameters to the answer's JSON."""

_LOOKBACK = 300.0
"""Seconds: how far back Prometheus itself looks for a series' last value."""
_GAP = 2 * 86_400.0
"""Seconds of missing scrapes before a window after which a counter is still known not to begin at zero."""
_LARGEST = 50_000_000
_PARTS = (
    ("error_rate", "weighbridge_requests_total", "weighbridge_errors_total"),
    ("accuracy", "weighbridge_labelled_total", "weighbridge_correct_total"),
    ("disagreement", "weighbridge_compared_total", "weighbridge_disagreed_total"),
)
"""Metric, the counter of trials, the counter of some of them."""
_SCRAPERS = ("job", "replica", "prometheus", "prometheus_replica", "receive", "receive_replica")
"""Labels that say who scraped, not what."""


def read_prometheus(url: str, window: Window, fetch: Fetch | None = None) -> Observed:
    """Counts since the step began. A server that does not answer is a `StateError`; an answer that is no count
    (NaN, infinite, falling back below zero) is named in `problems`, which holds the canary.
    """
    base, ask = asked(url, fetch)
    if window.until <= window.since:  # by a clock that was set back
        return Observed(Arm(), Arm(), f"prometheus {base}")
    problems: list[str] = []
    arms = [CounterReader(ask, window, version, problems).arm() for version in (window.canary, window.stable)]
    return Observed(arms[0], arms[1], f"prometheus {base}", tuple(dict.fromkeys(problems)))


def asked(url: str, fetch: Fetch | None = None) -> tuple[str, Fetch]:
    """A server's address without its last slash, and how to ask it. An address that is none is an `InputError`."""
    base = _base(url)
    return base, fetch or _http(base)


class CounterReader:
    """Reads one version's counters over a window. What is wrong with the data is added to `problems`.

    With a `step` (seconds) one value each step is read, not all: what was counted in the last step before a restart is
    left out then.
    """

    def __init__(
        self, fetch: Fetch, window: Window, version: str, problems: list[str], step: float | None = None
    ) -> None:
        self.fetch, self.window, self.version, self.problems, self.step = fetch, window, version, problems, step
        self._known: dict[str, list[dict[str, Any]]] = {}
        self._before: dict[str, dict[_Target, float]] = {}

    def arm(self) -> Arm:
        """All counts of the version."""
        requests = self.total("weighbridge_requests_total")
        self._require_parts()
        arm = Arm(requests=requests, judged=requests, errors=self.total("weighbridge_errors_total"))
        arm.labelled, arm.right = self.total("weighbridge_labelled_total"), self.total("weighbridge_correct_total")
        arm.compared = self.total("weighbridge_compared_total")
        arm.different = self.total("weighbridge_disagreed_total")
        arm.paired = self.total("weighbridge_paired_total")
        arm.only_stable = self.total("weighbridge_paired_only_stable_total")
        arm.only_canary = self.total("weighbridge_paired_only_canary_total")
        arm.predictions = self.by_label("weighbridge_predictions_total", "prediction")
        arm.slices = self.slices()
        self._latency(arm)
        for part, whole, name in (
            (arm.errors, arm.judged, "errors"),
            (arm.right, arm.labelled, "correct answers"),
            (arm.different, arm.compared, "disagreements"),
            (arm.only_stable + arm.only_canary, arm.paired, "pairs that differ"),
        ):
            if part > whole:
                self.problems.append(f"{self.version} has more {name} ({part}) than trials ({whole})")
                return Arm()  # no interval can be made of it
        return arm

    def _latency(self, arm: Arm) -> None:
        if not self.window.thresholds:
            return
        buckets = self.buckets()
        if not buckets:
            return
        for threshold in self.window.thresholds:
            if threshold not in buckets or math.inf not in buckets:
                self.problems.append(f"the latency histogram of {self.version} has no bucket le={threshold:g}")
                continue
            arm.timed[threshold] = buckets[math.inf]
            arm.slow[threshold] = max(0, buckets[math.inf] - buckets[threshold])

    def _require_parts(self) -> None:
        """A counter of failures that is missing where what it is a part of is counted says nothing: it is not zero."""
        for metric, whole, part in _PARTS:
            if self.window.needs(metric) and self._series(whole) and not self._series(part):
                self.problems.append(f"{part} of {self.version} has no series beside {whole} (expose it from 0 on)")

    def total(self, name: str) -> int:
        """The increase of a counter over all its series."""
        return sum(self._increase(series, name) for series in self._series(name))

    def by_label(self, name: str, label: str) -> Counter[str]:
        """The increase of a counter by one label's values."""
        counts: Counter[str] = Counter()
        for series in self._series(name):
            counts[str(series["metric"].get(label, ""))] += self._increase(series, name)
        return counts

    def buckets(self) -> dict[float, int]:
        """Requests up to each bound (seconds) of the latency histogram."""
        return {_number(le): n for le, n in self.by_label("weighbridge_latency_seconds_bucket", "le").items()}

    def slices(self) -> dict[str, tuple[int, int]]:
        """Labels and right answers by slice; a slice whose counts contradict each other is left out, and named."""
        labelled = self.by_label("weighbridge_slice_labelled_total", "slice")
        right = self.by_label("weighbridge_slice_correct_total", "slice")
        for name, n in labelled.items():
            if name not in right:
                self.problems.append(f"weighbridge_slice_correct_total of {self.version} has no series of slice {name}")
            elif right[name] > n:
                self.problems.append(
                    f"slice {name} of {self.version} has more correct answers ({right[name]}) than labels ({n})"
                )
        return {name: (n, right[name]) for name, n in sorted(labelled.items()) if right[name] <= n}

    def reached(self, name: str, n: int) -> float | None:
        """When a counter had grown by `n` since the window began, in seconds since 1970; None: it has not."""
        steps = sorted(step for series in self._series(name) for step in self._steps(series, name))
        sums = itertools.accumulate(grown for _, grown in steps)
        return next((at for (at, _), total in zip(steps, sums, strict=True) if total >= n), None)

    def _series(self, name: str) -> list[dict[str, Any]]:
        """All series of one counter, asked for once."""
        if name not in self._known:
            since = self.window.since.timestamp()
            until = self.window.until.timestamp()
            found = self._known[name] = self._ask(name, until, until - since + _LOOKBACK)
            late = any(float(series["values"][0][0]) > since for series in found)
            # Was it born within the window, or was it not scraped for a while?
            earlier = self._ask(name, since, _GAP) if late else []
            self._before[name] = {_target(series["metric"]): _last(series, since) for series in earlier}
        return self._known[name]

    def _ask(self, name: str, at: float, seconds: float) -> list[dict[str, Any]]:
        labels = f'model="{self.window.model}",version="{self.version}"'
        length = f"{math.ceil(seconds + (self.step or 0))}s" + (f":{math.ceil(self.step)}s" if self.step else "")
        query = {"query": f"{name}{{{labels}}}[{length}]", "time": f"{at:.3f}"}
        answer = self.fetch("/api/v1/query", query)
        try:
            if answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
                raise StateError(f"Prometheus answered {answer.get('error', 'something unexpected')!r}")
            found = [series for series in answer["data"]["result"] if series["values"]]
            warnings = answer.get("warnings") or []
            copies = Counter(_target(series["metric"]) for series in found)
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError("the answer is not from a Prometheus server") from error
        if warnings:
            self.problems.append(f"the answer for {name} is partial: {warnings[0]}")
        if copies and max(copies.values()) > 1:
            self.problems.append(f"{name} of {self.version} is scraped twice: series differ in job or replica alone")
        return found

    def _increase(self, series: dict[str, Any], name: str) -> int:
        """How much one series grew since the window began."""
        return round(sum(grown for _, grown in self._steps(series, name)))

    def _steps(self, series: dict[str, Any], name: str) -> list[tuple[float, float]]:
        """When and by how much one series grew since the window began; a counter that falls was reset to zero.

        A series that was born within the window began at zero: its first value counts.
        """
        since, before = self.window.since.timestamp(), self._before[name].get(_target(series["metric"]), 0.0)
        steps = []
        for at, text in series["values"]:
            value = _number(text)
            if not math.isfinite(value) or value < 0:
                self.problems.append(f"{name} of {self.version} is {text}")
                return []
            if float(at) > since:
                steps.append((float(at), value - before if value >= before else value))
            before = value
        return steps


_Target = tuple[tuple[str, str], ...]


def _last(series: dict[str, Any], since: float) -> float:
    """The last value of a series before a window began; 0 where there is none that is a count."""
    values = [_number(text) for at, text in series["values"] if float(at) <= since]
    return values[-1] if values and values[-1] >= 0 else 0.0


def _target(labels: dict[str, str]) -> _Target:
    """What a series counts, whoever scraped it."""
    return tuple(sorted((name, value) for name, value in labels.items() if name not in _SCRAPERS))


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _base(url: str) -> str:
    """The server's address without credentials, which must not end up in the history."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{url!r} is not an http or https address", where="--metrics prometheus=")
    if parts.username or parts.password:
        raise InputError("contains credentials, which would be recorded in the history", where="--metrics prometheus=")
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def _http(base: str) -> Fetch:
    def fetch(path: str, parameters: dict[str, str]) -> Any:
        address = f"{base}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310  # the scheme was checked
                data = answer.read(_LARGEST + 1)
        except (urllib.error.URLError, TimeoutError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise StateError(f"no answer: {reason}", where=base, fix="nothing was decided") from error
        if len(data) > _LARGEST:
            raise StateError(f"answered more than {_LARGEST} bytes", where=base)
        try:
            return json.loads(data)
        except ValueError as error:
            raise StateError("the answer is not from a Prometheus server", where=base) from error

    return fetch
