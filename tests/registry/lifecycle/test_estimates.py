"""Intervals of a record's metrics, against published values."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.project import write_run
from weighbridge.core.documents import Measurement
from weighbridge.registry.lifecycle.estimates import estimates, median_interval


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (15, 4), (20, 6), (25, 8)])
def test_the_median_interval_takes_the_tabulated_ranks(n: int, rank: int) -> None:
    """Ranks of the sign test's 95 % interval (Conover, table A3): from the k-th smallest to the k-th largest."""
    values = list(range(1, n + 1))
    random.Random(n).shuffle(values)
    assert median_interval(values) == (rank, n + 1 - rank)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_the_median_lies_in_its_interval(values: list[Any]) -> None:
    """Whatever the values: bounds are values, in order, around the median; below six values, all of them."""
    lower, upper = median_interval(values)
    ordered = sorted(values)
    assert lower <= ordered[(len(values) - 1) // 2]
    assert ordered[len(values) // 2] <= upper
    assert {lower, upper} <= set(values)
    if len(values) < 6:
        assert (lower, upper) == (ordered[0], ordered[-1])


def test_a_measurement_gives_each_kind_of_estimate(tmp_path: Path) -> None:
    """Exact, launches, proportions and resamples; what is absent has no entry."""
    write_run(tmp_path)
    content = Measurement.read(tmp_path / "measurements/int8/onnxruntime@local.json").to_json()
    metrics = content["comparisons"][0]["metrics"]
    metrics["accuracy.f1"] = {
        "kind": "resampled",
        "candidate": 0.5,
        "reference": 0.6,
        "examples": 9,
        "candidate_resamples": [k / 1000 for k in range(1000)],
        "reference_resamples": [0.6] * 1000,
    }
    metrics["accuracy.flips"] = metrics["accuracy.top1"]
    metrics["energy"] = {"kind": "absent", "reason": "no counter here"}
    found = estimates(Measurement.model_validate(content))
    assert "energy" not in found
    assert found["size.bytes"].lower == found["size.bytes"].upper == 77
    assert (found["latency.p50"].lower, found["latency.p50"].upper) == (0.002, pytest.approx(0.009))
    assert found["latency.p50"].baseline == pytest.approx(0.011)
    assert found["accuracy.top1"].value == pytest.approx(910 / 995)
    assert found["accuracy.flips"].value == pytest.approx(5 / 995)
    assert (found["accuracy.f1"].lower, found["accuracy.f1"].upper) == (0.024, 0.975)
    assert all(math.isfinite(estimate.value) for estimate in found.values())
