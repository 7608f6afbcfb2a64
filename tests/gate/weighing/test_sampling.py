import math
from collections.abc import Sequence

import numpy as np
import pytest

from tests.documents import device
from weighbridge.core.documents import Budget, Comparison, Measurement, Protocol, RecipeVerdict, Weighed, Weighing
from weighbridge.gate.measure.launches import Launch
from weighbridge.gate.statistics import LOOKS
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing.accumulator import Accumulator
from weighbridge.gate.weighing.sampling import Need, Sampling, first_needs, planned

DIGESTS = [f"sha256:{letter * 64}" for letter in "abcd"]
DEVICE = device(fingerprint=DIGESTS[3])
BASELINE = Weighed(name="baseline", digest=DIGESTS[0], bytes=10)
CANDIDATE = Weighed(name="candidate", digest=DIGESTS[1], bytes=10)
P50 = Budget(metric="latency.p50", max_ratio=1.05)


class Machine:
    """Launches of known ratio, each taking a second of a clock that does not run."""

    def __init__(self, ratio: float, sd: float = 0.01, dropped: float = 0.0) -> None:
        self.ratio, self.sd, self.dropped = ratio, sd, dropped
        self.now = 0.0
        self.controls = []
        self.metrics = []

    def clock(self) -> float:
        return self.now

    def launch(self, setup: object, metrics: frozenset[str], rng: np.random.Generator, *, control: bool) -> Launch:
        self.now += 1.0
        self.controls.append(control)
        self.metrics.append(metrics)
        drawn = math.log(self.ratio) + self.sd * rng.standard_normal()
        names = metrics | {"latency.p50"} if "latency.end_to_end" not in metrics else metrics
        values = {name: {"baseline": 1e-3, "candidate": 1e-3 * math.exp(drawn), "control": 1e-3} for name in names}
        ratios = {name: {("candidate", "baseline"): drawn} for name in names}
        if control:
            for name in names:
                ratios[name]["control", "baseline"] = 0.1 * self.sd * rng.standard_normal()
        return Launch(values, ratios, dict.fromkeys(names, 500), self.dropped)


def measurement(accumulator: Accumulator) -> Measurement:
    return Measurement(
        baseline=BASELINE,
        candidate=CANDIDATE,
        device=DEVICE,
        data=DIGESTS[2],
        examples=10,
        protocol=Protocol(
            seed=1,
            threads=1,
            batch_size=1,
            looks=list(LOOKS),
            elapsed_seconds=1,
            time_limit_seconds=60,
            complete=True,
        ),
        comparisons=[
            Comparison(
                against="baseline",
                reference=BASELINE,
                metrics=accumulator.evidence(()),
                controls=accumulator.controls(),
            )
        ],
    )


def weigh(
    machine: Machine,
    budgets: Sequence[Budget] = (P50,),
    *,
    accumulator: Accumulator | None = None,
    time_limit: float = 1e9,
    thorough: bool = False,
    most: int = 54,
) -> tuple[bool, Accumulator | None, RecipeVerdict]:
    accumulator = accumulator or Accumulator("baseline", BASELINE, "baseline")
    sampling = Sampling(
        None,
        [accumulator],
        lambda: judge(measurement(accumulator), budgets),
        seed=5,
        most_launches=most,
        time_limit=time_limit,
        thorough=thorough,
        clock=machine.clock,
        launch=machine.launch,
    )
    done = sampling.run(first_needs(budgets, {"baseline": False}, {}))
    return done, accumulator, judge(measurement(accumulator), budgets)


@pytest.mark.parametrize(("ratio", "verdict"), [(0.9, "pass"), (1.0, "pass"), (1.3, "fail")])
def test_clear_cases_end_at_the_first_look(ratio: float, verdict: str) -> None:
    """Ten launch pairs, not one more."""
    done, accumulator, found = weigh(Machine(ratio))
    assert done
    assert found.verdict == verdict
    assert accumulator.count("latency.p50") == LOOKS[0]


def test_a_value_at_the_limit_is_measured_to_the_last_look_and_stays_inconclusive() -> None:
    """Fifty-four pairs, no verdict by exhaustion."""
    done, accumulator, found = weigh(Machine(1.05))
    assert not done or found.verdict == "inconclusive"
    assert accumulator.count("latency.p50") == LOOKS[-1]
    assert found.verdict == "inconclusive"


def test_the_time_limit_ends_the_measuring_without_a_verdict() -> None:
    """Whole launches only, and none that would end beyond the limit."""
    machine = Machine(1.0)
    done, accumulator, found = weigh(machine, time_limit=7.5)
    assert not done
    assert accumulator.count("latency.p50") == 7
    assert machine.now <= 7.5
    assert found.verdict == "inconclusive"


def test_a_plan_is_said_after_the_first_launch_and_the_measuring_goes_on_to_the_last_look() -> None:
    """By the price of one launch pair; without a plan nothing is said."""
    heard = []
    for plans in (True, False):
        accumulator = Accumulator("baseline", BASELINE, "baseline")
        machine = Machine(1.05)
        sampling = Sampling(
            None,
            [accumulator],
            lambda accumulator=accumulator: judge(measurement(accumulator), (P50,)),
            seed=5,
            most_launches=54,
            time_limit=Weighing(time_limit="auto").most_seconds,
            thorough=False,
            plans=plans,
            progress=lambda *said: heard.append(said),
            clock=machine.clock,
            launch=machine.launch,
        )
        sampling.run(first_needs((P50,), {"baseline": False}, {}))
        assert accumulator.count("latency.p50") == LOOKS[-1]
    plan = [said[3] for said in heard if said[0] == "plan"]
    assert plan == [
        "a launch pair takes 1 s: the first decision after 10 launch pairs, 10 s; at most 54 launch pairs, 54 s"
    ]
    assert planned(14.2, 12) == (
        "a launch pair takes 15 s: the first decision after 10 launch pairs, 1 s; at most 54 launch pairs, 10 min"
    )


