"""Advance, hold or abort: on data with known faults, with too little data, and never on none."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry.project import MODEL, commit_all
from weighbridge.core.errors import InputError, StateError
from weighbridge.registry.canary.canary_judge import Action, Decision, decide, judge
from weighbridge.registry.canary.telemetry import Arm, Observed, Window, read_log
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.layout import WorkTree, event_path, parse_mapping
from weighbridge.registry.state.records import Canary, CanaryPlan
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.online_budgets import OnlineBudget

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATER = START + timedelta(hours=1)
BUDGETS = [
    {"metric": "error_rate", "max_increase": 0.02},
    {"metric": "latency", "threshold": "50ms", "max": 0.05},
    {"metric": "accuracy", "max_drop": 0.05},
    {"metric": "drift", "max": 0.2, "classes": 10},
    {"metric": "disagreement", "max": 0.1},
]
HEALTHY = {"errors": 0.005, "slow": 0.01, "right": 0.9, "shift": 0.0, "different": 0.03}


def request(
    generator: random.Random,
    version: str,
    moment: datetime,
    errors: float,
    slow: float,
    right: float,
    shift: float,
    different: float,
) -> dict[str, Any]:
    """One line of a log; `shift` of the answers are 0 whatever the truth."""
    label = generator.randrange(10)
    prediction = label if generator.random() < right else (label + 1) % 10
    prediction = 0 if generator.random() < shift else prediction
    return {
        "time": moment.isoformat(),
        "version": version,
        "error": generator.random() < errors,
        "latency": 0.08 if generator.random() < slow else 0.01,
        "prediction": prediction,
        "label": label,
        "stable_prediction": prediction if generator.random() >= different else (prediction + 1) % 10,
    }


def write_log(
    path: Path,
    n: int,
    canary: dict[str, float] | None = None,
    stable: dict[str, float] | None = None,
    versions: Sequence[str] = ("v3", "v2"),
    seed: int = 3,
) -> Path:
    """N requests of each version, spread over ten minutes after the start."""
    generator = random.Random(seed)
    with path.open("w") as file:
        for number in range(n):
            moment = START + timedelta(seconds=600 * number / n)
            for version, faults in zip(versions, (canary, stable), strict=True):
                line = request(generator, version, moment, **{**HEALTHY, **(faults or {})})
                file.write(json.dumps(line) + "\n")
    return path


@pytest.fixture
def canary(promoted: Path) -> Path:
    """v3 on canary against v2, by a policy with five budgets."""
    policy = {"canary": {"steps": [10, 100], "min_samples": 1000, "min_time": "5min", "budgets": BUDGETS}}
    (promoted / "registry.policy.yaml").write_text(yaml.safe_dump(policy))
    commit_all(promoted)
    promote(promoted, PromotionRequest("fp16", channel="none"), settings=at(START - timedelta(days=1)))
    Operator(promoted, MODEL, at(START)).start_canary("v3")
    return promoted


def at(moment: datetime) -> Settings:
    """Settings whose clock stands."""
    return Settings(clock=lambda: moment)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A path for a log."""
    return tmp_path / "online.jsonl"


def plan_canary(**more: int) -> Canary:
    """A canary as the channels hold it."""
    fields = {"steps": [10, 100], "min_samples": 1000, "min_seconds": 300, **more}
    zero = "sha256:" + 64 * "0"
    return Canary(
        version="v3",
        digest=zero,
        record=zero,
        event=1,
        since="2026-11-01T12:00:00Z",
        weight=10,
        step=0,
        step_since="2026-11-01T12:00:00Z",
        plan=CanaryPlan(**fields),
    )


def budgets() -> list[OnlineBudget]:
    """The five budgets, parsed."""
    return [OnlineBudget.model_validate(budget) for budget in BUDGETS]


def window() -> Window:
    """What the log is read for."""
    return Window(MODEL, "v3", "v2", START, LATER, (0.05,))


def decision(path: Path, **more: Any) -> Decision:
    """The decision on a log."""
    return decide(plan_canary(**more), budgets(), read_log(path, window()), LATER)


def test_a_healthy_canary_advances(log: Path) -> None:
    """Enough requests that keep every budget."""
    found = decision(write_log(log, 6000))
    assert (found.action, {finding.state for finding in found.findings}) == (Action.ADVANCE, {"within"})


@pytest.mark.parametrize(
    ("fault", "metric"),
    [
        ({"errors": 0.08}, "error_rate"),
        ({"slow": 0.12}, "latency"),
        ({"right": 0.7}, "accuracy"),
        ({"shift": 0.5}, "drift"),
        ({"different": 0.25}, "disagreement"),
    ],
)
def test_each_fault_aborts_by_its_own_budget(log: Path, fault: dict[str, float], metric: str) -> None:
    """A canary with one known fault is aborted, and the reason names it."""
    found = decision(write_log(log, 4000, canary=fault))
    assert found.action is Action.ABORT
    assert metric in found.reason


