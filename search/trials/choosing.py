"""Which trials are worth confirming: those whose gain is likely to stand on examples that nothing was chosen by.

What a trial lost on the part that stops trials is uncertain, and of many the boldest are there partly by luck. Where
all that is confirmed lies at the limit, all of it may fail. So that the choice is by the gain that can be expected:
scenarios are drawn of what each would lose, and trials are taken one by one that add most over all scenarios.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.pareto import front, hypervolume
from weighbridge.search.trials.objectives import place
from weighbridge.search.trials.trial import REACH, Outcome, Workshop

MOST = 8
"""Recipes that are looked at: each costs the others some of their power."""
SCENARIOS = 100
SEED = 139
"""Of the scenarios: the same trials are chosen whenever they are looked at."""
LEAST = 1.003
"""What one more look must raise the expectation by, once there is any: it costs the others power."""
MARGIN = 0.1
"""How far from the worst place, in logarithms, gains begin: what is worst in one respect may be best in another."""

Numbered = tuple[int, Outcome]
Array = NDArray[Any]


def contenders(tried: Sequence[Numbered], workshop: Workshop, goal: str | None) -> list[Numbered]:
    """Up to `MOST` of the trials that keep every budget, by place: those that together promise most."""
    base = workshop.base_sizes.bytes
    kept = [item for item in tried if item[1].ended == "whole" and workshop.constraint(item[1]) <= 0]
    unique = {item[1].last.digest: item for item in sorted(kept, key=lambda item: -item[0])}
    expected = {number: workshop.expected(outcome) for number, outcome in unique.values()}

    def at(item: Numbered) -> tuple[float, ...]:
        return place(item[1], goal, base, expected[item[0]].drop)

    useful = front(list(unique.values()), lambda item: (*at(item), expected[item[0]].drop))
    ordered = sorted(useful, key=at)
    if not ordered:
        return []
    drops, spreads = np.array([[expected[number].drop, expected[number].spread] for number, _ in ordered]).T
    reach = np.array([item[1].last.upper - item[1].last.drop for item in ordered])
    holds = held(drops, spreads, reach, workshop.limit)
    return [ordered[index] for index in sorted(chosen(np.array(list(map(at, ordered))), holds, both=goal is None))]


def held(drops: Array, spreads: Array, reach: Array, limit: float) -> Array:
    """(scenarios, trials): whether a trial would be shown to keep the limit.

    `drops` are expected ones, `spreads` what they may be wrong by, as standard deviations; `reach` is from a drop to
    its upper bound on as many examples as confirm. A scenario adds an error to each, and what the part that confirms
    is wrong by: mostly the baseline's own luck there, the same for all.
    """
    rng = np.random.default_rng(SEED)
    luck, errors = rng.standard_normal((SCENARIOS, 1)), rng.standard_normal((SCENARIOS, len(drops)))
    return np.asarray(drops + spreads * errors + reach * (luck / REACH + 1) <= limit)


def chosen(places: Array, holds: Array, *, both: bool) -> list[int]:
    """Indices of up to `MOST` trials, each the one that adds most over all scenarios to what is chosen already: to the
    area of both respects, or to the best in the first. Then what is on the front, best first.

    `places` (trials, 2): smaller is better.
    """
    gains = places.max(0) + MARGIN - places
    on_front = set(front(range(len(places)), lambda index: tuple(places[index])))

    def worth(indices: Sequence[int]) -> float:
        total = 0.0
        for scenario in holds:
            standing = [gains[index] for index in indices if scenario[index]]
            if both:
                total += hypervolume([(float(x), float(y)) for x, y in standing])
            else:
                total += max((float(x) for x, _ in standing), default=0.0)
        return total

    found: list[int] = []
    reached = 0.0
    while len(found) < min(MOST, len(places)):
        left = [index for index in range(len(places)) if index not in found]
        worths = {index: worth([*found, index]) for index in left}
        best = max(left, key=lambda index: (worths[index], index in on_front, -index))
        if worths[best] < reached * LEAST or (worths[best] <= reached and best not in on_front):
            break
        found.append(best)
        reached = worths[best]
    return found


__all__ = ["MOST", "chosen", "contenders", "held"]
