"""Policy: every way of asking for less is seen, and nothing else is."""

import pytest
import yaml

from tests.gate.evidence import BUDGETS, budget, comparison, launches, measurement
from weighbridge.core.documents import Budget, Comparison, DeviceSection, PolicySection, RecipeSection
from weighbridge.core.errors import InputError
from weighbridge.core.facts.policy_changes import CHANGE_KINDS
from weighbridge.gate.verdict.budget_changes import changes, under_base
from weighbridge.gate.verdict.policy import (
    Policy,
    device_changes,
    policy_changes,
    recipe_changes,
    rule_changes,
    under_rules,
)

LATENCY = budget("latency.p50", max_ratio=0.9)


@pytest.mark.parametrize(
    ("base", "head", "kinds"),
    [
        (LATENCY, budget("latency.p50", max_ratio=0.91), ["loosened"]),
        (LATENCY, budget("latency.p50", max_ratio=0.89), []),
        (budget("throughput", min="100/s"), budget("throughput", min="99/s"), ["loosened"]),
        (budget("throughput", min="100/s"), budget("throughput", min="101/s"), []),
        (budget("accuracy.top1", max_drop=0.01), budget("accuracy.top1", max_drop="2%"), ["loosened"]),
        (LATENCY, budget("latency.p50", max_ratio=0.9, required=False), ["advisory"]),
        (LATENCY, budget("latency.p50", max_ratio=0.9, resolution=0.1), ["resolution"]),
        (LATENCY, budget("latency.p50", max_ratio=0.9, device="pi5"), ["device"]),
        (
            budget("accuracy.top1", max_drop=0.01),
            budget("accuracy.top1", max_drop=0.01, mode="exact"),
            ["mode"],
        ),
        (
            budget("accuracy.top1", max_drop=0.01, mode="exact"),
            budget("accuracy.top1", max_drop=0.01),
            [],
        ),
        (LATENCY, budget("latency.p50", max_ratio=2, required=False), ["loosened", "advisory"]),
        (LATENCY, budget("latency.p50", max="9ms"), ["removed"]),
        (LATENCY, budget("latency.p50", max_ratio=0.9, against="stable"), ["removed"]),
        (LATENCY, budget("latency.p95", max_ratio=0.9), ["removed"]),
        (budget("latency.p50", max_ratio=0.9, required=False), budget("params", max=1), []),
        (budget("latency.p50", max_ratio=0.9, device="pi5"), LATENCY, []),
    ],
)
def test_each_weakening_has_a_name(base: Budget, head: Budget, kinds: list[str]) -> None:
    """Loosened, removed, advisory, resolution, device, mode; tightening is free."""
    assert [change.kind for change in changes([base], [head])] == kinds


def test_reordering_and_adding_budgets_is_free() -> None:
    """The same budgets in another order, with one more, loosen nothing."""
    assert changes(BUDGETS, [*reversed(BUDGETS), LATENCY]) == []
    assert changes(BUDGETS, BUDGETS) == []


def test_a_stricter_twin_keeps_a_budget() -> None:
    """Where two budgets limit one metric, removing the looser of them loosens nothing."""
    loose = budget("latency.p50", max_ratio=1.2)
    assert changes([LATENCY, loose], [LATENCY]) == []
    assert [change.kind for change in changes([LATENCY, loose], [loose])] == ["loosened"]


def test_a_change_says_how_it_stood_and_how_it_stands() -> None:
    """Both sides in one line each, for the report and for waivers."""
    (change,) = changes([LATENCY], [budget("latency.p50", max_ratio=1.5)])
    assert change.budget == "latency.p50 max_ratio against baseline"
    assert change.base == "max_ratio 0.9×, resolution 5%"
    assert change.head == "max_ratio 1.5×, resolution 5%"


def test_a_recipe_made_advisory_is_a_change() -> None:
    """Its verdict counted and does not any more; the other way round is free."""
    counts = RecipeSection(steps=[{"share": {"bits": 2}}])
    advisory = RecipeSection(steps=[{"share": {"bits": 2}}], advisory=True)
    assert [item.kind for item in recipe_changes({"a": counts}, {"a": advisory})] == ["recipe advisory"]
    assert recipe_changes({"a": advisory}, {"a": counts}) == []
    assert recipe_changes({"a": advisory}, {"b": counts}) == []


