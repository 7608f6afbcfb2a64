"""A stable version watched by what a Prometheus server counted; data that is not whole raises no alarm."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry.canary.test_prometheus import Exporter, exporter, free_port, prometheus, until  # noqa: F401  # fixtures
from tests.registry.project import MODEL, commit_all
from tests.registry.watch.test_watching import log
from weighbridge.core.errors import ExitCode, StateError
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.audit import audit
from weighbridge.registry.watch.scraped_traffic import Scraped
from weighbridge.registry.watch.watching import Look, read_reference, watch

STEP = 300
QUERY = re.compile(r'(\w+)\{model="(.+)",version="(\w+)"\}\[(\d+)s:(\d+)s\]')
GOOD = {"errors": 0.001, "right": 0.9, "dark": 0.9, "slow": 0.03, "ones": 0.5}
BAD = {**GOOD, "right": 0.6, "dark": 0.6}
RATE = 600


class Counted:
    """Counters of v2 at every step, as a server answers subqueries about them."""

    def __init__(self, root: Path, *phases: tuple[int, dict[str, float]], begins: int = 0) -> None:
        channels = yaml.safe_load((root / f"registry/models/{MODEL}/channels.yaml").read_text())
        self.since = datetime.fromisoformat(channels["stable"]["since"])
        self.start = self.since.timestamp() // STEP * STEP + STEP
        self.values, self.more, step = {}, {}, begins
        for steps, shares in phases:
            for _ in range(steps):
                step += 1
                for series, grown in self.grown(**shares).items():
                    before = self.values.setdefault(series, [(self.start, 0)])[-1][1]
                    self.values[series].append((self.start + step * STEP, before + grown))
        self.now = datetime.fromtimestamp(self.start + step * STEP, UTC)

    def grown(self, errors: float, right: float, dark: float, slow: float, ones: float) -> dict[str, Any]:
        """What is counted in one step."""
        fast = round(RATE * (1 - slow))
        return {
            ("requests_total",): RATE,
            ("errors_total",): round(RATE * errors),
            ("labelled_total",): RATE,
            ("correct_total",): round(RATE * right),
            ("compared_total",): 0,
            ("disagreed_total",): 0,
            ("predictions_total", "prediction", "1"): round(RATE * ones),
            ("predictions_total", "prediction", "0"): RATE - round(RATE * ones),
            ("latency_seconds_bucket", "le", "0.01"): fast,
            ("latency_seconds_bucket", "le", "+Inf"): RATE,
            ("slice_labelled_total", "slice", "dark"): RATE // 6,
            ("slice_correct_total", "slice", "dark"): round(RATE // 6 * dark),
        }

    def fetch(self, _: object, parameters: dict[str, str]) -> dict[str, Any]:
        name, model, version, seconds, step = QUERY.fullmatch(parameters["query"]).groups()
        ends = float(parameters["time"])
        assert (model, int(step)) == (MODEL, STEP)
        found = []
        for (counter, *labels), values in self.values.items() if version == "v2" else ():
            kept = [[at, str(value)] for at, value in values if ends - int(seconds) <= at <= ends]
            if f"weighbridge_{counter}" == name and kept:
                named = {"__name__": name, "job": "a", **dict(zip(labels[::2], labels[1::2], strict=True))}
                found.append({"metric": named, "values": kept})
        return {"status": "success", "data": {"resultType": "matrix", "result": found}, **self.more}

    def twice(self) -> None:
        """Every series under a second job."""
        self.values |= {(*key, "job", "b"): value for key, value in self.values.items()}

    def without(self, *keys: tuple[str, ...]) -> None:
        """No such series."""
        for key in keys:
            del self.values[key]


def look(root: Path, counted: Counted, on_alarm: str = "roll back", **options: datetime) -> Look:
    """One look under a policy."""
    path, text = root / "registry.policy.yaml", yaml.safe_dump({"watch": {"on_alarm": on_alarm, "reference": 5000}})
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        commit_all(root, "policy")
    source = Scraped(MODEL, "http://127.0.0.1:9", counted.fetch)
    return watch(root, source, settings=Settings(clock=lambda: options.get("now", counted.now)))


def test_the_reference_window_is_recorded_once_and_nothing_new_is_quiet(promoted: Path) -> None:
    """It ends where enough was counted; p95 is a bound of the histogram."""
    counted = Counted(promoted, (60, GOOD))
    found = look(promoted, counted)
    assert (found.alarms, len(found.events), found.exit_code) == ((), 1, ExitCode.PASS)
    reference = read_reference(promoted, MODEL, "v2")
    assert (reference.counts.requests, reference.slow_seconds) == (5400, 0.01)
    assert reference.counts.predictions == {"0": 2700, "1": 2700}
    assert datetime.fromisoformat(reference.until).timestamp() == counted.start + 9 * STEP
    assert found.epochs[0].counts.requests == 51 * RATE
    assert found.epochs[0].counts.slices == {"dark": (5100, 4590)}
    assert look(promoted, counted).events == ()
    audit(promoted)


@pytest.mark.parametrize(
    ("worse", "what", "action"),
    [
        ({"right": 0.6}, "accuracy", "roll back"),
        ({"dark": 0.5}, "accuracy of slice dark", "roll back"),
        ({"errors": 0.1}, "failures", "roll back"),
        ({"slow": 0.5}, "slow requests", "tell"),
        ({"ones": 0.99}, "predictions", "tell"),
    ],
)
def test_what_got_worse_is_an_alarm_that_does_no_more_than_it_may(
    promoted: Path, worse: dict[str, float], what: str, action: str
) -> None:
    """Labels and failures roll back, drift only tells."""
    found = look(promoted, Counted(promoted, (20, GOOD), (60, {**GOOD, **worse})))
    assert {alarm.what: alarm.action for alarm in found.alarms} == {what: action}
    assert found.rolled_back_to == ("v1" if action == "roll back" else None)


def _nan(counted: Counted) -> None:
    counted.values["errors_total",][-1] = (counted.now.timestamp(), "NaN")


GAPS = {
    "correct_total of v2 has no series": lambda counted: counted.without(("correct_total",)),
    "errors_total of v2 has no series": lambda counted: counted.without(("errors_total",)),
    "no series of slice dark": lambda counted: counted.without(("slice_correct_total", "slice", "dark")),
    "more correct answers": lambda counted: counted.without(("labelled_total",)),
    "slice dark of v2 has more correct": lambda counted: counted.values.update(
        {("slice_labelled_total", "slice", "dark"): [(counted.start, 0), (counted.now.timestamp(), 5)]}
    ),
    "scraped twice": Counted.twice,
    "is partial": lambda counted: counted.more.update(warnings=["a store is unavailable"]),
    "errors_total of v2 is NaN": _nan,
}


@pytest.mark.parametrize("said", GAPS)
def test_data_that_is_not_whole_raises_no_alarm_and_rolls_nothing_back(promoted: Path, said: str) -> None:
    """With a bad version behind it, as a second look at whole data would find."""
    look(promoted, Counted(promoted, (20, GOOD)))
    before = (promoted / f"registry/models/{MODEL}/channels.yaml").read_text()
    counted = Counted(promoted, (20, GOOD), (60, BAD))
    GAPS[said](counted)
    found = look(promoted, counted)
    assert (found.alarms, found.events, found.exit_code) == ((), (), ExitCode.UNJUDGED)
    assert said in found.unjudged
    assert (promoted / f"registry/models/{MODEL}/channels.yaml").read_text() == before


def test_no_reference_window_is_recorded_from_data_that_is_not_whole(promoted: Path) -> None:
    """It would be compared with for as long as the version is stable."""
    counted = Counted(promoted, (60, GOOD))
    counted.twice()
    assert look(promoted, counted).events == ()
    assert read_reference(promoted, MODEL, "v2") is None


def test_what_was_counted_before_a_gap_in_scraping_does_not_count_after_it(promoted: Path) -> None:
    """Twenty minutes without a scrape before an epoch begins: a counter that is seen again did not begin at zero."""
    counted = Counted(promoted, (9, GOOD), (20, BAD), (300, GOOD))
    look(promoted, Counted(promoted, (9, GOOD)))
    ends = datetime.fromisoformat(read_reference(promoted, MODEL, "v2").until).timestamp()
    epoch = ends + 86_400
    for series, values in counted.values.items():
        counted.values[series] = [(at, n) for at, n in values if not epoch - 1200 <= at <= epoch + STEP]
    found = look(promoted, counted, on_alarm="tell")
    name = datetime.fromtimestamp(epoch, UTC).isoformat()
    counts = next(item.counts for item in found.epochs if item.name == name)
    kept = sum(at > epoch - 1200 for at, _ in counted.values["requests_total",])
    assert counts.requests == (kept + 6) * RATE  # what was counted during the gap, and not the day before it
    assert counts.right == counts.requests * 0.9


def test_a_series_that_is_gone_is_told_and_judges_nothing(promoted: Path) -> None:
    """Nothing is scraped any more since the reference window."""
    look(promoted, Counted(promoted, (9, GOOD)))
    found = look(promoted, Counted(promoted, (9, GOOD)), now=Counted(promoted, (9, GOOD)).now + timedelta(hours=3))
    assert (found.unjudged, found.exit_code) == ("no requests since the reference window", ExitCode.UNJUDGED)


def test_a_clock_that_jumps_judges_nothing_that_it_should_not(promoted: Path) -> None:
    """Back: before the reference window, then before the promotion. Forward: epochs without a request."""
    counted = Counted(promoted, (20, GOOD), (60, BAD))
    assert "in the future" in look(promoted, counted, now=counted.since - timedelta(days=1)).unjudged
    look(promoted, Counted(promoted, (20, GOOD)))
    for now in (counted.since - timedelta(days=1), counted.now + timedelta(days=40)):
        found = look(promoted, counted, now=now)
        assert (found.alarms, found.events, found.exit_code) == ((), (), ExitCode.UNJUDGED)
    assert resolve(promoted, f"{MODEL}@stable").version == "v2"


def test_a_server_that_is_away_is_an_error(promoted: Path) -> None:
    """Never a quiet look."""
    with pytest.raises(StateError, match="no answer"):
        watch(promoted, Scraped(MODEL, f"http://127.0.0.1:{free_port()}"))


def test_a_log_is_compared_with_a_reference_window_of_counters(promoted: Path, tmp_path: Path) -> None:
    """By what both have."""
    pytest.importorskip("river")
    look(promoted, Counted(promoted, (9, GOOD)))
    source, settings = log(tmp_path / "a.jsonl", promoted, {"right": 0.5})
    found = watch(promoted, source, settings=Settings(clock=lambda: settings.clock() + timedelta(hours=2)))
    assert found.problems == ()
    assert {alarm.what for alarm in found.alarms} <= {"accuracy", "predictions", "wrong answers: ADWIN"}


def test_a_real_server_is_read(promoted: Path, exporter: Exporter, prometheus: str) -> None:  # noqa: F811  # the fixtures above
    """A reference window, then wrong answers: rolled back."""
    exporter.add("v2", 6_000, 6, 60)
    exporter.counts = {series.replace('"m"', f'"{MODEL}"'): n for series, n in exporter.counts.items()}
    (promoted / "registry.policy.yaml").write_text(yaml.safe_dump({"watch": {"on_alarm": "roll back"}}))
    commit_all(promoted, "policy")
    source = Scraped(MODEL, prometheus, step=1)
    until(lambda: watch(promoted, source).events)
    reference = read_reference(promoted, MODEL, "v2").counts
    assert (reference.requests, reference.right, reference.predictions) == (6000, 5400, {"0": 3000, "1": 3000})
    time.sleep(2)
    for counter, more in (("requests", 4000), ("labelled", 4000), ("correct", 1000)):
        exporter.counts[f'weighbridge_{counter}_total{{model="{MODEL}",version="v2"}}'] += more
    until(lambda: watch(promoted, source).rolled_back_to == "v1")
