"""The judge: each kind of limit at both sides and at the limit itself, and every way not to judge."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gate.evidence import (
    BUDGETS,
    DEVICE,
    budget,
    comparison,
    controls,
    digest,
    launches,
    measurement,
    proportions,
)
from weighbridge.core.documents import Absent, Budget, BudgetVerdict, Exact, Measurement, Resampled, Verdict
from weighbridge.core.errors import ExitCode, MeasurementError
from weighbridge.gate.statistics.resampled import recorded
from weighbridge.gate.verdict.judge import judge, undecided
from weighbridge.gate.verdict.launch_metrics import _tail_standing


def one(found: Measurement, *budgets: Budget) -> BudgetVerdict:
    """The verdict on a single budget."""
    return judge(found, list(budgets)).budgets[0]


def test_a_good_candidate_passes_every_budget() -> None:
    """All kinds of evidence within their limits: pass, exit code 0."""
    verdict = judge(measurement(), BUDGETS)
    assert {item.verdict for item in verdict.budgets} == {Verdict.PASS}
    assert verdict.verdict is Verdict.PASS
    assert verdict.verdict.exit_code is ExitCode.PASS
    assert undecided(verdict) == []


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max": "400B"}, Verdict.PASS),
        ({"max": "399B"}, Verdict.FAIL),
        ({"max_ratio": 0.4}, Verdict.PASS),
        ({"max_ratio": 0.39}, Verdict.FAIL),
        ({"min": "401B"}, Verdict.FAIL),
    ],
)
def test_exact_metrics_are_compared(limits: dict[str, str | float], expected: Verdict) -> None:
    """A fact of the file passes at the limit itself and fails one byte beyond."""
    item = one(measurement(), budget("size.bytes", **limits))
    assert item.verdict is expected
    assert item.mode == "exact"
    assert item.lower == item.estimate == item.upper


def test_exact_numbers_that_differ_are_shown_apart() -> None:
    """A failure by one byte does not read as 200 kB beyond 200 kB."""
    found = measurement(
        comparison(candidate_bytes=200_001, size_bytes=Exact(candidate=200_001, reference=1000)),
        candidate_bytes=200_001,
    )
    assert "200.001 kB, beyond the limit of 200 kB" in one(found, budget("size.bytes", max="200kB")).reason


@pytest.mark.parametrize(("true", "expected"), [(0.80, "pass"), (0.90, "inconclusive"), (1.0, "fail")])
@pytest.mark.parametrize("seed", range(5))
def test_latency_is_judged_over_launches(true: float, expected: str, seed: int) -> None:
    """Well within: pass; well beyond: fail; a true value at the limit: inconclusive."""
    found = measurement(comparison(latency_p50=launches(true, seed=seed)))
    item = one(found, budget("latency.p50", max_ratio=0.9))
    assert item.verdict.value == expected
    assert item.lower < item.estimate < item.upper


def test_a_value_exactly_at_the_limit_decides_nothing() -> None:
    """Even without any spread: neither within nor beyond."""
    found = measurement(comparison(memory_peak=launches(1.0, sd=1e-12)))
    exact_ties = found.comparisons[0].metrics["memory.peak"].model_copy(update={"log_ratio": [0.0] * 54})
    found = measurement(comparison(memory_peak=exact_ties))
    assert one(found, budget("memory.peak", max_ratio=1.0)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max": "1ms"}, "pass"),
        ({"max": "100us"}, "fail"),
        ({"max": "127.5us"}, "inconclusive"),
        ({"max": "0s"}, "fail"),
    ],
)
def test_absolute_latency_is_judged_over_launches(limits: dict[str, str], expected: str) -> None:
    """About 127 µs per inference against absolute limits; the reason says that no device class was named."""
    item = one(measurement(), budget("latency.p50", **limits))
    assert item.verdict.value == expected
    assert "'ci-2core'" in item.reason
    assert item.against is None


def test_throughput_is_better_when_higher() -> None:
    """A floor is broken from below: min_ratio and max_drop."""
    fast = measurement(comparison(throughput=launches(1.5, base=5000.0)))
    assert one(fast, budget("throughput", min_ratio=1.2)).verdict is Verdict.PASS
    assert one(fast, budget("throughput", min_ratio=2.0)).verdict is Verdict.FAIL
    assert one(fast, budget("throughput", min="4000/s")).verdict is Verdict.PASS
    assert one(fast, budget("throughput", max_drop="100/s")).verdict is Verdict.PASS
    slow = measurement(comparison(throughput=launches(0.5, base=5000.0)))
    assert one(slow, budget("throughput", max_drop="100/s")).verdict is Verdict.FAIL


@pytest.mark.parametrize(("excess_pages", "expected"), [(0, "inconclusive"), (30, "inconclusive"), (1000, "fail")])
def test_memory_fails_beyond_what_the_kernel_counts(excess_pages: int, expected: str) -> None:
    """Thirty pages of 68 MB, shown beyond doubt by 54 quiet launches, are less than the counter itself may be off."""
    base = 68.7e6
    found = launches(1 + 4096 * excess_pages / base, sd=0.0007, base=base)
    item = one(measurement(comparison(memory_peak=found)), budget("memory.peak", max_ratio=1.0))
    assert item.verdict == expected
    assert (item.lower > 1.0) == (expected == "fail")
    timed = measurement(comparison(latency_p50=found.model_copy(update={"samples": 500})))
    if excess_pages:
        assert one(timed, budget("latency.p50", max_ratio=1.0)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"max": "68600kB"}, "inconclusive"), ({"max": "68kB"}, "fail"), ({"min": "68800kB"}, "inconclusive"),
     ({"min": "70MB"}, "fail"), ({"min_ratio": 1.001}, "inconclusive"), ({"min_ratio": 1.05}, "fail")],
)  # fmt: skip
def test_every_kind_of_limit_on_memory_has_the_same_grain(limits: dict[str, str | float], expected: str) -> None:
    """Absolute and relative, from above and from below."""
    found = launches(1.0, sd=0.0001, base=68.7e6)
    quiet = found.model_copy(update={"reference": [68.7e6] * 54, "candidate": [68.7e6] * 54})
    assert one(measurement(comparison(memory_peak=quiet)), budget("memory.peak", **limits)).verdict == expected


def test_nothing_is_decided_before_the_first_look() -> None:
    """Nine launch pairs: inconclusive, with what is missing and what it costs."""
    found = measurement(comparison(latency_p50=launches(0.5, pairs=9), controls=controls(9)))
    item = one(found, budget("latency.p50", max_ratio=0.9))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert item.next_look == 10
    assert "Only 9 launch pairs" in item.reason
    assert "1 more" in item.reason


def test_the_first_look_that_decides_stands() -> None:
    """A clear case is decided at ten pairs, and later pairs do not change what it rests on."""
    for pairs in (10, 13, 54):
        found = measurement(comparison(latency_p50=launches(0.5, pairs=pairs), controls=controls(pairs)))
        item = one(found, budget("latency.p50", max_ratio=0.9))
        assert item.verdict is Verdict.PASS
        assert item.pairs == 10


def test_pairs_between_two_looks_wait() -> None:
    """At 23 pairs the gate has looked at 16; the next look is at 24."""
    found = measurement(comparison(latency_p50=launches(0.9, pairs=23), controls=controls(23)))
    verdict = judge(found, [budget("latency.p50", max_ratio=0.9)])
    assert verdict.budgets[0].pairs == 16
    assert [item.next_look for item in undecided(verdict)] == [24]


def test_after_the_last_look_more_launches_are_not_offered() -> None:
    """54 pairs that decide nothing: the reason says so, and nothing is left to ask."""
    found = measurement(comparison(latency_p50=launches(0.9, seed=3)))
    verdict = judge(found, [budget("latency.p50", max_ratio=0.9)])
    assert undecided(verdict) == []
    assert "more launches will not be taken" in verdict.budgets[0].reason.lower()


def test_evidence_that_contradicts_itself_is_inconclusive() -> None:
    """Launches that pass at first and fail later have drifted: neither verdict stands."""
    early, late = launches(0.8, sd=0.005, pairs=10), launches(1.2, sd=0.005, pairs=54, seed=9)
    log_ratio = early.log_ratio + late.log_ratio[:44]
    reference = early.reference + late.reference[:44]
    drifted = late.model_copy(
        update={
            "log_ratio": log_ratio,
            "reference": reference,
            "candidate": [theirs * math.exp(ratio) for theirs, ratio in zip(reference, log_ratio, strict=True)],
        }
    )
    item = one(measurement(comparison(latency_p50=drifted)), budget("latency.p50", max_ratio=0.9))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert "changed while measuring" in item.reason


def test_many_timed_budgets_share_their_error() -> None:
    """What fails alone at a look may stay open among six: Holm's correction over required ones alone."""
    borderline = launches(0.95, sd=0.005, pairs=10, seed=3)
    found = measurement(comparison(latency_p50=borderline, controls=controls(10), pairs=10))
    single = [budget("latency.p50", max_ratio=0.9)]
    advisory = [budget("latency.p50", max_ratio=0.9, required=False)] * 5
    assert judge(found, single).budgets[0].verdict is Verdict.FAIL
    assert judge(found, single + advisory).budgets[0].verdict is Verdict.FAIL
    assert judge(found, single * 6).budgets[0].verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("counts", "limits", "expected"),
    [
        ((900, 12, 8, 80), {"max_drop": 0.02}, "pass"),
        ((900, 12, 8, 80), {"max_drop": 0.005}, "inconclusive"),
        ((820, 100, 10, 70), {"max_drop": 0.02}, "fail"),
        ((900, 0, 0, 100), {"max_drop": 0.0}, "inconclusive"),
        ((900, 12, 8, 80), {"min": 0.88}, "pass"),
        ((900, 12, 8, 80), {"min": 0.95}, "fail"),
        ((900, 12, 8, 80), {"min": 0.9}, "inconclusive"),
        ((900, 12, 8, 80), {"min_ratio": 0.97}, "pass"),
        ((820, 100, 10, 70), {"min_ratio": 0.97}, "fail"),
        ((900, 12, 8, 80), {"min_ratio": 0.99}, "inconclusive"),
    ],
)
def test_accuracy_is_judged_by_paired_intervals(
    counts: tuple[int, int, int, int], limits: dict[str, float], expected: str
) -> None:
    """Drops by Tango, shares by Clopper and Pearson, ratios by their score interval."""
    found = measurement(comparison(accuracy_top1=proportions(*counts)))
    assert one(found, budget("accuracy.top1", **limits)).verdict.value == expected