def test_a_fault_that_stable_has_too_is_not_the_canarys(log: Path) -> None:
    """Relative budgets compare with stable over the same time: an outage of both aborts nobody."""
    found = decision(write_log(log, 4000, canary={"errors": 0.3}, stable={"errors": 0.3}))
    assert found.findings[0].state != "beyond"


@pytest.mark.parametrize("n", [0, 1, 50, 999])
def test_too_little_data_holds(log: Path, n: int) -> None:
    """However well it looks, fewer requests than the plan asks never advance."""
    assert decision(write_log(log, n)).action is Action.HOLD


def test_too_little_time_holds(log: Path) -> None:
    """Six thousand requests in a minute are not ten minutes."""
    path = write_log(log, 6000)
    found = decide(plan_canary(min_seconds=7200), budgets(), read_log(path, window()), LATER)
    assert (found.action, found.reason) == (Action.HOLD, "3600 of 7200 s on this step")


@pytest.mark.parametrize("key", ["error", "latency", "label", "prediction", "stable_prediction"])
def test_a_missing_metric_holds(log: Path, key: str) -> None:
    """A budget without data is not a budget kept."""
    lines = [json.loads(line) for line in write_log(log, 6000).read_text().splitlines()]
    log.write_text("".join(json.dumps({k: v for k, v in line.items() if k != key}) + "\n" for line in lines))
    found = decision(log)
    assert found.action is Action.HOLD
    assert "no data" in found.reason


def test_missing_traffic_of_stable_holds(log: Path) -> None:
    """Nothing to compare with is not nothing worse."""
    found = decision(write_log(log, 6000, versions=("v3", "v1")))
    assert found.action is Action.HOLD
    assert "no data: error_rate, accuracy, drift" in found.reason


def test_no_budgets_hold(log: Path) -> None:
    """Without a budget nothing is shown; only a person can advance."""
    found = decide(plan_canary(), [], read_log(write_log(log, 6000), window()), LATER)
    assert (found.action, found.reason) == (Action.HOLD, "the canary has no online budgets: advance it by hand")


def test_an_alarm_of_stable_holds_a_healthy_canary_and_saves_no_bad_one(log: Path) -> None:
    """That it is no worse than what is wrong is no reason to go on."""
    seen = read_log(write_log(log, 6000), window())
    assert decide(plan_canary(), budgets(), seen, LATER).action is Action.ADVANCE
    found = decide(plan_canary(), budgets(), seen, LATER, "stable is held by its watch: labels")
    assert (found.action, found.reason) == (Action.HOLD, "stable is held by its watch: labels")
    bad = read_log(write_log(log.with_name("bad.jsonl"), 6000, canary={"errors": 0.3}), window())
    assert decide(plan_canary(), budgets(), bad, LATER, "held").action is Action.ABORT


def test_unusable_data_holds() -> None:
    """What a source reports as no number neither advances nor aborts."""
    arm = Arm(requests=10_000, judged=10_000, errors=9_000)
    found = decide(plan_canary(), budgets(), Observed(arm, Arm(), "x", ("errors is NaN",)), LATER)
    assert found.action is Action.HOLD
    assert "errors is NaN" in found.reason


def test_more_classes_than_declared_hold(log: Path) -> None:
    """The drift interval depends on the number of classes, fixed before any data."""
    path = write_log(log, 6000)
    few = [OnlineBudget(metric="drift", max=0.2, classes=3)]
    found = decide(plan_canary(), few, read_log(path, window()), LATER)
    assert "10 different predictions, the drift budget says 3 classes" in found.reason


def test_a_canary_at_its_limit_is_rarely_aborted_however_often_one_looks() -> None:
    """An error rate exactly at its limit, looked at every 50 requests up to 5,000: at most 1 % of canaries aborted."""
    generator = random.Random(17)
    budget = [OnlineBudget(metric="error_rate", max=0.05)]
    aborted = 0
    for _ in range(120):
        arm, ever = Arm(), False
        for _ in range(100):
            arm.requests += 50
            arm.judged += 50
            arm.errors += sum(generator.random() < 0.05 for _ in range(50))
            ever |= decide(plan_canary(), budget, Observed(arm, Arm(), "x"), LATER).action is Action.ABORT
        aborted += ever
    assert aborted <= 4  # 1.2 expected at most, plus three sigma