def test_a_recipe_that_is_gone_or_renamed_or_without_a_target_is_a_change() -> None:
    """What is not judged any more cannot fail: removed, renamed, and one target of two, each by its name."""
    steps = [{"quantize": {"scheme": "fp16"}}]
    both, one = RecipeSection(steps=steps, target=["onnxruntime", "litert"]), RecipeSection(steps=steps)
    for base, head, expected in (
        ({"a": one}, {}, ("recipe a", "removed")),
        ({"a": one}, {"b": one}, ("recipe a", "renamed b")),
        ({"a": both}, {"a": one}, ("recipe a/litert", "removed")),
    ):
        (change,) = recipe_changes(base, head)
        assert (change.kind, change.budget, change.head) == ("recipe removed", *expected)
        assert change.blocks
    assert recipe_changes({"a": one}, {"a": both, "b": one}) == []


def test_the_policy_of_the_merge_base_says_what_needs_a_waiver() -> None:
    """A kind that the base only tells blocks nothing; what the head says of itself does not count."""
    tell = PolicySection(on_change={"loosened": "tell"})
    base, looser = [LATENCY], [budget("latency.p50", max_ratio=1.5)]
    for before, after, blocks in ((tell, PolicySection(), False), (PolicySection(), tell, True)):
        found = policy_changes(Policy(tuple(base), {}, {}, before), Policy(tuple(looser), {}, {}, after))
        assert [change.blocks for change in found if change.kind == "loosened"] == [blocks]


def test_a_weaker_policy_is_itself_a_change() -> None:
    """A kind that needed a waiver and is only told, and waivers that may run longer; the other way round is free."""
    strict, weak = PolicySection(), PolicySection(on_change={"test examples removed": "tell"}, waiver_days=365)
    assert [(item.kind, item.budget, item.head) for item in rule_changes(strict, weak)] == [
        ("policy", "policy.on_change.test examples removed", "tell"),
        ("policy", "policy.waiver_days", "365 days"),
    ]
    assert rule_changes(weak, strict) == []
    assert all(change.blocks for change in under_rules(rule_changes(strict, weak), strict))


def test_every_kind_has_a_default_and_unknown_kinds_are_refused() -> None:
    """Told by default: what adds examples or a policy, takes more time, or upgrades; a misspelt kind is one line."""
    assert {kind.name for kind in CHANGE_KINDS.values() if kind.default == "tell"} == {
        "project moved", "test examples added", "calibration", "baseline rebuilt", "measured longer", "gate code",
        "library upgraded", "policy added",
    }  # fmt: skip
    with pytest.raises(InputError, match="did you mean 'loosened'"):
        Policy.parse(PARAMS % 0.9 + "policy: {on_change: {losened: tell}}", "params.yaml")
    with pytest.raises(InputError, match="tell"):
        Policy.parse(PARAMS % 0.9 + "policy: {on_change: {loosened: ignore}}", "params.yaml")


@pytest.mark.parametrize(
    ("head", "to"),
    [
        (budget("latency.p50", max_ratio=1.5), "1.5"),
        (budget("latency.p50", max_ratio=0.9, required=False), "not required"),
        (budget("latency.p50", max_ratio=0.9, resolution=0.1), "0.1"),
        (budget("latency.p50", max_ratio=0.9, device="pi5"), "pi5"),
    ],
)
def test_a_change_says_what_its_waiver_has_to_name(head: Budget, to: str) -> None:
    """The value that is accepted, as it is written in params.yaml."""
    (change,) = changes([LATENCY], [head])
    assert change.accepts == to


def test_a_device_taken_away_or_described_otherwise_is_a_change() -> None:
    """A faster machine, or a harness that says what one wants to hear, would let through what this one does not."""
    pi = DeviceSection(address="ssh://pi", targets=["litert"])
    base = {"local": DeviceSection(), "pi": pi}
    assert device_changes(base, {**base, "more": pi}) == []
    (gone,) = device_changes(base, {"local": DeviceSection()})
    assert (gone.kind, gone.budget, gone.head) == ("removed", "device pi", "removed")
    assert gone.base == "address ssh://pi, targets ['litert']"
    for other in ({"command": ["./says-yes"]}, {"address": "ssh://server"}, {"address": "ssh://pi", "threads": 8}):
        (change,) = device_changes(base, {**base, "pi": DeviceSection(**other)})
        assert (change.kind, change.budget) == ("device", "device pi")
    assert [item.budget for item in policy_changes(Policy((), {}, base), Policy((), {}, {}))] == [
        "device local", "device pi",
    ]  # fmt: skip


