"""A canary judged from a real Prometheus server, and from answers that are no counts."""

import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.registry.canary.test_canary_judge import plan_canary
from weighbridge.core.errors import InputError, StateError
from weighbridge.registry.canary.canary_judge import Action, decide
from weighbridge.registry.canary.prometheus import read_prometheus
from weighbridge.registry.canary.telemetry import Window
from weighbridge.registry.trust.online_budgets import OnlineBudget

BUDGETS = [
    OnlineBudget(metric="error_rate", max=0.05),
    OnlineBudget(metric="latency", threshold="50ms", max=0.05),
    OnlineBudget(metric="accuracy", max_drop=0.05),
    OnlineBudget(metric="drift", max=0.3, classes=2),
    OnlineBudget(metric="disagreement", max=0.1),
]


class Exporter:
    """A service that counts, as Prometheus scrapes it."""

    def __init__(self) -> None:
        self.counts = {}
        exporter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                lines = [f"{series} {value}" for series, value in exporter.counts.items()]
                self.wfile.write(("\n".join(lines) + "\n").encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, version: str, requests: int, errors: int, slow: int, wrong: float = 0.1) -> None:
        """Count requests with these shares of errors, slow ones and wrong answers."""
        of = f'model="m",version="{version}"'
        for series, value in {
            f"weighbridge_requests_total{{{of}}}": requests,
            f"weighbridge_errors_total{{{of}}}": errors,
            f'weighbridge_latency_seconds_bucket{{{of},le="0.05"}}': requests - slow,
            f'weighbridge_latency_seconds_bucket{{{of},le="+Inf"}}': requests,
            f"weighbridge_labelled_total{{{of}}}": requests,
            f"weighbridge_correct_total{{{of}}}": round(requests * (1 - wrong)),
            f'weighbridge_predictions_total{{{of},prediction="0"}}': requests // 2,
            f'weighbridge_predictions_total{{{of},prediction="1"}}': requests - requests // 2,
            f"weighbridge_compared_total{{{of}}}": requests,
            f"weighbridge_disagreed_total{{{of}}}": requests // 50,
        }.items():
            self.counts[series] = self.counts.get(series, 0) + value


def free_port() -> int:
    """A port on loopback that nobody uses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """A counting service on loopback."""
    found = Exporter()
    yield found
    found.server.shutdown()


@pytest.fixture
def prometheus(exporter: Exporter, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus on loopback that scrapes the service five times a second."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.fail("prometheus is not installed: run tests/install-system-packages")
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [
            {"job_name": "x", "static_configs": [{"targets": [f"127.0.0.1:{exporter.server.server_port}"]}]}
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: urllib.request.urlopen(f"{url}/-/ready", timeout=1).status == 200)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def until(holds: Callable[[], object], seconds: int = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("it never happened")


def window(since: datetime, until_: datetime | None = None) -> Window:
    """The window of a step."""
    return Window("m", "v3", "v2", since, until_ or datetime.now(UTC), (0.05,))


def seen(url: str, since: datetime, requests: int) -> Any:
    """What Prometheus shows, once it shows that many requests of the canary."""
    found = []

    def complete() -> bool:
        found[:] = [read_prometheus(url, window(since))]
        return found[0].canary.requests >= requests and found[0].stable.requests >= requests

    until(complete)
    return found[0]


def test_counts_since_the_step_began(exporter: Exporter, prometheus: str) -> None:
    """What was counted before the step does not count; what was counted since does, exactly; then it decides."""
    exporter.add("v2", 50_000, 5_000, 0)
    exporter.add("v3", 700, 700, 700)
    until(lambda: read_prometheus(prometheus, window(datetime.now(UTC) - timedelta(hours=1))).canary.requests == 700)
    time.sleep(1)
    since = datetime.now(UTC)
    time.sleep(0.5)
    exporter.add("v2", 5_000, 10, 50)
    exporter.add("v3", 5_000, 10, 50)
    observed = seen(prometheus, since, 5_000)
    canary = observed.canary
    assert (canary.requests, canary.errors, canary.slow[0.05], canary.right) == (5_000, 10, 50, 4_500)
    assert sorted(canary.predictions.values()) == [2_500, 2_500]
    assert observed.problems == ()
    later = datetime(2026, 11, 1, 14, tzinfo=UTC)
    assert decide(plan_canary(), BUDGETS, observed, later).action is Action.ADVANCE
    exporter.add("v3", 1_000, 900, 0)
    assert decide(plan_canary(), BUDGETS, seen_more(prometheus, since), later).action is Action.ABORT


def seen_more(url: str, since: datetime) -> Any:
    """What Prometheus shows once the canary's newest requests are scraped."""
    found = []

    def complete() -> Any:
        found[:] = [read_prometheus(url, window(since))]
        return found[0].canary.requests >= 6_000

    until(complete)
    return found[0]


def test_a_version_that_nobody_counts_holds(exporter: Exporter, prometheus: str) -> None:
    """No series is no data; it neither advances nor aborts."""
    exporter.add("v2", 5_000, 10, 50)
    since = datetime.now(UTC) - timedelta(minutes=5)
    until(lambda: read_prometheus(prometheus, window(since)).stable.requests == 5_000)
    observed = read_prometheus(prometheus, window(since))
    found = decide(plan_canary(), BUDGETS, observed, datetime(2026, 11, 1, 14, tzinfo=UTC))
    assert (observed.canary.requests, found.action) == (0, Action.HOLD)