def test_a_bad_canary_is_aborted_soon() -> None:
    """Three times the allowed error rate is found within a few hundred requests."""
    generator = random.Random(17)
    arm = Arm()
    budget = [OnlineBudget(metric="error_rate", max=0.05)]
    while arm.requests < 2000:
        arm.requests, arm.judged = arm.requests + 50, arm.judged + 50
        arm.errors += sum(generator.random() < 0.15 for _ in range(50))
        if decide(plan_canary(), budget, Observed(arm, Arm(), "x"), LATER).action is Action.ABORT:
            break
    assert arm.requests <= 600


def test_every_decision_is_an_event_with_its_evidence(canary: Path, log: Path) -> None:
    """Hold, advance and abort stand in the history with counts, bounds and the digest of what was read."""
    from weighbridge.registry.state.layout import channels_path, require_channels

    assert require_channels(WorkTree(canary), MODEL)["canary"]["step_since"] >= "2026-11-01"
    began = datetime.fromisoformat(require_channels(WorkTree(canary), MODEL)["canary"]["step_since"])
    shift(log, write_log(log, 300), began)
    held = judge(canary, MODEL, str(log), settings=at(began + timedelta(hours=1)))
    shift(log, write_log(log, 6000), began)
    advanced = judge(canary, MODEL, str(log), settings=at(began + timedelta(hours=2)))
    shift(log, write_log(log, 4000, canary={"errors": 0.2}), began + timedelta(hours=2))
    aborted = judge(canary, MODEL, str(log), settings=at(began + timedelta(hours=3)))
    kinds = [found.committed.event.kind for found in (held, advanced, aborted)]
    assert kinds == ["canary-held", "canary-advanced", "canary-aborted"]
    assert [found.exit_code for found in (held, advanced, aborted)] == [3, 0, 1]
    where = event_path(MODEL, aborted.committed.event.number)
    evidence = parse_mapping((canary / where).read_bytes(), where)["evidence"]
    assert evidence["budgets"][0]["state"] == "beyond"
    assert evidence["source"].startswith("online.jsonl sha256:")
    assert resolve(canary, MODEL).version == "v2"
    assert resolve(canary, f"{MODEL}@v3").quarantined
    assert (canary / channels_path(MODEL)).exists()


def shift(path: Path, source: Path, began: datetime) -> None:
    """Move a log's times so that it starts at `began`."""
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    for line in lines:
        line["time"] = (datetime.fromisoformat(line["time"]) - START + began).isoformat()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_dry_run_changes_nothing(canary: Path, log: Path) -> None:
    """Looking without deciding leaves no event."""
    assert judge(canary, MODEL, str(write_log(log, 10)), settings=at(LATER), dry_run=True).committed is None
    assert resolve(canary, f"{MODEL}@canary").weight == 10


def test_no_canary_is_an_error(promoted: Path, log: Path) -> None:
    """There is nothing to judge."""
    with pytest.raises(StateError, match="no version of tiny-cnn is on canary"):
        judge(promoted, MODEL, str(write_log(log, 10)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ('{"version": "v3"}', "'time' is missing"),
        ('{"time": "noon", "version": "v3"}', "not an ISO 8601 time"),
        ('{"time": "2026-11-01T12:30:00Z"}', "'version' is missing"),
        ('{"time": "2026-11-01T12:30:00Z", "version": "v3", "error": 1}', "'error' is not true or false"),
        ('{"time": "2026-11-01T12:30:00Z", "version": "v3", "latency": -1}', "not a number of seconds"),
        ('{"time": "2026-11-01T12:30:00Z", "version": "v3", "latency": NaN}', "not a JSON number"),
        ('{"time": "2026-11-01T12:30:00Z", "version": "v3", "latency": true}', "not a number of seconds"),
    ],
)
def test_a_line_that_is_no_request_is_named(log: Path, line: str, message: str) -> None:
    """A broken log is an error with its line, not fewer requests."""
    log.write_text(json.dumps({"time": LATER.isoformat(), "version": "v3"}) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message) as caught:
        read_log(log, window())
    assert f"{log}:2" in str(caught.value)


def test_a_log_counts_what_belongs_to_the_step_once(log: Path) -> None:
    """Other versions, other times, and lines shipped twice do not count."""
    line = {"time": LATER.isoformat(), "version": "v3", "id": "a", "error": False}
    others = [{**line, "version": "v1"}, {**line, "time": "2026-10-31T00:00:00Z"}, {**line, "version": "v2"}]
    log.write_text("".join(json.dumps(item) + "\n" for item in [line, line, *others]) + "\n")
    seen = read_log(log, window())
    assert (seen.canary.requests, seen.stable.requests) == (1, 1)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"metric": "error_rate"}, "exactly one of max, max_increase; found none"),
        ({"metric": "error_rate", "min": 0.1}, "exactly one of"),
        ({"metric": "latency", "max": 0.1}, "latency needs one"),
        ({"metric": "drift", "max": 0.1}, "drift needs it"),
        ({"metric": "accuracy", "max_drop": 2}, "less than or equal to 1"),
    ],
)
def test_online_budgets_are_checked(budget: dict[str, Any], message: str) -> None:
    """A budget that cannot be judged is refused where it is written."""
    with pytest.raises(ValueError, match=message):
        OnlineBudget.model_validate(budget)


