"""A stable version is watched: quiet while nothing changes; labels roll back, estimates hold, drift only tells."""

import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry.project import MODEL, commit_all
from weighbridge.core.errors import InputError, StateError
from weighbridge.registry.lifecycle.alarms import Watcher
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.audit import audit
from weighbridge.registry.watch.scraped_traffic import Scraped
from weighbridge.registry.watch.seen_requests import Source
from weighbridge.registry.watch.watching import Look, read_reference, source_of, watch

pytest.importorskip("river")


def log(path: Path, root: Path, later: dict[str, float], reference: int = 600) -> tuple[Source, Settings]:
    """A log of the stable version: a reference window, then traffic that `later` describes."""
    since = datetime.fromisoformat(
        yaml.safe_load((root / f"registry/models/{MODEL}/channels.yaml").read_text())["stable"]["since"]
    )
    generator, lines = random.Random(3), []
    for number in range(reference + 3000):
        good = {"right": 0.9, "sure": 0.9, "shift": 0.0, "labels": True}
        said = good if number < reference else {**good, **later}
        right = generator.random() < said["right"]
        line = {
            "time": (since + timedelta(seconds=number + 1)).isoformat(),
            "version": "v2",
            "id": str(number),
            "error": False,
            "latency": 0.01,
            "prediction": "1",
            "confidence": min(1.0, max(0.0, said["sure"] + generator.uniform(-0.08, 0.08))),
            "summary": {"x": [generator.gauss(said["shift"], 1.0), 1.0]},
        }
        lines.append({**line, "label": "1" if right else "0"} if said["labels"] else line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Source(MODEL, [path]), Settings(clock=lambda: since + timedelta(hours=2))


def look(root: Path, path: Path, later: dict[str, Any], on_alarm: str = "roll back") -> Look:
    """One look under a policy."""
    (root / "registry.policy.yaml").write_text(yaml.safe_dump({"watch": {"on_alarm": on_alarm, "reference": 600}}))
    commit_all(root, "policy")
    source, settings = log(path, root, later)
    return watch(root, source, settings=settings)


def test_nothing_new_raises_no_alarm_and_the_history_verifies(promoted: Path, tmp_path: Path) -> None:
    """The reference window is recorded once, beside the record."""
    found = look(promoted, tmp_path / "a.jsonl", {})
    assert (found.alarms, found.rolled_back_to, len(found.events)) == ((), None, 1)
    assert (promoted / f"registry/models/{MODEL}/evidence/v2/reference-window.json").is_file()
    audit(promoted)


def test_wrong_answers_roll_back(promoted: Path, tmp_path: Path) -> None:
    """Labels are realised evidence."""
    found = look(promoted, tmp_path / "a.jsonl", {"right": 0.5})
    assert found.rolled_back_to == "v1"
    assert resolve(promoted, f"{MODEL}@stable").version == "v1"
    audit(promoted)


def test_an_estimate_holds_and_drift_only_tells(promoted: Path, tmp_path: Path) -> None:
    """Whatever the policy allows."""
    found = look(promoted, tmp_path / "a.jsonl", {"labels": False, "sure": 0.55, "shift": 4.0})
    actions = {alarm.what: alarm.action for alarm in found.alarms}
    assert (actions["estimated accuracy"], actions["input x"]) == ("hold", "tell")
    assert found.rolled_back_to is None
    channels = yaml.safe_load((promoted / f"registry/models/{MODEL}/channels.yaml").read_text())
    assert channels["held"]["version"] == "v2"


def test_what_stable_answered_for_a_failing_canary_says_nothing_of_stable(promoted: Path, tmp_path: Path) -> None:
    """A canary that fails on one kind of request sends just these to stable: more of them than the traffic has."""
    path = tmp_path / "a.jsonl"
    (promoted / "registry.policy.yaml").write_text(yaml.safe_dump({"watch": {"reference": 600}}))
    commit_all(promoted, "policy")
    source, settings = log(path, promoted, {})
    wrong = {"version": "v2", "error": False, "prediction": "2", "label": "1", "stands_in_for": "v3"}
    last = settings.clock().isoformat()
    with path.open("a") as lines:
        lines.writelines(json.dumps({**wrong, "time": last, "id": f"s{number}"}) + "\n" for number in range(3000))
    found = watch(promoted, source, settings=settings)
    assert (found.alarms, max(epoch.counts.requests for epoch in found.epochs) <= 3000) == ((), True)


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(days=400)], ids=["back", "ahead"])
def test_lines_of_a_clock_that_jumped_raise_no_alarm_and_roll_nothing_back(
    promoted: Path, tmp_path: Path, jump: timedelta
) -> None:
    """Requests dated before the promotion, or in the future, are none of the time that is looked at."""
    path = tmp_path / "a.jsonl"
    (promoted / "registry.policy.yaml").write_text(
        yaml.safe_dump({"watch": {"on_alarm": "roll back", "reference": 600}})
    )
    commit_all(promoted, "policy")
    source, settings = log(path, promoted, {})
    assert watch(promoted, source, settings=settings).alarms == ()
    wrong = {"version": "v2", "error": True, "prediction": "2", "label": "1"}
    when = (settings.clock() + jump).isoformat()
    with path.open("a") as lines:
        lines.writelines(json.dumps({**wrong, "time": when, "id": f"s{number}"}) + "\n" for number in range(3000))
    found = watch(promoted, source, settings=settings)
    assert (found.alarms, found.rolled_back_to) == ((), None)