def test_inconclusive_accuracy_says_how_many_examples_would_do() -> None:
    """A test set too small to resolve the budget: the reason gives a number."""
    item = one(measurement(), budget("accuracy.top1", max_drop=0.005))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert "examples would decide it" in item.reason
    assert item.next_look is None


def test_exact_mode_is_about_this_data_set() -> None:
    """A count is compared as it stands: 0.4 points are within 0.4 and beyond 0.3."""
    assert one(measurement(), budget("accuracy.top1", max_drop=0.004, mode="exact")).verdict is Verdict.PASS
    assert one(measurement(), budget("accuracy.top1", max_drop=0.003, mode="exact")).verdict is Verdict.FAIL


@pytest.mark.parametrize(("limit", "expected"), [(0.05, "pass"), (0.012, "inconclusive"), (0.002, "fail")])
def test_flips_are_judged_by_exact_bounds(limit: float, expected: str) -> None:
    """12 of 1,000 right before and wrong now."""
    assert one(measurement(), budget("accuracy.flips", max=limit)).verdict.value == expected


def test_only_the_worst_slice_fails() -> None:
    """One slice that lost much fails the budget, by name, though all others hold."""
    slices = {"fine": proportions(225, 3, 2, 20), "shirt": proportions(150, 90, 1, 9)}
    whole = proportions(800, 100, 10, 90)
    found = measurement(comparison(accuracy_top1=whole, slices=slices))
    item = one(found, budget("accuracy.worst_slice", max_drop=0.1))
    assert item.verdict is Verdict.FAIL
    assert "'shirt'" in item.reason


