"""Estimates read as people write them."""

import pytest

from weighbridge.registry.state.records import Estimate
from weighbridge.registry.views import figures


def at(value: float, baseline: float | None, unit: str = "bytes") -> Estimate:
    return Estimate(value=value, lower=value, upper=value, unit=unit, baseline=baseline)


@pytest.mark.parametrize(
    ("value", "baseline", "unit", "said"),
    [
        (50, 100, "bytes", "−50%"),
        (110, 100, "seconds", "+10%"),
        (100, 100, "bytes", "±0%"),
        (0.89, 0.90, "fraction", "−1 point"),
        (1, None, "bytes", "–"),
        (1, 0, "bytes", "–"),
    ],
)
def test_changes_are_relative_but_for_fractions(value: float, baseline: float | None, unit: str, said: str) -> None:
    """A drop of accuracy is said in points, everything else in per cent."""
    assert figures.change(at(value, baseline, unit)) == said


def test_better_follows_the_metrics_own_direction() -> None:
    """Smaller files are better, smaller accuracy is worse; equal or unknown is neither."""
    assert figures.better("size.bytes", at(1, 2)) is True
    assert figures.better("accuracy.top1", at(0.1, 0.2, "fraction")) is False
    assert figures.better("size.bytes", at(2, 2)) is None
    assert figures.better("of.tomorrow", at(1, 2)) is None


def test_an_interval_without_width_is_exact() -> None:
    """A fact of the file has no noise, and the table says so."""
    assert figures.interval(at(5, None)) == "exact"
    wide = Estimate(value=2e-3, lower=1e-3, upper=3e-3, unit="seconds")
    assert figures.interval(wide) == "1.00 to 3.00 ms"


def test_metrics_come_in_the_tables_order() -> None:
    """Size before latency before accuracy, whatever the order in the file; the unknown come last."""
    names = ["of.tomorrow", "accuracy.top1", "latency.p50", "size.bytes"]
    found = [name for name, _ in figures.in_order(dict.fromkeys(names, at(1, 1)))]
    assert found == ["size.bytes", "latency.p50", "accuracy.top1", "of.tomorrow"]
