"""What is confirmed is chosen by the gain that can be expected: boldness that is luck is not all that is looked at."""

import numpy as np

from weighbridge.search.trials.choosing import MOST, SCENARIOS, chosen, held

LIMIT = 0.01


def always(count: int) -> np.ndarray:
    """Trials that hold in the only scenario."""
    return np.ones((1, count), dtype=bool)


def test_a_safe_recipe_is_chosen_beside_bold_ones_that_beat_it_by_place() -> None:
    """Eight at the limit would all fail together where the baseline is lucky; a ninth, worse by place, may not."""
    places = np.array([[-3.0 - 0.01 * step, -0.7 + 0.01 * step] for step in range(MOST)] + [[-2.0, -0.4]])
    drops = np.array([LIMIT - 0.001] * MOST + [-0.01])
    holds = held(drops, np.full(MOST + 1, 0.006), np.full(MOST + 1, 0.01), LIMIT)
    assert MOST in chosen(places, holds, both=True)
    assert holds[:, MOST].mean() > 2 * holds[:, 0].mean()


def test_where_nothing_is_uncertain_only_the_front_is_chosen() -> None:
    """What adds nothing costs the others power."""
    places = np.array([[-3.0, -0.1], [-2.0, -0.5], [-1.9, -0.4], [-1.0, -0.9]])
    assert sorted(chosen(places, always(4), both=True)) == [0, 1, 3]
    assert chosen(places, always(4), both=False) == [0]


def test_the_smallest_counts_even_where_it_is_as_slow_as_any() -> None:
    """Gains begin beyond the worst place, not at the baseline's."""
    places = np.array([[-3.0, 0.01], [-1.0, -0.5]])
    assert sorted(chosen(places, always(2), both=True)) == [0, 1]


def test_without_a_chance_the_front_is_looked_at_all_the_same() -> None:
    """So that one sees why nothing was confirmed."""
    places = np.array([[-3.0, -0.1], [-2.0, -0.5], [-1.9, -0.4]])
    assert sorted(chosen(places, ~always(3), both=True)) == [0, 1]


def test_scenarios_follow_the_interval() -> None:
    """Of a wide interval little is sure, of a narrow one all."""
    drops = np.array([0.0, 0.02])
    assert held(drops, np.full(2, 1e-9), np.full(2, 1e-9), LIMIT).tolist() == [[True, False]] * SCENARIOS
    wide = held(drops, np.full(2, 0.012), np.full(2, 0.02), LIMIT).mean(0)
    assert 0 < wide[1] < wide[0] < 1