def test_a_slice_too_small_to_pass_is_named() -> None:
    """A slice of 20 examples cannot show a 5-point limit even without a difference: 52 are needed."""
    slices = {"large": proportions(245, 0, 0, 5), "tiny": proportions(19, 0, 0, 1)}
    item = one(measurement(comparison(slices=slices)), budget("accuracy.worst_slice", max_drop=0.05))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert "too small" in item.reason.lower()
    assert "'tiny'" in item.reason
    assert "52" in item.reason


def resampled(drop: float, *, spread: float = 0.01, count: int = 2000) -> Resampled:
    """A bootstrap whose drops are spread evenly around one value."""
    reference = [0.9 + 0.001 * (index % 7) for index in range(count)]
    drops = [drop + spread * (2 * index / (count - 1) - 1) for index in range(count)]
    return Resampled(
        candidate=0.9 - drop,
        reference=0.9,
        examples=1000,
        candidate_resamples=[value - drop for value, drop in zip(reference, drops, strict=True)],
        reference_resamples=reference,
    )


@pytest.mark.parametrize(("drop", "expected"), [(0.0, "pass"), (0.02, "inconclusive"), (0.05, "fail")])
def test_other_accuracies_are_judged_by_their_bootstrap(drop: float, expected: str) -> None:
    """F1, AUC and the like: BCa bounds of the paired resamples."""
    found = measurement(comparison(accuracy_f1=resampled(drop)))
    item = one(found, budget("accuracy.f1", max_drop=0.02))
    assert item.verdict.value == expected
    assert "BCa bounds of 2,000 paired" in item.reason