def test_a_hold_stands_until_somebody_clears_it(promoted: Path, tmp_path: Path) -> None:
    """With a reason, which stays in the history."""
    look(promoted, tmp_path / "a.jsonl", {"labels": False, "sure": 0.55})
    watcher = Watcher(promoted, MODEL, Settings())
    with pytest.raises(InputError, match="needs a reason"):
        watcher.clear(reason=" ")
    watcher.clear(reason="the camera was cleaned")
    channels = yaml.safe_load((promoted / f"registry/models/{MODEL}/channels.yaml").read_text())
    assert "held" not in channels
    with pytest.raises(StateError, match=r"no alarm holds|not none"):
        watcher.clear(reason="again")
    audit(promoted)


def test_an_alarm_is_one_event_however_often_one_looks(promoted: Path, tmp_path: Path) -> None:
    """The second look writes nothing."""
    look(promoted, tmp_path / "a.jsonl", {"right": 0.5}, on_alarm="tell")
    source, settings = log(tmp_path / "a.jsonl", promoted, {"right": 0.5})
    again = watch(promoted, source, settings=settings)
    assert again.alarms
    assert again.events == ()


def test_a_line_that_is_no_request_is_named(promoted: Path, tmp_path: Path) -> None:
    """Never skipped."""
    (tmp_path / "a.jsonl").write_text('{"version": "v2", "time": "never"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:1"):
        watch(promoted, Source(MODEL, [tmp_path / "a.jsonl"]))


@pytest.mark.parametrize(
    ("metrics", "logs", "journals"),
    [(None, [], []), ("prometheus=http://x", ["a.jsonl"], []), ("http://x", [], []), ("a.jsonl", [], ["j"])],
)
def test_what_to_look_at_is_said_once(metrics: str | None, logs: list[str], journals: list[str]) -> None:
    """A log or a server."""
    with pytest.raises(InputError, match=r"expected a log or --metrics|is neither FILE"):
        source_of(MODEL, metrics, logs, journals)


def test_metrics_are_a_log_or_a_server() -> None:
    """As `registry canary judge` takes them."""
    assert source_of("m", "prometheus=http://x/{model}") == Scraped("m", "http://x/m")
    assert source_of("m", "logs/{model}.jsonl") == Source("m", [Path("logs/m.jsonl")])


def test_the_reference_window_of_a_log_grows_until_it_has_its_labels(promoted: Path, tmp_path: Path) -> None:
    """Every tenth request has one; and a log that never has them says how many it has."""
    source, settings = log(tmp_path / "a.jsonl", promoted, {})
    lines = [json.loads(line) for line in source.logs[0].read_text().splitlines()]
    for number, line in enumerate(lines):
        if number % 10:
            del line["label"]
    source.logs[0].write_text("".join(json.dumps(line) + "\n" for line in lines))
    for least, said in ((361, "the reference window has 360 of 361 labels"), (100, None)):
        (promoted / "registry.policy.yaml").write_text(
            yaml.safe_dump({"watch": {"reference": 600, "min_labels": least}})
        )
        commit_all(promoted, "policy")
        found = watch(promoted, source, settings=settings)
        assert found.unjudged == said
    counts = read_reference(promoted, MODEL, "v2").counts
    assert (counts.requests, counts.labelled) == (991, 100)


def test_the_last_seven_epochs_are_counted_together_and_the_last_two_by_themselves(
    promoted: Path, tmp_path: Path
) -> None:
    """With epochs of five minutes, of a log of fifty."""
    source, settings = log(tmp_path / "a.jsonl", promoted, {})
    (promoted / "registry.policy.yaml").write_text(yaml.safe_dump({"watch": {"reference": 600, "epoch": "5min"}}))
    commit_all(promoted, "policy")
    found = watch(promoted, source, settings=settings)
    assert [epoch.counts.requests for epoch in found.epochs] == [2999, 1801, 300, 1]
    assert [epoch.name.split()[0] for epoch in found.epochs[:2]] == ["since", "since"]