def test_the_source_of_metrics_is_named_plainly(canary: Path) -> None:
    """Neither a log nor a server: refused before anything is read."""
    with pytest.raises(InputError, match=r"neither FILE.jsonl nor prometheus=URL"):
        judge(canary, MODEL, "metrics.csv")


def _paired(n: int, lost: int, won: int, **budget: str | float) -> Decision:
    """What a judge decides where canary and stable answered the same `n` labelled requests."""
    plan = CanaryPlan(steps=[5, 100], min_samples=10, min_seconds=0, budgets=[budget])
    moment, digest = START.strftime("%Y-%m-%dT%H:%M:%SZ"), "sha256:" + 64 * "a"
    placed = {"version": "v3", "digest": digest, "record": digest, "since": moment, "event": 3}
    canary = Canary(**placed, weight=5, step=0, step_since=moment, plan=plan)
    arm = Arm(requests=n, judged=n, paired=n, only_stable=lost, only_canary=won, labelled=n, right=n // 2 + won - lost)
    stable = Arm(requests=n, judged=n, labelled=n, right=n // 2)
    return decide(canary, [OnlineBudget(**budget)], Observed(arm, stable, "test"), LATER)


def test_pairs_decide_what_two_averages_leave_open() -> None:
    for lost, action in ((90, Action.ABORT), (2, Action.ADVANCE)):
        assert _paired(1000, lost, 0, metric="paired_accuracy", max_drop=0.02).action is action
        assert _paired(1000, lost, 0, metric="accuracy", max_drop=0.02).action is Action.HOLD


def test_pairs_that_were_never_seen_hold() -> None:
    decision = _paired(0, 0, 0, metric="paired_accuracy", max_drop=0.02)
    assert decision.action is Action.HOLD
    assert "no data: paired_accuracy" in decision.reason


def test_a_log_counts_pairs(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    lines = [("1", "2", "1"), ("2", "1", "1"), ("1", "1", "1"), ("1", "2", None)]
    path.write_text(
        "".join(
            json.dumps(
                {"time": START.isoformat(), "version": "v3", "prediction": p, "stable_prediction": s, "label": y}
            )
            + "\n"
            for p, s, y in lines
        )
    )
    arm = read_log(path, Window("m", "v3", "v2", START, LATER)).canary
    assert (arm.paired, arm.only_stable, arm.only_canary, arm.compared) == (3, 1, 1, 4)


def _sliced(canary: dict[str, tuple[int, int]], stable: dict[str, tuple[int, int]]) -> Decision:
    """What a judge decides on labels by slice: name → (n, right)."""
    plan = plan_canary()
    arms = [Arm(requests=5000, judged=5000, slices=slices) for slices in (canary, stable)]
    return decide(
        plan, [OnlineBudget(metric="slice_accuracy", max_drop=0.15)], Observed(arms[0], arms[1], "test"), LATER
    )


def test_the_worst_slice_decides() -> None:
    """All others are as good as stable's."""
    stable = {"dark": (900, 810), "bright": (9000, 8100)}
    assert _sliced(stable, stable).action is Action.ADVANCE
    found = _sliced({"dark": (400, 200), "bright": (9000, 8100)}, stable)
    assert (found.action, found.reason) == (Action.ABORT, "beyond the limit: slice_accuracy (dark)")


def test_a_slice_that_the_canary_was_not_seen_on_holds() -> None:
    """Whatever the others say; and no slice at all is no data."""
    stable = {"dark": (900, 810), "bright": (9000, 8100)}
    found = _sliced({"bright": (9000, 8100)}, stable)
    assert (found.action, found.reason) == (Action.HOLD, "not shown yet: slice_accuracy (dark)")
    assert "no data: slice_accuracy" in _sliced({}, {}).reason


def test_a_log_counts_labels_by_slice(tmp_path: Path) -> None:
    """A slice that is named twice in a line counts once."""
    path = tmp_path / "requests.jsonl"
    line = {"time": START.isoformat(), "version": "v3", "prediction": "1", "slices": ["dark", "dark", "far"]}
    path.write_text("".join(json.dumps(line | more) + "\n" for more in ({"label": "1"}, {"label": "2"}, {})))
    window = Window("m", "v3", "v2", START, LATER)
    assert read_log(path, window).canary.slices == {"dark": (2, 1), "far": (2, 1)}
    path.write_text(json.dumps(line | {"slices": "dark"}) + "\n")
    with pytest.raises(InputError, match="'slices' is not a list"):
        read_log(path, window)