def test_a_value_that_resamples_repeat_in_fewer_digits_is_decided() -> None:
    """Two of 2,560 labels differ, in two of forty groups: far within the limit, whichever way the value is rounded."""
    rng = np.random.default_rng(1)
    shares = 1 - rng.binomial(40, 2 / 40, 2000) / 2560
    found = Resampled(
        candidate=1 - 2 / 2560,
        reference=1.0,
        examples=1000,
        candidate_resamples=[recorded(share) for share in shares],
        reference_resamples=[1.0] * 2000,
        moments=[6.26e-07, 0, 0, -4.77e-10, 0, 0, 0],
    )
    item = one(measurement(comparison(accuracy_f1=found)), budget("accuracy.f1", min=0.9))
    assert item.verdict is Verdict.PASS
    assert item.lower is not None
    assert item.lower > 0.995


def test_too_few_resamples_decide_nothing_and_few_are_named() -> None:
    """A metric that was too slow stays open however good it looks; one that was capped says by what."""
    limit = budget("accuracy.f1", max_drop=0.05)
    few = one(measurement(comparison(accuracy_f1=resampled(0.0, count=199))), limit)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "Only 199 bootstrap resamples" in few.reason
    capped = resampled(0.0, count=200).model_copy(update={"capped": "20 s allow"})
    item = one(measurement(comparison(accuracy_f1=capped)), limit)
    assert item.verdict is Verdict.PASS
    assert "200 paired bootstrap resamples, as many as 20 s allow" in item.reason
    exact = budget("accuracy.f1", max_drop=0.05, mode="exact")
    assert one(measurement(comparison(accuracy_f1=resampled(0.0, count=2))), exact).verdict is Verdict.PASS


def test_the_same_bytes_pass_untimed() -> None:
    """Identical digests need no measuring; a limit that demands a gain is not met by them."""
    found = measurement(comparison(latency_p50=None), candidate="baseline", candidate_bytes=1000)
    found = found.model_copy(update={"comparisons": [comparison(latency_p50=None, candidate_bytes=1000)]})
    assert one(found, budget("latency.p50", max_ratio=1.05)).verdict is Verdict.PASS
    assert one(found, budget("accuracy.top1", max_drop=0.0)).verdict is Verdict.PASS
    assert one(found, budget("accuracy.flips", max=0.0)).verdict is Verdict.PASS
    assert one(found, budget("latency.p50", max_ratio=0.9)).verdict is Verdict.FAIL
    assert one(found, budget("latency.p50", max="1ms")).verdict is Verdict.ERROR


@pytest.mark.parametrize(("metric", "samples", "expected"), [
    ("latency.p95", 89, "inconclusive"), ("latency.p95", 90, "pass"),
    ("latency.p99", 458, "inconclusive"), ("latency.p99", 459, "pass"),
])  # fmt: skip
def test_tails_below_their_floor_are_refused(metric: str, samples: int, expected: str) -> None:
    """90 observations per launch for p95, 459 for p99: fewer are no estimate."""
    found = measurement(comparison(**{metric.replace(".", "_"): launches(samples=samples)}))
    assert one(found, budget(metric, max="1ms")).verdict.value == expected


