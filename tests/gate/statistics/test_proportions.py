"""Paired and single proportions: published examples, brute force, coverage."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, multinomial

from weighbridge.gate.statistics.proportions import (
    Pairs,
    mcnemar_p,
    newcombe_interval,
    ratio_interval,
    ratio_z,
    tango_interval,
    tango_p_above,
    tango_p_below,
    tango_z,
)

COUNTS = st.tuples(*[st.integers(0, 60)] * 4).filter(lambda cells: sum(cells) > 0).map(lambda cells: Pairs(*cells))


def test_tango_1998_example_of_contact_lenses() -> None:
    """Tango (1998), 6.1: 44 pairs, 0 and 1 discordant: Z = 1.709 at a margin of 0.1, 90 % bound -0.096."""
    lenses = Pairs(43, 0, 1, 0)
    assert tango_z(lenses, -0.1) == pytest.approx(1.709, abs=5e-4)
    assert tango_interval(lenses, 0.05, 0.05)[0] == pytest.approx(-0.096, abs=5e-4)


def test_tango_1998_example_of_sleeping_difficulties() -> None:
    """Tango (1998), 6.2: 32 pairs, 9 and 3 discordant: 95 % interval -0.027 to 0.390."""
    assert tango_interval(Pairs(10, 9, 3, 10), 0.025, 0.025) == pytest.approx((-0.027, 0.390), abs=5e-4)


def test_examples_of_airways_and_of_newcombe() -> None:
    """Bentur et al. (2009) as in Fagerland, Lydersen and Laake, ch. 8; Newcombe (1998), table II, method 10."""
    airways = Pairs(1, 1, 7, 12)
    assert tango_interval(airways, 0.025, 0.025) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert newcombe_interval(airways, 0.025, 0.025) == pytest.approx((-0.507, -0.026), abs=5e-4)
    low, high = ratio_interval(airways, 0.025, 0.025)
    assert (1 / high, 1 / low) == pytest.approx((0.065, 0.907), abs=5e-4)
    assert newcombe_interval(Pairs(36, 12, 2, 0), 0.025, 0.025) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def constrained_z(pairs: Pairs, drop: float) -> float:
    """Tango's statistic with its nuisance parameter found by maximizing the likelihood numerically."""
    total, worse, better = pairs.total, pairs.only_reference, pairs.only_candidate

    def minus_log_likelihood(p_won: float) -> float:
        p_worse, p_rest = p_won + drop, 1 - 2 * p_won - drop
        terms = ((worse, p_worse), (better, p_won), (total - worse - better, p_rest))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    best = minimize_scalar(
        minus_log_likelihood, bounds=(max(0.0, -drop), (1 - drop) / 2), method="bounded", options={"xatol": 1e-12}
    ).x
    return (worse - better - total * drop) / math.sqrt(total * (2 * best + drop * (1 - drop)))


@pytest.mark.parametrize("drop", [-0.2, -0.03, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("cells", [(36, 12, 2, 7), (900, 12, 8, 80), (50, 3, 9, 4), (20, 1, 1, 3)])
def test_the_score_statistic_is_that_of_the_constrained_maximum(cells: tuple[int, int, int, int], drop: float) -> None:
    """The closed form equals brute force."""
    assert tango_z(Pairs(*cells), drop) == pytest.approx(constrained_z(Pairs(*cells), drop), rel=1e-4)


def test_without_a_margin_tango_is_mcnemar() -> None:
    """At a drop of zero the statistic is (b - c) / sqrt(b + c)."""
    assert tango_z(Pairs(50, 12, 5, 9), 0.0) == pytest.approx(7 / math.sqrt(17))


@given(COUNTS, st.sampled_from([0.05, 0.01, 0.002]))
def test_bounds_hold_the_estimate_and_agree_with_the_test(pairs: Pairs, alpha: float) -> None:
    """The bounds surround the observed drop, and lie where the test's p-value crosses alpha."""
    lower, upper = tango_interval(pairs, alpha, alpha)
    assert -1 <= lower <= pairs.drop <= upper <= 1
    if lower > -1 + 1e-6:
        assert tango_p_above(pairs, lower - 1e-6) <= alpha + 1e-9
        assert tango_p_above(pairs, min(lower + 1e-6, 1.0)) >= alpha - 1e-4
    if upper < 1 - 1e-6:
        assert tango_p_below(pairs, upper + 1e-6) <= alpha + 1e-9


@given(COUNTS, st.floats(-0.9, 0.9))
@example(Pairs(0, 0, 0, 1), 1.4380364342797226e-221)  # whose square underflows
@example(Pairs(0, 0, 1, 0), 5e-324)
def test_swapping_the_two_models_mirrors_the_answer(pairs: Pairs, drop: float) -> None:
    """What speaks for the one speaks against the other."""
    swapped = Pairs(pairs.both, pairs.only_candidate, pairs.only_reference, pairs.neither)
    assert tango_z(pairs, drop) == pytest.approx(-tango_z(swapped, -drop), abs=1e-6)


@given(COUNTS, st.sampled_from([0.05, 0.01]))
def test_newcombe_tells_much_the_same(pairs: Pairs, alpha: float) -> None:
    """The two methods agree to a few standard errors' fraction on sets of some size."""
    assume(pairs.total >= 100)
    tango, newcombe = tango_interval(pairs, alpha, alpha), newcombe_interval(pairs, alpha, alpha)
    assert tango == pytest.approx(newcombe, abs=0.05)


@given(COUNTS, st.floats(0.2, 5.0))
def test_a_ratio_mirrors_when_the_models_swap(pairs: Pairs, ratio: float) -> None:
    """Score statistic of c/r at q is minus that of r/c at 1/q."""
    swapped = Pairs(pairs.both, pairs.only_candidate, pairs.only_reference, pairs.neither)
    z, mirrored = ratio_z(pairs, ratio), ratio_z(swapped, 1 / ratio)
    if math.isfinite(z) and math.isfinite(mirrored):
        assert z == pytest.approx(-mirrored, rel=1e-3, abs=1e-3)


@given(COUNTS)
def test_mcnemars_p_is_the_binomial_one(pairs: Pairs) -> None:
    """Two-sided exact test on the discordant pairs."""
    discordant = pairs.only_reference + pairs.only_candidate
    expected = binomtest(pairs.only_reference, discordant).pvalue if discordant else 1.0
    assert mcnemar_p(pairs) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("truth", "total"), [((0.88, 0.03, 0.02, 0.07), 500), ((0.9, 0.02, 0.01, 0.07), 2000)])
def test_tangos_bounds_cover(truth: tuple[float, float, float, float], total: int) -> None:
    """In simulation the upper 5 % bound lies below the true drop in about 5 % of data sets."""
    generator = np.random.default_rng(3)
    drop = truth[1] - truth[2]
    runs = 3000
    found = multinomial.rvs(total, truth, size=runs, random_state=generator)
    missed = sum(tango_p_below(Pairs(*map(int, cells)), drop) <= 0.05 for cells in found) / runs
    assert missed == pytest.approx(0.05, abs=0.015)
