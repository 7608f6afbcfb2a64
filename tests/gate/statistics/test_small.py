"""Looks, Holm, planning, spread."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from weighbridge.gate.statistics import FAMILY_ALPHA, LAUNCH_ALPHA, LOOKS, holm, looks_reached, next_look
from weighbridge.gate.statistics.looks import FAIL_SHARES, PASS_SHARES, controls_due
from weighbridge.gate.statistics.planning import examples_needed, pairs_needed
from weighbridge.gate.statistics.spread import launch_sd, two_modes


def test_looks_are_where_the_protocol_says() -> None:
    """10, 16, 24, 36 and 54 launch pairs; nothing is decided between two looks."""
    assert LOOKS == (10, 16, 24, 36, 54)
    assert looks_reached(9) == ()
    assert looks_reached(23) == (10, 16)
    assert [next_look(pairs) for pairs in (0, 10, 35, 54)] == [10, 16, 36, None]


@pytest.mark.parametrize("shares", [FAIL_SHARES, PASS_SHARES])
def test_looks_spend_the_error_once(shares: dict[int, float]) -> None:
    """Every look has a share, and together they spend no more than there is."""
    assert tuple(shares) == LOOKS
    assert all(share > 0 for share in shares.values())
    assert sum(shares.values()) == pytest.approx(1)


def test_a_single_budget_can_fail_at_the_first_look() -> None:
    """Ten pairs that all lie beyond the limit have a p-value of 1/1024, which half of the spent error allows."""
    assert LAUNCH_ALPHA * FAIL_SHARES[10] >= 2**-10
    assert LAUNCH_ALPHA <= FAMILY_ALPHA


def test_controls_come_early() -> None:
    """Six by the first look, then no more until they would be fewer than a quarter of the launches."""
    assert [controls_due(launches) for launches in (0, 1, 2, 4, 10, 24, 25, 54)] == [0, 1, 2, 3, 6, 6, 7, 14]


def closed_test(p_values: list[Any], alpha: float, index: int) -> bool:
    """Reject a hypothesis where Bonferroni rejects every intersection that it is part of: what Holm shortens."""
    others = [other for other in range(len(p_values)) if other != index]
    subsets = itertools.chain.from_iterable(itertools.combinations(others, size) for size in range(len(p_values)))
    return all(min(p_values[member] for member in (index, *subset)) <= alpha / (len(subset) + 1) for subset in subsets)


@given(st.lists(st.floats(0, 0.02), min_size=1, max_size=6))
def test_holm_is_the_closed_test(p_values: list[Any]) -> None:
    """The step-down procedure rejects what testing every intersection rejects."""
    expected = [closed_test(p_values, 0.01, index) for index in range(len(p_values))]
    assert [item.rejected for item in holm(p_values, 0.01)] == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_levels_agree_with_its_rejections(p_values: list[Any]) -> None:
    """A hypothesis is rejected exactly where its p-value is within the level that it was lent."""
    for p_value, item in zip(p_values, holm(p_values, 0.01), strict=True):
        assert item.rejected == (p_value <= item.alpha)
        assert 0.01 / len(p_values) <= item.alpha <= 0.01


def test_examples_needed_is_the_published_figure() -> None:
    """2 % discordance and a one-point margin: 3,155 examples."""
    assert examples_needed(0.02, 0.01) == 3155
    assert examples_needed(0.0, 0.05) == 52
    assert examples_needed(0.02, 0.0) is None


def test_pairs_needed_grows_with_the_square() -> None:
    """Half the distance takes four times the pairs; at the limit no number would do."""
    assert pairs_needed(16, 0.02, 0.02) == 16
    assert pairs_needed(16, 0.02, 0.01) == 64
    assert pairs_needed(16, 0.02, 0.0) is None
    assert pairs_needed(8, math.inf, 0.1) is None


def test_spread_of_one_launch_is_unknown() -> None:
    """One value has no spread: infinite, never zero."""
    assert launch_sd([0.1]) == math.inf
    assert launch_sd([0.1, 0.3]) == pytest.approx(0.1 * math.sqrt(2))


@pytest.mark.parametrize(("name", "highest"), [("normal", 0.02), ("t3", 0.02), ("modes", None)])
def test_two_modes_are_found_where_there_are_two(name: str, highest: float | None) -> None:
    """Launches at 0.85 and 0.95 are told from one noisy group."""
    generator = np.random.default_rng(4)

    def draw() -> NDArray[np.float64]:
        if name == "modes":
            return np.where(generator.uniform(size=24) < 0.4, math.log(0.85), math.log(0.95)) + generator.normal(
                0, 0.01, 24
            )
        return generator.normal(size=24) if name == "normal" else generator.standard_t(3, size=24)

    found = np.mean([two_modes(draw()) is not None for _ in range(300)])
    assert found >= 0.9 if highest is None else found <= highest
    assert two_modes([0.1] * 5) is None
    assert two_modes([0.1] * 5 + [0.2] * 5) is not None