def test_tails_without_a_count_of_observations_are_an_error() -> None:
    """A tail percentile of nobody knows how many observations never passes."""
    found = measurement(comparison(latency_p95=launches(samples=0)))
    assert one(found, budget("latency.p95", max="1ms")).verdict is not Verdict.PASS


def test_relative_tails_of_scattered_launches_are_advisory() -> None:
    """Beyond 10 % spread a relative p95 does not decide, unless the budget says that it must."""
    calm = measurement(comparison(latency_p95=launches(0.8, sd=0.05)))
    wild = measurement(comparison(latency_p95=launches(1.5, sd=0.2)))
    assert one(calm, budget("latency.p95", max_ratio=0.9)).required
    item = one(wild, budget("latency.p95", max_ratio=0.9))
    assert not item.required
    assert "Advisory here" in item.reason
    assert one(wild, budget("latency.p95", max_ratio=0.9, required=True)).required
    assert judge(wild, [budget("latency.p95", max_ratio=0.9)]).verdict is Verdict.ERROR


@pytest.mark.parametrize(("sd", "decides"), [(0.0999, True), (0.1, False), (0.1001, False)])
@pytest.mark.parametrize("metric", ["latency.p95", "latency.p99"])
def test_a_relative_tail_decides_below_ten_percent_of_scatter(metric: str, sd: float, decides: bool) -> None:
    """10 % is the limit itself, for every tail percentile."""
    standing, advice = _tail_standing(budget(metric, max_ratio=0.9), sd)
    assert standing == decides
    assert len(advice) == (not decides)
    assert _tail_standing(budget(metric, max="1ms"), sd) == (True, ())
    assert _tail_standing(budget("latency.p50", max_ratio=0.9), sd) == (True, ())


def test_a_bimodal_spread_is_noted() -> None:
    """Launches in two groups get a line in the report."""
    two = launches(1.0, sd=0.005)
    log_ratio = [value + (0.0 if index % 5 < 3 else math.log(0.85)) for index, value in enumerate(two.log_ratio)]
    candidate = [theirs * math.exp(ratio) for theirs, ratio in zip(two.reference, log_ratio, strict=True)]
    two = two.model_copy(update={"log_ratio": log_ratio, "candidate": candidate})
    verdict = judge(measurement(comparison(latency_p50=two)), [budget("latency.p50", max_ratio=1.2)])
    assert any("two groups" in note for note in verdict.notes)


def test_a_biased_null_control_is_inconclusive() -> None:
    """Where the baseline against itself comes out 5 % off, the device is not fit to judge."""
    found = measurement(comparison(controls=controls(bias=0.05)))
    item = one(found, budget("latency.p50", max_ratio=0.9))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert "baseline weighed against itself" in item.reason
    assert item.next_look is None
    assert one(found, budget("memory.peak", max="200MB")).verdict is Verdict.PASS


def test_nothing_is_decided_before_the_null_control_can_speak() -> None:
    """Five of ten launches compared the baseline with itself: the first look waits; one more decides."""
    few = controls(10)
    assert len(few.null_log_ratio) == 6
    found = measurement(comparison(pairs=10, controls=few))
    limit = budget("latency.p50", max_ratio=1.05)
    assert one(found, limit).verdict is Verdict.PASS
    fewer = few.model_copy(update={"null_log_ratio": few.null_log_ratio[:5]})
    item = one(measurement(comparison(pairs=10, controls=fewer)), limit)
    assert item.verdict is Verdict.INCONCLUSIVE
    assert item.next_look == 16
    assert "only 5 launches compared the baseline with itself; 6 must" in item.reason


def test_a_bias_is_seen_at_the_first_look_though_one_control_disagrees() -> None:
    """Five of six controls 5 % to 8 % off: the device is not fit, and no failure comes of it."""
    biased = type(controls())(null_log_ratio=[0.05, 0.055, 0.06, 0.07, 0.08, 0.02], dropped=0.0)
    found = measurement(comparison(pairs=10, controls=biased, latency_p50=launches(1.06, sd=0.005, pairs=10)))
    item = one(found, budget("latency.p50", max_ratio=1.0))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert "weighed against itself" in item.reason


def test_a_disturbed_machine_is_inconclusive() -> None:
    """More than 30 % of the burst pairs dropped: not fit to judge, worth another look."""
    found = measurement(comparison(pairs=16, controls=controls(16, dropped=0.31)))
    item = one(found, budget("latency.p50", max_ratio=0.9))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert "31%" in item.reason
    assert item.next_look == 24