def test_a_nan_counter_holds(exporter: Exporter, prometheus: str) -> None:
    """A NaN from the server holds the canary and is named; it never advances it."""
    exporter.add("v2", 5_000, 10, 50)
    exporter.add("v3", 5_000, 10, 50)
    exporter.counts['weighbridge_errors_total{model="m",version="v3"}'] = "NaN"
    since = datetime.now(UTC) - timedelta(minutes=5)
    observed = seen(prometheus, since, 5_000)
    found = decide(plan_canary(), BUDGETS, observed, datetime(2026, 11, 1, 14, tzinfo=UTC))
    assert found.action is Action.HOLD
    assert "weighbridge_errors_total of v3 is NaN" in found.reason


def series(*values: tuple[int, int], **labels: str) -> dict[str, Any]:
    """An answer with one series of (seconds after the start, value)."""
    start = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
    rows = [[start + at, str(value)] for at, value in values]
    return {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": labels, "values": rows}]}}


EMPTY = {"status": "success", "data": {"resultType": "matrix", "result": []}}


@pytest.mark.parametrize(
    ("values", "increase"),
    [
        ([(-10, 100), (10, 130), (20, 150)], 50),
        ([(10, 30), (20, 50)], 50),
        ([(-10, 100), (10, 130), (20, 5), (30, 9)], 39),
        ([(-10, 100)], 0),
    ],
)
def test_counters_are_differenced_from_the_start_of_the_step(values: list[tuple[int, int]], increase: int) -> None:
    """From the value before the step; a series born later began at zero; a counter that falls was reset."""
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def fetch(_: object, parameters: dict[str, str]) -> dict[Any, Any]:
        return (
            series(*values)
            if "requests_total" in parameters["query"] and 'version="v3"' in parameters["query"]
            else EMPTY
        )

    found = read_prometheus("http://x", window(start, start + timedelta(hours=1)), fetch)
    assert found.canary.requests == increase


def test_a_histogram_without_the_right_bucket_holds() -> None:
    """A latency budget needs a bucket at its threshold; the nearest one is not it."""
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def fetch(_: object, parameters: dict[str, str]) -> dict[Any, Any]:
        return series((10, 5), le="0.1") if "bucket" in parameters["query"] else EMPTY

    found = read_prometheus("http://x", window(start, start + timedelta(hours=1)), fetch)
    assert "has no bucket le=0.05" in found.problems[0]


def test_more_hits_than_trials_hold() -> None:
    """Counters that contradict each other are a problem, not a number."""
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def fetch(_: object, parameters: dict[str, str]) -> dict[Any, Any]:
        return series((10, 7)) if "errors_total" in parameters["query"] else EMPTY

    found = read_prometheus("http://x", window(start, start + timedelta(hours=1)), fetch)
    assert "v3 has more errors (7) than trials (0)" in found.problems
    assert decide(plan_canary(), BUDGETS, found, start + timedelta(hours=2)).action is Action.HOLD


def test_a_counter_that_was_not_scraped_for_a_while_does_not_begin_at_zero() -> None:
    """Its last value is asked for where the usual look-back before the step has none."""
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def fetch(_: object, parameters: dict[str, str]) -> dict[str, Any]:
        if "requests_total" not in parameters["query"]:
            return EMPTY
        at, length = float(parameters["time"]), int(parameters["query"].rpartition("[")[2].rstrip("s]"))
        values = [(-1200, 50_000), (900, 50_100), (1800, 50_200)]
        return series(*(row for row in values if at - length <= start.timestamp() + row[0] <= at))

    found = read_prometheus("http://x", window(start, start + timedelta(hours=1)), fetch)
    assert (found.canary.requests, found.stable.requests) == (200, 200)


@pytest.mark.parametrize(
    "answer", [{"status": "error", "error": "bad query"}, {}, [], {"status": "success", "data": 1}]
)
def test_an_answer_that_is_none_is_an_error(answer: dict[str, Any]) -> None:
    """What is no Prometheus is not taken for an empty one."""
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)
    with pytest.raises(StateError, match=r"answered|the answer is not from a Prometheus server"):
        read_prometheus("http://x", window(start), lambda *_: answer)


def test_a_server_that_is_not_there_is_an_error() -> None:
    """No answer is no hold that looks like a decision: it is an error."""
    with pytest.raises(StateError, match="no answer: "):
        read_prometheus(f"http://127.0.0.1:{free_port()}", window(datetime.now(UTC)))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "prom:9090", "http://user:secret@prom:9090"])
def test_addresses_are_checked(url: str) -> None:
    """Only http and https, and no credentials that would end up in the history."""
    with pytest.raises(InputError, match=r"is not an http|contains credentials"):
        read_prometheus(url, window(datetime.now(UTC)))


def test_a_clock_that_was_set_back_holds_and_asks_for_nothing() -> None:
    """A step that begins in the future has no data yet."""
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)
    found = read_prometheus("http://x", window(start, start - timedelta(days=1)), lambda *_: pytest.fail("asked"))
    decision = decide(plan_canary(), BUDGETS, found, start - timedelta(days=1))
    assert (decision.action, found.problems) == (Action.HOLD, ())
