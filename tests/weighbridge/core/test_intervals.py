"""Exact bounds of a proportion, against published values and another implementation."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special

from weighbridge.core.intervals import beta_share, clopper_pearson


@pytest.mark.parametrize(
    ("hits", "n", "lower", "upper"),
    [
        # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 5
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_published_bounds(hits: int, n: int, lower: float, upper: float) -> None:
    """Newcombe's examples, to four digits."""
    assert clopper_pearson(hits, n, 0.025, 0.025) == (pytest.approx(lower, abs=5e-5), pytest.approx(upper, abs=5e-5))


@given(st.integers(1, 200_000), st.data(), st.floats(1e-9, 0.4))
def test_bounds_are_quantiles_of_the_beta_distribution(total: int, data: st.DataObject, alpha: float) -> None:
    """As scipy computes them, however many examples and however small the error rate."""
    hits = data.draw(st.integers(0, total))
    lower, upper = clopper_pearson(hits, total, alpha, alpha)
    assert lower == pytest.approx(0.0 if hits == 0 else special.betaincinv(hits, total - hits + 1, alpha), abs=1e-9)
    wanted = 1.0 if hits == total else special.betaincinv(hits + 1, total - hits, 1 - alpha)
    assert upper == pytest.approx(wanted, abs=1e-9)
    assert lower <= hits / total <= upper


@given(st.floats(1, 1e5), st.floats(1, 1e5), st.floats(0, 1))
def test_the_share_is_scipys(a: float, b: float, x: float) -> None:
    """The function that the bounds invert, for parameters as they have them: counts, from 1 on."""
    assert beta_share(a, b, x) == pytest.approx(special.betainc(a, b, x), abs=1e-9)


@given(st.floats(0, 1))
@example(0.9999999999999999)  # where scipy is off by 3e-9
def test_the_share_of_halves_is_the_arcsine(x: float) -> None:
    """A closed form: I_x(1/2, 1/2) = 2/pi asin(sqrt(x)), from the nearer end."""
    near = 2 / math.pi * math.asin(math.sqrt(min(x, 1 - x)))
    assert beta_share(0.5, 0.5, x) == pytest.approx(near if x <= 0.5 else 1 - near, abs=1e-12)