def test_devices_of_another_class_are_not_judged() -> None:
    """A budget for another device is named in the notes; a gate without any budget left is an error."""
    elsewhere = budget("latency.p50", max="1us", device="pi5")
    verdict = judge(measurement(), [*BUDGETS, elsewhere])
    assert verdict.verdict is Verdict.PASS
    assert any("pi5" in note for note in verdict.notes)
    assert judge(measurement(), [elsewhere]).verdict is Verdict.ERROR
    assert one(measurement(), budget("latency.p50", max="1us", device="ci-2core")).verdict is Verdict.FAIL


def test_the_whole_is_the_worst_required_budget() -> None:
    """An optional failure is shown and does not decide; a required one does."""
    optional = budget("size.bytes", max="10B", required=False)
    assert judge(measurement(), [*BUDGETS, optional]).verdict is Verdict.PASS
    assert judge(measurement(), [*BUDGETS, budget("size.bytes", max="10B")]).verdict is Verdict.FAIL
    assert judge(measurement(), [optional]).verdict is Verdict.ERROR
    assert judge(measurement(), []).verdict is Verdict.ERROR
    assert judge(measurement(), BUDGETS, advisory=True).advisory


def test_no_stable_to_compare_with_is_named() -> None:
    """A budget against stable, and no stable: an error that says why, never a pass."""
    found = measurement(missing={"stable": "the registry holds no version of this model"})
    item = one(found, budget("latency.p50", max_ratio=1.05, against="stable"))
    assert item.verdict is Verdict.ERROR
    assert "no stable model" in item.reason
    assert "holds no version" in item.reason


def test_budgets_against_stable_rest_on_their_own_comparison() -> None:
    """The same candidate may hold against the baseline and fail against stable."""
    both = measurement(comparison(), comparison("stable", latency_p50=launches(1.3)))
    limits = [budget("latency.p50", max_ratio=0.9), budget("latency.p50", max_ratio=1.05, against="stable")]
    assert [item.verdict for item in judge(both, limits).budgets] == [Verdict.PASS, Verdict.FAIL]


def test_what_was_skipped_after_a_failure_is_no_error_of_its_own() -> None:
    """Weighing that stopped at a certain failure: fail as a whole, and the rest says why it is open."""
    found = measurement(comparison(latency_p50=None))
    verdict = judge(found, [budget("size.bytes", max="10B"), budget("latency.p50", max_ratio=0.9)])
    assert [item.verdict for item in verdict.budgets] == [Verdict.FAIL, Verdict.INCONCLUSIVE]
    assert "size.bytes max had already failed" in verdict.budgets[1].reason
    assert verdict.verdict is Verdict.FAIL


def test_only_what_was_skipped_is_excused_by_another_failure() -> None:
    """A metric that could not be measured stays an error, whatever its reason says, beside a certain failure."""
    absent = Absent(reason="Not measured: the runtime has no counter")
    found = measurement(comparison(latency_p50=absent))
    verdict = judge(found, [budget("size.bytes", max="10B"), budget("latency.p50", max_ratio=0.9)])
    assert [item.verdict for item in verdict.budgets] == [Verdict.FAIL, Verdict.ERROR]
    alone = judge(measurement(comparison(latency_p50=None)), [budget("latency.p50", max_ratio=0.9)])
    assert [item.verdict for item in alone.budgets] == [Verdict.ERROR]


def broken_launches(**update: list[float]) -> Measurement:
    return measurement(comparison(latency_p50=launches().model_copy(update=update)))


SWAPPED = launches(0.5)