PARAMS = """
model: {name: net, factory: "a.b:C"}
data: {factory: "a.b:D"}
x-anchors: {anything: goes}
recipes:
  int8: {steps: [{quantize: {scheme: fp16}}]}
budgets:
  - {metric: latency.p50, max_ratio: %s}
"""


def test_policies_are_read_from_text() -> None:
    """The merge base comes as text from Git; a policy's digest is over its budgets alone."""
    base, head = Policy.parse(PARAMS % 0.9, "base"), Policy.parse(PARAMS % 1.1, "head")
    assert [change.kind for change in policy_changes(base, head)] == ["loosened"]
    assert base.digest() != head.digest()
    assert Policy.parse(PARAMS % 0.9 + "# a comment", "again").digest() == base.digest()


def test_a_broken_base_is_one_clear_error() -> None:
    """A params.yaml that cannot be read in the merge base is named with its revision."""
    with pytest.raises(InputError, match="main"):
        Policy.parse(PARAMS.replace("metric", "metrik") % 0.9, "params.yaml at main")


def test_the_old_limit_is_judged_beside_the_new_one() -> None:
    """A loosened budget, and one that was removed, say what they would have said of each model."""
    base = [budget("latency.p50", max_ratio=0.8), budget("size.bytes", max="100B")]
    head = [budget("latency.p50", max_ratio=0.9)]
    found = under_base(changes(base, head), base, {"int8": measurement(), "slow": measurement(slow())})
    verdicts = {change.budget: change.under_base for change in found}
    assert verdicts["latency.p50 max_ratio against baseline"] == {"int8": "fail", "slow": "fail"}
    assert verdicts["size.bytes max"] == {"int8": "fail", "slow": "fail"}
    unmeasured = [budget("params", max=5)]
    (change,) = under_base(changes(unmeasured, []), unmeasured, {"int8": measurement()})
    assert change.under_base == {"int8": "error"}


def slow() -> Comparison:
    """A candidate at 0.95 of its baseline."""
    return comparison(latency_p50=launches(0.95))


def test_two_budgets_of_one_name_are_told_apart() -> None:
    """The base's limits of 0.8 and 0.95 on one metric: the one that was loosened is the one that is shown."""
    base = [budget("latency.p50", max_ratio=0.8), budget("latency.p50", max_ratio=0.95)]
    (change,) = under_base(changes(base, [base[1]]), base, {"int8": measurement()})
    assert change.under_base == {"int8": "fail"}


def test_a_budget_of_another_device_says_nothing() -> None:
    """What the base did not judge on this device either has no outcome."""
    base = [budget("latency.p50", max_ratio=0.8, device="phone")]
    (change,) = under_base(changes(base, []), base, {"int8": measurement()})
    assert change.under_base == {}


def test_a_merge_base_from_before_units_were_asked_for_is_read() -> None:
    """`max: 5` was five seconds there: writing `5s` changes nothing, and writing `6s` loosens."""
    old = PARAMS.replace("max_ratio: %s", "max: 5")
    for head, kinds in (("5s", []), ("6s", ["loosened"]), ("4s", [])):
        found = policy_changes(Policy.parse(old, "base"), Policy.parse(old.replace("max: 5", f"max: {head}"), "head"))
        assert [change.kind for change in found] == kinds
    with pytest.raises(InputError, match="expected a number"):
        Policy.parse(old.replace("max: 5", "max: soon"), "base")


@pytest.mark.parametrize("limit", [60, 1.5, "60"])
def test_a_merge_base_whose_time_limit_has_no_unit_is_read_as_it_was(limit: float | str) -> None:
    """Nobody can correct what is merged; in the change itself the same line is refused."""
    content = {
        "model": {"name": "m", "factory": "a.b:c"},
        "data": {"factory": "a.b:d"},
        "recipes": {"int8": {"steps": [{"quantize": {"scheme": "fp16"}}]}},
        "budgets": [{"metric": "size.bytes", "max": 500}],
        "weighing": {"time_limit": limit},
    }
    policy = Policy.parse(yaml.safe_dump(content), "params.yaml at 1234")
    assert policy.weighing.time_limit == float(limit)
    assert policy.budgets[0].limit == 500
