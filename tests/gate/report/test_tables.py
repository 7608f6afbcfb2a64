"""Facts, figures for other tools, quantities as people read them, and what changed in params.yaml."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.evidence import BUDGETS, comparison, controls, launches, measurement
from tests.gate.report.test_to_markdown import entries
from weighbridge.core.documents import Verdict
from weighbridge.core.formatting import contrast, duration, percent, quantity, signed, span
from weighbridge.gate.report.edits import Edit, changed_recipes, edits, step_text
from weighbridge.gate.report.evidence_sections import launches_section
from weighbridge.gate.report.facts import Entry, sparkline, unbeaten
from weighbridge.gate.report.tables import launches_csv, limits_csv, metrics, trade_off_csv
from weighbridge.gate.verdict.judge import judge


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (133_200, "bytes", "133.2 kB"),
        (999, "bytes", "999 B"),
        (999_960, "bytes", "1 MB"),
        (2_500_000, "bytes", "2.5 MB"),
        (0.000_123_4, "seconds", "123.4 µs"),
        (0.0042, "seconds", "4.2 ms"),
        (0.0, "seconds", "0 s"),
        (75.0, "seconds", "1.25 min"),
        (0.842, "ratio", "0.842×"),
        (0.0125, "fraction", "1.25%"),
        (0.01, "points", "1 point"),
        (-0.0125, "points", "−1.25 points"),
        (45_200, "count", "45.2 k"),
        (12_300, "per_second", "12.3 k/s"),
        (0.002, "joules", "2 mJ"),
        (0.0, "joules", "0 J"),
        (0.8731, "score", "0.8731"),
        (math.inf, "ratio", "∞"),
        (-math.inf, "ratio", "−∞"),
        (None, "ratio", "–"),
        (3.0, "furlongs", "3"),
    ],
)
def test_quantities_read_well(value: float | None, unit: str, expected: str) -> None:
    """A value in the scale that fits, with its unit."""
    assert quantity(value, unit) == expected


def test_numbers_that_differ_look_different() -> None:
    """As many digits as it takes; equal ones stay short."""
    assert contrast(200_001, 200_000, "bytes") == ("200.001 kB", "200 kB")
    assert contrast(0.9, 0.9, "ratio") == ("0.9×", "0.9×")
    first, second = contrast(1.0, math.nextafter(1.0, 2.0), "ratio")
    assert first != second


@given(st.floats(1e-9, 1e12), st.floats(1e-9, 1e12))
def test_contrast_never_hides_a_difference(one: float, other: float) -> None:
    """Two different numbers are never shown alike."""
    shown = contrast(one, other, "bytes")
    assert (shown[0] == shown[1]) == (one == other)


@pytest.mark.parametrize(
    ("low", "high", "unit", "expected"),
    [
        (-0.008345, 0.004248, "points", "−0.835 to 0.425 points"),
        (0.6031, 0.6327, "ratio", "0.603 to 0.633×"),
        (13.59e6, 13.63e6, "bytes", "13.590 to 13.630 MB"),
        (None, 1.2, "ratio", "no bound to 1.2×"),
        (0.0, 0.0, "fraction", "0 to 0%"),
    ],
)
def test_intervals_read_well(low: float | None, high: float, unit: str, expected: str) -> None:
    """Both bounds on one scale, the unit once, enough digits to tell them apart."""
    assert span(low, high, unit) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.012, "fraction", "+1.2%"),
        (-0.012, "fraction", "−1.2%"),
        (0.0, "fraction", "±0%"),
        (0.01, "points", "+1 point"),
    ],
)
def test_a_difference_has_its_sign_in_any_case(value: float, unit: str, expected: str) -> None:
    """More, less and the same are told apart at a glance."""
    assert signed(quantity(value, unit)) == expected


def test_shares_and_times() -> None:
    """Percentages and rough durations."""
    assert percent(0.0512) == "5.1%"
    assert [duration(seconds) for seconds in (0.2, 40, 100, 7200)] == ["1 s", "40 s", "2 min", "2 h"]


def test_csv_for_plots_has_one_row_per_thing() -> None:
    """The baseline and each model; each budget with an estimate; each launch pair."""
    found = entries()
    assert [line.split(",")[0] for line in trade_off_csv(found).splitlines()] == ["model", "baseline", "int8", "share"]
    assert len(limits_csv(found).splitlines()) == 1 + 12
    assert len(launches_csv(found).splitlines()) == 1 + 32
    assert trade_off_csv([]).splitlines() == ["model,size_bytes,accuracy,latency_ratio,verdict"]


def test_metrics_are_nested_numbers() -> None:
    """What `dvc metrics` shows: by recipe, group and name."""
    found = metrics(entries(), Verdict.FAIL)
    assert found["verdict"] == "fail"
    assert found["int8"]["size"] == {"bytes": 400, "ratio": 0.4, "gzip": 380}
    assert found["int8"]["params"] == 100
    assert set(found["int8"]["latency"]) == {"p50_seconds", "ratio"}
    assert found["share"]["accuracy"]["flips"] == 0.212
    bare = measurement(comparison(latency_p50=None, accuracy_top1=None, memory_peak=None))
    assert set(metrics([Entry("a", judge(bare, BUDGETS), bare)], Verdict.PASS)["a"]) == {"size", "verdict"}


def test_the_front_holds_what_nothing_beats() -> None:
    """A model that is no smaller, slower and worse is not on it; an unmeasured one neither."""
    good, bad = measurement(comparison(latency_p50=launches(0.8))), measurement(comparison(latency_p50=launches(1.2)))
    blind = measurement(comparison(accuracy_top1=None))
    found = [Entry(name, judge(item, BUDGETS), item) for name, item in (("good", good), ("bad", bad), ("blind", blind))]
    assert unbeaten(found) == ["good"]


def test_sparklines_show_the_spread() -> None:
    """Lowest to highest in eight heights; no spread is one height."""
    assert sparkline([1, 2, 3]) == "▁▅█"
    assert sparkline([2, 2]) == "▄▄"
    assert sparkline([]) == ""


def test_a_device_with_few_launches_has_no_null_band() -> None:
    """Five launches of baseline against baseline bound nothing."""
    few = measurement(comparison(pairs=8, latency_p50=launches(pairs=8), controls=controls(8)))
    assert Entry("a", judge(few, BUDGETS), few).null_band is None


def test_edits_are_found_leaf_by_leaf() -> None:
    """Changed, added and removed values by their path."""
    base = {"a": {"b": [1, {"c": 2}]}, "gone": True, "same": "x"}
    head = {"a": {"b": [1, {"c": 3}]}, "new": [], "same": "x"}
    assert edits(base, head).values == (
        Edit("a.b[1].c", "2", "3"),
        Edit("gone", "true", "not there"),
        Edit("new", "not there", "[]"),
    )
    assert not edits(base, base)


def test_step_lists_are_compared_as_steps() -> None:
    """A step that was put first moves no other; a changed value is one step less and one more."""
    quantize = {"quantize": {"scheme": "static-int8", "calibration": "minmax"}}
    old = {"prune": {"method": "magnitude", "sparsity": 0.8, "finetune": {"epochs": 2}}}
    new = {"prune": {"method": "magnitude", "sparsity": 0.95, "finetune": {"epochs": 2}}}
    base = {"recipes": {"a": {"target": "onnxruntime", "steps": [quantize]}, "b": {"steps": [old, quantize]}}}
    head = {"recipes": {"a": {"target": "litert", "steps": [new, quantize]}, "b": {"steps": [new, quantize]}}}
    found = edits(base, head)
    assert found.values == (Edit("recipes.a.target", "onnxruntime", "litert"),)
    assert found.steps == {
        "a": ("+ prune(magnitude, 0.95, finetune.epochs=2)", "  quantize(static-int8, minmax)"),
        "b": (
            "- prune(magnitude, 0.8, finetune.epochs=2)",
            "+ prune(magnitude, 0.95, finetune.epochs=2)",
            "  quantize(static-int8, minmax)",
        ),
    }
    assert changed_recipes(base, head) == {"a", "b"}
    assert changed_recipes(base, base) == frozenset()
    assert step_text({"factorize": {}}) == "factorize()"
    assert step_text("odd") == '"odd"'


def test_an_interval_of_few_launches_is_not_shown() -> None:
    """Four launch pairs bound nothing; five do."""
    for pairs, shown in ((4, "too few launches"), (5, "0.89")):
        weighed = measurement(comparison(latency_p50=launches(0.9, pairs=pairs, sd=0.001)))
        section = launches_section([Entry("a", judge(weighed, []), weighed)], None)
        (row,) = section.blocks[-1].rows
        assert row[4][0].startswith(shown)