BROKEN = {
    "a fault": measurement(faults=["the candidate crashed (signal 11)"]),
    "no comparison": measurement().model_copy(update={"comparisons": []}),
    "two comparisons with one reference": measurement(comparison(), comparison()),
    "another reference than the baseline": measurement(
        comparison().model_copy(update={"reference": measurement().candidate})
    ),
    "sizes of other files": measurement(comparison(size_bytes=Exact(candidate=1000, reference=400))),
    "nothing measured": measurement(comparison(latency_p50=None)),
    "absent": measurement(comparison(latency_p50=Absent(reason="the counter is not readable"))),
    "evidence of another kind": measurement(comparison(latency_p50=Exact(candidate=1, reference=2))),
    "no launch": broken_launches(candidate=[], reference=[], log_ratio=[], numbers=[]),
    "lists of different lengths": broken_launches(log_ratio=launches().log_ratio[:-1]),
    "launches without numbers": broken_launches(numbers=[]),
    "a launch recorded twice": broken_launches(numbers=[1, *range(1, 54)]),
    "a latency of zero": broken_launches(candidate=[0.0, *launches().candidate[1:]]),
    "candidate and reference swapped": measurement(
        comparison(
            latency_p50=SWAPPED.model_copy(update={"candidate": SWAPPED.reference, "reference": SWAPPED.candidate})
        )
    ),
    "no null control": measurement(comparison(controls=controls(3))),
    "dropped share not recorded": measurement(
        comparison(controls=type(controls())(null_log_ratio=controls().null_log_ratio))
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_evidence_is_an_error(name: str) -> None:
    """Whatever is missing, contradictory or impossible: error, exit code 3."""
    verdict = judge(BROKEN[name], [budget("latency.p50", max_ratio=0.9)])
    assert verdict.verdict is Verdict.ERROR
    assert verdict.verdict.exit_code is ExitCode.UNJUDGED
    assert verdict.budgets[0].reason


BROKEN_ACCURACY = {
    "no example": comparison(accuracy_top1=proportions(0, 0, 0, 0)),
    "examples counted twice": comparison(accuracy_top1=proportions(1800, 24, 16, 160)),
    "no slices": comparison(slices={}),
    "an empty slice": comparison(slices={"a": proportions(0, 0, 0, 0)}),
    "a slice larger than the whole": comparison(slices={"a": proportions(950, 0, 0, 0)}),
}


@pytest.mark.parametrize("name", BROKEN_ACCURACY)
def test_broken_accuracy_is_an_error(name: str) -> None:
    """Counts that cannot be those of the evaluation set never pass."""
    found = measurement(BROKEN_ACCURACY[name])
    assert one(found, budget("accuracy.worst_slice", max_drop=0.5)).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    "update",
    [
        {"candidate_resamples": []},
        {"reference_resamples": [0.9]},
        {"examples": 0},
        {"examples": 2000},
    ],
)
def test_broken_resamples_are_an_error(update: dict[str, int | list[float]]) -> None:
    """Resamples that are missing, unpaired or of another set never pass."""
    found = measurement(comparison(accuracy_f1=resampled(0.0).model_copy(update=update)))
    assert one(found, budget("accuracy.f1", max_drop=0.5)).verdict is Verdict.ERROR


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["candidate", "reference", "log_ratio"])
def test_numbers_that_are_none_cannot_be_judged(field: str, value: float) -> None:
    """NaN smuggled past validation is refused before anything is compared."""
    values = [value, *getattr(launches(), field)[1:]]
    with pytest.raises(MeasurementError):
        judge(broken_launches(**{field: values}), BUDGETS)


def test_the_caller_can_refuse_the_measurement() -> None:
    """Problems found outside (digests that disagree with the files) make every budget an error."""
    verdict = judge(measurement(), BUDGETS, problems=["the measurement is of another file than the artifact"])
    assert {item.verdict for item in verdict.budgets} == {Verdict.ERROR}
    assert "another file" in verdict.budgets[0].reason


def repeat(values: Any) -> list[Any]:
    return [*values, *values]


PERTURBATIONS = {
    "missing launches": lambda e: e.model_copy(update={"log_ratio": e.log_ratio[1:]}),
    "missing everywhere": lambda e: e.model_copy(
        update={name: getattr(e, name)[:5] for name in ("candidate", "reference", "log_ratio", "numbers")}
    ),
    "duplicated": lambda e: e.model_copy(
        update={name: repeat(getattr(e, name)) for name in ("candidate", "reference", "log_ratio", "numbers")}
    ),
    "duplicated without numbers": lambda e: e.model_copy(
        update={name: repeat(getattr(e, name)) for name in ("candidate", "reference", "log_ratio")}
    ),
    "NaN": lambda e: e.model_copy(update={"log_ratio": [math.nan, *e.log_ratio[1:]]}),
    "NaN value": lambda e: e.model_copy(update={"candidate": [math.nan, *e.candidate[1:]]}),
    "empty": lambda e: e.model_copy(update={"candidate": [], "reference": [], "log_ratio": [], "numbers": []}),
    "swapped values": lambda e: e.model_copy(update={"candidate": e.reference, "reference": e.candidate}),
    "absent": lambda e: Absent(reason="gone"),
    "gone": lambda e: None,
}


