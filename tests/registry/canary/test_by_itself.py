"""A canary that needs nobody: the documented plan ends in stable, and what cannot be known never advances it."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry.canary.test_canary_judge import BUDGETS, LATER, START, at, request, write_log
from tests.registry.project import MODEL, commit_all, write_run
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.canary.canary_judge import Action, Decision, decide, judge
from weighbridge.registry.canary.prometheus import read_prometheus
from weighbridge.registry.canary.telemetry import Window, read_log
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lifecycle.waiting import take_up
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.online_budgets import OnlineBudget
from weighbridge.registry.trust.registry_policy import RegistryPolicy, read_policy
from weighbridge.registry.views.overview import history

HEALTHY = {"errors": 0.005, "slow": 0.01, "right": 0.9, "shift": 0.0, "different": 0.03}
HOWTO = Path(__file__).parents[3] / "docs/howto/canary.md"
WORKFLOWS = Path(__file__).parents[3] / ".github/workflows"
STEPS = [5, 25, 50, 100]


def documented() -> Any:
    """The policy that the guide shows."""
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", HOWTO.read_text(), re.DOTALL)[1])


def began(root: Path) -> datetime:
    """When the canary's step began."""
    channels = yaml.safe_load((root / f"registry/models/{MODEL}/channels.yaml").read_text())
    return datetime.fromisoformat(channels["canary"]["step_since"])


