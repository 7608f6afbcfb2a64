"""Quantities read as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.registry.state.records import Estimate
from weighbridge.registry.views import figures


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (123_120, "bytes", "123 kB"),
        (999.9, "bytes", "1.00 kB"),
        (12, "bytes", "12 B"),
        (0.000157, "seconds", "157 µs"),
        (0.00999999, "seconds", "10.0 ms"),
        (2.5, "seconds", "2.50 s"),
        (0.8939, "fraction", "89.39 %"),
        (117_530, "count", "118 k"),
        (0, "bytes", "0 B"),
        (1.0, "ratio", "1.00"),
        (1.1, "ratio", "1.10"),
        (6370.4, "per_second", "6\N{NARROW NO-BREAK SPACE}370/s"),
        (-2_000, "bytes", "-2.00 kB"),
    ],
)
def test_quantities_have_three_digits_and_a_unit(value, unit, said):
    """Three significant digits in the unit that fits."""
    assert figures.quantity(value, unit) == said


@given(st.floats(1e-12, 1e12), st.sampled_from(["bytes", "seconds", "count", "joules", "score"]))
def test_a_quantity_is_never_off_by_more_than_its_last_digit(value, unit):
    """What is shown reads back as the value, to three significant digits."""
    number, _, suffix = figures.quantity(value, unit).replace("\N{NARROW NO-BREAK SPACE}", "").partition(" ")
    scale = {name: factor for factor, name in figures._SCALES.get(unit, ())}.get(suffix, 1.0)
    assert float(number) * scale == pytest.approx(value, rel=0.0051)


def at(value, baseline, unit="bytes"):
    return Estimate(value=value, lower=value, upper=value, unit=unit, baseline=baseline)


@pytest.mark.parametrize(
    ("value", "baseline", "unit", "said"),
    [
        (50, 100, "bytes", "−50.0 %"),
        (110, 100, "seconds", "+10.0 %"),
        (100, 100, "bytes", "±0.0 %"),
        (0.89, 0.90, "fraction", "−1.00 points"),
        (1, None, "bytes", "–"),
        (1, 0, "bytes", "–"),
    ],
)
def test_changes_are_relative_but_for_fractions(value, baseline, unit, said):
    """A drop of accuracy is said in points, everything else in per cent."""
    assert figures.change(at(value, baseline, unit)) == said


def test_better_follows_the_metrics_own_direction():
    """Smaller files are better, smaller accuracy is worse; equal or unknown is neither."""
    assert figures.better("size.bytes", at(1, 2)) is True
    assert figures.better("accuracy.top1", at(0.1, 0.2, "fraction")) is False
    assert figures.better("size.bytes", at(2, 2)) is None
    assert figures.better("of.tomorrow", at(1, 2)) is None


def test_an_interval_without_width_is_exact():
    """A fact of the file has no noise, and the table says so."""
    assert figures.interval(at(5, None)) == "exact"
    wide = Estimate(value=2e-3, lower=1e-3, upper=3e-3, unit="seconds")
    assert figures.interval(wide) == "1.00 ms – 3.00 ms"


def test_metrics_come_in_the_tables_order():
    """Size before latency before accuracy, whatever the order in the file; the unknown come last."""
    names = ["of.tomorrow", "accuracy.top1", "latency.p50", "size.bytes"]
    found = [name for name, _ in figures.in_order(dict.fromkeys(names, at(1, 1)))]
    assert found == ["size.bytes", "latency.p50", "accuracy.top1", "of.tomorrow"]