def test_every_fourth_launch_has_a_second_baseline_and_six_of_the_first_ten() -> None:
    """The null control is part of the measurement, not an option, and it can speak at the first look."""
    machine = Machine(1.05)
    _, accumulator, _ = weigh(machine)
    taken = [index for index, control in enumerate(machine.controls) if control]
    assert taken == [0, 1, 3, 5, 6, 8, *range(24, 54, 4)]
    assert len(accumulator.null) == 14


def test_controls_are_counted_over_timed_launches_only() -> None:
    """Launches for memory have no bursts to compare: those for latency, added later, bring their own controls."""
    accumulator = Accumulator("baseline", BASELINE, "baseline")
    weigh(Machine(1.0), (Budget(metric="memory.peak", max_ratio=1.05),), accumulator=accumulator)
    accumulator.null.clear()
    accumulator.series.pop("latency.p50", None)
    _, _, found = weigh(Machine(1.0), accumulator=accumulator)
    assert len(accumulator.null) >= 6
    assert found.verdict == "pass"


def test_weighing_again_continues_and_never_starts_afresh() -> None:
    """A decided measurement takes no further launch; an open one goes on at the next pair, up to the last look."""
    _, first, _ = weigh(Machine(1.05), time_limit=20)
    assert first.count("latency.p50") == 20
    resumed = Accumulator("baseline", BASELINE, "baseline")
    resumed.resume(measurement(first).comparisons[0])
    machine = Machine(1.05)
    _, second, _ = weigh(machine, accumulator=resumed)
    assert machine.now == LOOKS[-1] - 20
    assert second.series["latency.p50"].log_ratio[:20] == first.series["latency.p50"].log_ratio
    assert second.series["latency.p50"].numbers == list(range(1, 55))
    last = Machine(1.0)
    _, _, found = weigh(last, accumulator=second)
    assert last.now == 0
    assert found.verdict == "inconclusive"


def test_rerunning_until_green_does_not_work() -> None:
    """Twenty re-runs of a candidate just beyond its limit: never a pass, never more than the last look's pairs."""
    accumulator = Accumulator("baseline", BASELINE, "baseline")
    for _ in range(20):
        resumed = Accumulator("baseline", BASELINE, "baseline")
        if accumulator.series:
            resumed.resume(measurement(accumulator).comparisons[0])
        _, accumulator, found = weigh(Machine(1.07), accumulator=resumed, time_limit=5)
        assert found.verdict != "pass"
    assert accumulator.count("latency.p50") <= LOOKS[-1]


def test_a_failed_budget_ends_the_measuring_of_the_others_unless_all_are_asked_for() -> None:
    """The hopeless case costs ten launches, sixteen where two budgets share the error; `--all` goes on."""
    advisory = Budget(metric="cold_start", max_ratio=1.3, required=False)
    _, accumulator, found = weigh(Machine(1.3), (P50, advisory))
    assert found.verdict == "fail"
    assert accumulator.count("cold_start") == LOOKS[0]
    budgets = (P50, Budget(metric="cold_start", max_ratio=1.3))
    _, accumulator, found = weigh(Machine(1.3), budgets)
    assert found.verdict == "fail"
    assert accumulator.count("cold_start") == LOOKS[1]
    _, accumulator, _ = weigh(Machine(1.3), budgets, thorough=True)
    assert accumulator.count("cold_start") == LOOKS[-1]


def test_advisory_budgets_get_the_first_look_and_no_more() -> None:
    """What decides nothing does not hold the gate up."""
    budgets = (P50, Budget(metric="cold_start", max_ratio=1.0, required=False))
    _, accumulator, found = weigh(Machine(1.0), budgets)
    assert found.verdict == "pass"
    assert accumulator.count("cold_start") == LOOKS[0]


def test_a_disturbed_machine_is_inconclusive() -> None:
    """More than 30 % of the bursts dropped: no verdict, whatever the numbers say."""
    for ratio in (0.8, 1.4):
        _, _, found = weigh(Machine(ratio, dropped=0.4))
        assert found.verdict == "inconclusive"


def test_end_to_end_is_launched_apart() -> None:
    """Its bursts run other code than those of the model alone."""
    machine = Machine(1.0)
    weigh(machine, (P50, Budget(metric="latency.end_to_end", max_ratio=1.1)))
    assert {frozenset({"latency.p50"}), frozenset({"latency.end_to_end"})} == set(machine.metrics)


def test_the_same_bytes_need_no_launch_for_relative_limits() -> None:
    """Only an absolute limit still needs the clock."""
    absolute = Budget(metric="latency.p50", max="5ms")
    assert first_needs([P50], {"baseline": True}, {}) == []
    assert first_needs([P50, absolute], {"baseline": True}, {}) == [Need("latency.p50", "baseline", 10)]
    assert first_needs([P50], {"baseline": False}, {"latency.p50": "why"}) == []
    stable = Budget(metric="latency.p50", max_ratio=1.1, against="stable")
    assert first_needs([stable], {"baseline": False}, {}) == []


def test_launch_orders_differ_from_launch_to_launch_and_repeat_with_the_seed() -> None:
    """Randomness comes from the seed and the launch's number alone."""
    drawn = []
    for _ in range(2):
        _, accumulator, _ = weigh(Machine(1.0, sd=0.01))
        drawn.append(accumulator.series["latency.p50"].log_ratio)
    assert drawn[0] == drawn[1]
    assert len(set(np.round(drawn[0], 12))) == LOOKS[0]