def shifted(path: Path, root: Path) -> Path:
    """A log whose requests begin with the canary's step."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["time"] = (datetime.fromisoformat(line["time"]) - START + began(root)).isoformat()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def set_policy(root: Path, policy: dict[str, Any]) -> None:
    (root / "registry.policy.yaml").write_text(yaml.safe_dump(policy))
    commit_all(root, "policy")


@pytest.fixture
def canary(promoted: Path) -> Path:
    """v3 on its first step of the documented plan, against v2."""
    set_policy(promoted, {"canary": {**documented()["canary"], "min_samples": 500, "budgets": BUDGETS}})
    promote(promoted, PromotionRequest("fp16", channel="none"), settings=at(START - timedelta(days=1)))
    Operator(promoted, MODEL, at(START)).start_canary("v3")
    return promoted


def test_the_documented_plan_ends_in_stable(canary: Path, tmp_path: Path) -> None:
    """Four steps; on the last there is no request of stable, and shadowing has ended with it."""
    import random

    generator, log, start = random.Random(5), tmp_path / "online.jsonl", began(canary)
    assert documented()["canary"]["steps"] == STEPS
    with log.open("w") as file:
        for step in range(len(STEPS)):
            begins = start + timedelta(hours=step)
            for number in range(6000 if step == 3 else 3000):
                moment = begins + timedelta(seconds=1 + number * 0.5)
                for version in ("v3", "v2") if step < 3 else ("v3",):
                    line = request(generator, version, moment, **HEALTHY)
                    if step == 3:
                        del line["stable_prediction"]
                    file.write(json.dumps(line) + "\n")
    for step, weight in enumerate(STEPS):
        decision = judge(canary, MODEL, str(log), settings=at(start + timedelta(hours=step + 1)))
        assert decision.action is Action.ADVANCE, (weight, decision.text())
    before = [(start + timedelta(hours=hour)).isoformat() for hour in (0, 3)]
    assert f"stable from {before[0]} to {before[1]}" in decision.source
    assert resolve(canary, f"{MODEL}@stable").version == "v3"


def test_a_canary_that_gets_worse_at_all_traffic_is_aborted_there(canary: Path, tmp_path: Path) -> None:
    """What stable did on the steps before is what it is compared with."""
    for _ in STEPS[1:]:
        Operator(canary, MODEL, at(START)).advance_canary(reason="by hand")
    channels = yaml.safe_load((canary / f"registry/models/{MODEL}/channels.yaml").read_text())
    assert channels["canary"]["weight"] == 100
    log = shifted(write_log(tmp_path / "bad.jsonl", 3000, canary={"errors": 0.3}), canary)
    decision = judge(canary, MODEL, str(log), settings=at(began(canary) + timedelta(hours=1)))
    assert decision.action is Action.ABORT


def test_a_hold_is_an_event_only_when_its_cause_changes(canary: Path, tmp_path: Path) -> None:
    """Looking every minute for an hour does not write an hour of events."""
    log, later = shifted(write_log(tmp_path / "few.jsonl", 100), canary), began(canary) + timedelta(hours=1)
    first = judge(canary, MODEL, str(log), settings=at(later))
    assert first.committed is not None
    more = shifted(write_log(tmp_path / "few.jsonl", 200), canary)
    for minute in range(3):
        again = judge(canary, MODEL, str(more), settings=at(later + timedelta(minutes=minute)))
        assert (again.action, again.committed) == (Action.HOLD, None)
        assert "200 of 500" in again.reason
    log.write_text("")
    other = judge(canary, MODEL, str(log), settings=at(later + timedelta(minutes=5)))
    assert other.committed is not None
    assert [row.kind for row in history(canary, MODEL)][:3] == ["canary-held", "canary-held", "canary-started"]


def test_the_policy_is_the_tips_and_never_the_working_trees(canary: Path) -> None:
    """An edit that is not committed starts no other canary."""
    Operator(canary, MODEL, at(LATER)).abort_canary(reason="drill", quarantine=False)
    (canary / "registry.policy.yaml").write_text("canary: {steps: [100]}\n")
    done = Operator(canary, MODEL, at(LATER)).start_canary("v3")
    assert done.channels.canary.plan.steps == STEPS


@pytest.mark.parametrize("what", ["link", "folder"])
def test_a_policy_that_is_no_plain_file_is_invalid_never_absent(canary: Path, what: str) -> None:
    """Otherwise whoever may push could lift every rule by a link."""
    path = canary / "registry.policy.yaml"
    path.unlink()
    if what == "link":
        path.symlink_to("elsewhere.yaml")
    else:
        path.mkdir()
        (path / "x").write_text("")
    commit_all(canary, "no plain file")
    with pytest.raises(IntegrityError, match="link or a folder"):
        Operator(canary, MODEL, at(LATER)).advance_canary(reason="by hand")
    with pytest.raises(IntegrityError):
        read_policy(WorkTree(canary))


@pytest.mark.parametrize("name", ["canary", "watch"])
def test_the_shipped_workflow_passes_the_documented_operators(name: str) -> None:
    """The bot's address has brackets, which are a pattern's too."""
    policy = RegistryPolicy.model_validate(documented())
    address = re.search(r'user.email "(.+)"', (WORKFLOWS / f"{name}.yml").read_text())[1]
    policy.require_operator(f"github-actions[bot] <{address}>")
    with pytest.raises(StateError, match="may not move channels"):
        policy.require_operator("somebody <somebody@elsewhere.example>")


def answering(
    series: dict[tuple[str, str], list[tuple[dict[str, str], list[list[Any]]]]], **more: list[str]
) -> Callable[..., Any]:
    """A Prometheus that has these series: name → labels and values of each."""

    def fetch(_: object, parameters: dict[str, str]) -> dict[str, Any]:
        name, _, rest = parameters["query"].partition("{")
        version = re.search(r'version="(\w+)"', rest)[1]
        found = [
            {"metric": {"__name__": name, "version": version, **labels}, "values": values}
            for labels, values in series.get((name, version), [])
        ]
        return {"status": "success", "data": {"resultType": "matrix", "result": found}, **more}

    return fetch


def counted(n: int, **labels: str) -> tuple[dict[str, str], list[list[Any]]]:
    return labels, [[START.timestamp(), "0"], [LATER.timestamp(), str(n)]]


WHOLE = {
    (f"weighbridge_{name}_total", version): [counted(n, job="a", instance="x")]
    for version in ("v3", "v2")
    for name, n in (
        ("requests", 5000), ("errors", 0), ("labelled", 5000), ("correct", 4500), ("compared", 5000), ("disagreed", 10)
    )
}  # fmt: skip
ONLINE = [
    OnlineBudget(metric="error_rate", max=0.05),
    OnlineBudget(metric="accuracy", max_drop=0.05),
    OnlineBudget(metric="disagreement", max=0.1),
]


def seen(fetch: Callable[..., Any]) -> Decision:
    """The decision on what a server says, from the first of two steps."""
    from tests.registry.canary.test_canary_judge import plan_canary

    window = Window("m", "v3", "v2", START, LATER, (), frozenset(budget.metric for budget in ONLINE))
    return decide(plan_canary(), ONLINE, read_prometheus("http://127.0.0.1:9", window, fetch), LATER)


def test_what_is_whole_advances() -> None:
    """The counterpart of what follows."""
    assert seen(answering(WHOLE)).action is Action.ADVANCE


@pytest.mark.parametrize("version", ["v3", "v2"])
@pytest.mark.parametrize("name", ["errors", "correct", "disagreed"])
def test_a_missing_series_of_either_arm_holds(name: str, version: str) -> None:
    """No series of errors is not no errors."""
    series = {key: value for key, value in WHOLE.items() if key != (f"weighbridge_{name}_total", version)}
    decision = seen(answering(series))
    assert decision.action is Action.HOLD
    assert f"weighbridge_{name}_total of {version} has no series" in decision.reason


def test_a_partial_answer_holds() -> None:
    """A store behind the server did not answer; what came is not all."""
    decision = seen(answering(WHOLE, warnings=["receive series from Addr: x: unavailable"]))
    assert decision.action is Action.HOLD
    assert "partial" in decision.reason


def test_a_target_that_is_scraped_twice_holds() -> None:
    """Every request would count twice, and the interval would be too narrow. Two instances are two targets."""
    twice = {key: [*value, counted(5000, job="b", instance="x")] for key, value in WHOLE.items()}
    decision = seen(answering(twice))
    assert decision.action is Action.HOLD
    assert "scraped twice" in decision.reason
    two = {key: [*value, counted(0, job="a", instance="y")] for key, value in WHOLE.items()}
    assert seen(answering(two)).action is Action.ADVANCE


def test_a_log_of_several_models_is_read_by_model(tmp_path: Path) -> None:
    """Both models have a v3; a line that does not say whose it is holds."""
    path = tmp_path / "all.jsonl"
    lines = [{"time": START.isoformat(), "version": "v3", "error": False, "model": name} for name in ("m", "n", "n")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    window = Window("m", "v3", "v2", START, LATER, only_model=False)
    found = read_log(path, window)
    assert (found.canary.requests, found.problems) == (1, ())
    path.write_text(path.read_text() + json.dumps({"time": START.isoformat(), "version": "v3"}) + "\n")
    assert "does not say its model" in read_log(path, window).problems[0]
    with pytest.raises(InputError):
        read_log(tmp_path / "gone.jsonl", window)


def test_what_waits_for_a_canary_is_taken_up_after_it_and_nothing_else(promoted: Path, settings: Settings) -> None:
    """CI recorded v4 while v3 was on canary; v5 was recorded by a person, and waits for one."""
    set_policy(promoted, {"on_merge": "canary", "canary": {"steps": [10, 100]}})
    promote(promoted, PromotionRequest("fp16", channel="policy"), settings=settings)
    write_run(promoted, 3)
    commit_all(promoted)
    waiting = promote(promoted, PromotionRequest("int8", channel="policy"), settings=settings)
    assert waiting.event.evidence["waits_for"] == "v3"
    assert take_up(promoted, MODEL, settings) is None
    Operator(promoted, MODEL, settings).abort_canary(reason="bad")
    done = take_up(promoted, MODEL, settings)
    assert (done.event.kind, done.channels.canary.version) == ("canary-started", "v4")
    Operator(promoted, MODEL, settings).abort_canary(reason="bad too")
    write_run(promoted, 4)
    commit_all(promoted)
    promote(promoted, PromotionRequest("int8", channel="none"), settings=settings)
    assert take_up(promoted, MODEL, settings) is None