def perturb_controls(found: Measurement, name: str) -> Measurement:
    first = found.comparisons[0]
    changed = {
        "no controls": type(first.controls)(),
        "NaN control": first.controls.model_copy(update={"null_log_ratio": [math.nan] * 13}),
        "no null": first.controls.model_copy(update={"null_log_ratio": []}),
    }[name]
    return found.model_copy(update={"comparisons": [first.model_copy(update={"controls": changed})]})


@settings(max_examples=120)
@given(
    ratio=st.floats(0.6, 1.6),
    sd=st.floats(0.001, 0.2),
    pairs=st.integers(5, 60),
    bias=st.sampled_from([0.0, 0.06]),
    dropped=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 1000),
    how=st.sampled_from([*PERTURBATIONS, "no controls", "NaN control", "no null", "fault", "digests"]),
    limits=st.sampled_from([{"max_ratio": 0.9}, {"max": "140us"}]),
)
def test_no_perturbation_turns_a_non_pass_into_a_pass(
    ratio: float, sd: float, pairs: int, bias: Any, dropped: Any, seed: int, how: Any, limits: Any
) -> None:
    """Missing, NaN, duplicated or swapped evidence never makes a verdict better than it was, up to pass."""
    evidence = launches(ratio, sd=sd, pairs=pairs, seed=seed)
    shares = controls(pairs, bias=bias, dropped=dropped)
    found = measurement(comparison(latency_p50=evidence, controls=shares))
    limit = [budget("latency.p50", **limits)]
    before = judge(found, limit).verdict
    if how in PERTURBATIONS:
        changed = measurement(comparison(latency_p50=None, controls=shares))
        other = PERTURBATIONS[how](evidence)
        if other is not None:
            first = changed.comparisons[0]
            metrics = {**first.metrics, "latency.p50": other}
            changed = changed.model_copy(update={"comparisons": [first.model_copy(update={"metrics": metrics})]})
    elif how == "fault":
        changed = found.model_copy(update={"faults": ["the worker hung"]})
    elif how == "digests":
        changed = found.model_copy(update={"baseline": found.candidate, "candidate": found.baseline})
    else:
        changed = perturb_controls(found, how)
    try:
        after = judge(changed, limit).verdict
    except MeasurementError:
        return
    if before is not Verdict.PASS:
        assert after is not Verdict.PASS
    if how != "missing everywhere":
        assert after in (Verdict.ERROR, Verdict.INCONCLUSIVE) or how == "swapped values"


@given(st.tuples(*[st.integers(0, 300)] * 4), st.floats(0, 0.2), st.sampled_from(["double", "zero", "one more"]))
def test_no_perturbation_of_counts_turns_a_non_pass_into_a_pass(cells: tuple[Any, ...], limit: float, how: Any) -> None:
    """Counts that do not add up to the evaluation set are an error, whatever they would say."""
    total = sum(cells)
    factor = {"double": 2, "zero": 0, "one more": 1}[how]
    changed = [count * factor + (how == "one more") for count in cells]
    found = measurement(comparison(accuracy_top1=proportions(*changed)), examples=total)
    if sum(changed) != total or total == 0:
        assert one(found, budget("accuracy.top1", max_drop=limit)).verdict is Verdict.ERROR


def test_a_verdict_is_a_function_of_its_inputs() -> None:
    """The same measurement and budgets give the same document, byte for byte."""
    assert judge(measurement(), BUDGETS).content_digest() == judge(measurement(), BUDGETS).content_digest()


def test_a_device_is_carried_into_the_verdict() -> None:
    """Device class and fingerprint, digests of both files and of the measurement are those of the evidence."""
    found = measurement()
    verdict = judge(found, BUDGETS)
    assert (verdict.device, verdict.device_fingerprint) == (DEVICE.device_class, DEVICE.fingerprint)
    assert verdict.candidate.digest == digest("candidate")
    assert verdict.measurement == found.content_digest()
