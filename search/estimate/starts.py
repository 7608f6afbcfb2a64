"""Starting points along the front: an additive model of single choices, solved as an integer programme.

One binary variable per value of a knob; damage is what is minimised, log bytes and log time are bounded. Effects of
choices do not add up, but their order is right often enough to start from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from weighbridge.search.estimate.sensitivity import Effect
from weighbridge.search.problem.space import Value

LEVELS = (0.75, 0.5, 0.25, 0.1, 0.03)
"""Parts of the baseline's bytes that are asked for; of its time the first three, where bytes are asked for, too."""
TIMES = (0.6, 0.45, 0.35, 0.25, 0.18)
"""Parts of the baseline's time where nothing else is asked for: the least that a space can have is often not far below
a third, as what is not computing does not shrink.
"""
BOTH = ((0.02, 0.3), (0.05, 0.25), (0.03, 0.4), (0.015, 0.35), (0.1, 0.3), (0.05, 0.4))
"""The same of bytes and time together, first what is likely to dominate most: a short search gets no further. Choices
together save less than each by itself: files come to about one and a half times the bytes and the time that are asked.
"""
MOST = 12


def starting_points(effects: Sequence[Effect], *, size: bool, time: bool) -> list[dict[str, Value]]:
    """Up to a dozen points: the least damage at each level of both bytes and time, of bytes, and of time."""
    finite = [item for item in effects if math.isfinite(item.damage)]
    asked: list[tuple[float, float]] = list(BOTH) if size and time else []
    asked += [(level, math.inf) for level in reversed(LEVELS)] if size else []
    asked += [(math.inf, level) for level in reversed(LEVELS[:3] if size else TIMES)] if time else []
    found: list[dict[str, Value]] = []
    for level in asked:
        point = solve(finite, *(math.log(part) if math.isfinite(part) else math.inf for part in level))
        if point is not None and point not in found:
            found.append(point)
    return found[:MOST]


def solve(effects: Sequence[Effect], bytes_at_most: float, time_at_most: float) -> dict[str, Value] | None:
    """The values with the least damage within log bounds; None where no choice of values keeps them."""
    knobs = list(dict.fromkeys(item.knob for item in effects))
    one_each = np.array([[float(item.knob == knob) for item in effects] for knob in knobs])
    rows, upper = [], []
    for values, bound in (([e.bytes for e in effects], bytes_at_most), ([e.time for e in effects], time_at_most)):
        if math.isfinite(bound):
            rows.append(values)
            upper.append(bound)
    constraints = [LinearConstraint(one_each, 1, 1)]
    if rows:
        constraints.append(LinearConstraint(np.array(rows), -np.inf, np.array(upper)))
    damage = np.array([item.damage for item in effects])
    # A trace of the bytes: of two points that do as little harm, the smaller.
    weights = damage + 1e-6 * np.array([item.bytes for item in effects])
    result = milp(weights, constraints=constraints, integrality=np.ones(len(effects)), bounds=Bounds(0, 1))
    if not result.success:
        return None
    return {item.knob: item.value for item, taken in zip(effects, result.x, strict=True) if taken > 0.5}


__all__ = ["solve", "starting_points"]
