"""The intervals of the gate: against published tables, and how often they miss in simulation."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.gating.rows import Row, below
from benchmarks.operating_characteristics import coverage
from weighbridge.gate.statistics import SIGNED_RANK, hodges_lehmann
from weighbridge.gate.statistics.proportions import Pairs, newcombe_interval, tango_interval, tango_z

CRITICAL = {
    6: 0,
    7: 2,
    8: 3,
    9: 5,
    10: 8,
    11: 10,
    12: 13,
    13: 17,
    14: 21,
    15: 25,
    16: 29,
    17: 34,
    18: 40,
    20: 52,
    25: 89,
}
"""Wilcoxon's signed-rank test, two-sided 5 %: largest T that rejects, from the published table."""
DEPRESSION = (0.952, -0.147, 1.022, 0.430, 0.620, 0.590, 0.490, -0.080, 0.010)
"""Hollander and Wolfe, table 3.1: estimate 0.46, 95 % interval 0.010 to 0.786."""
SLACK = 3.0
"""Standard errors of the simulation that a share may lie above what the interval says."""


def rows(runs: int) -> list[Row]:
    """Published values that come out otherwise, and shares of bounds that miss."""
    return [*published(), *simulated(runs)]


def published() -> list[Row]:
    """Numbers that the literature prints."""
    wrong = 0
    for count, critical in CRITICAL.items():
        mass = np.cumsum(SIGNED_RANK.distribution(count))
        wrong += not mass[critical] <= 0.025 < mass[critical + 1]
    expected = [
        (hodges_lehmann(DEPRESSION), 0.46, 1e-9),
        (SIGNED_RANK.lower(DEPRESSION, 0.025), 0.010, 1e-9),
        (SIGNED_RANK.upper(DEPRESSION, 0.025), 0.786, 1e-9),
    ]
    signed = sum(not math.isclose(found, told, abs_tol=slack) for found, told, slack in expected)
    lenses, sleep, airways = Pairs(43, 0, 1, 0), Pairs(10, 9, 3, 10), Pairs(1, 1, 7, 12)
    told = [
        (tango_z(lenses, -0.1), 1.709), (tango_interval(lenses, 0.05, 0.05)[0], -0.096),
        *zip(tango_interval(sleep, 0.025, 0.025), (-0.027, 0.390), strict=True),
        *zip(tango_interval(airways, 0.025, 0.025), (-0.517, -0.026), strict=True),
        *zip(newcombe_interval(airways, 0.025, 0.025), (-0.507, -0.026), strict=True),
    ]  # fmt: skip
    paired = sum(abs(found - expected) > 5e-4 for found, expected in told)
    return [
        Row("signed_rank_differs_from_published_table", wrong + signed, len(CRITICAL) + len(expected), "0",
            wrong + signed == 0, "critical values for 6 to 25 pairs; Hollander and Wolfe, table 3.1"),
        Row("tango_differs_from_published_examples", paired, len(told), "0", paired == 0,
            "Tango 1998, 6.1 and 6.2; Bentur et al. 2009; Newcombe's method 10 beside it"),
    ]  # fmt: skip


def simulated(runs: int) -> list[Row]:
    """One-sided 5 % bounds: how often the truth lies beyond."""
    allowed = 0.05 + SLACK * math.sqrt(0.05 * 0.95 / runs)
    found = []
    for each in coverage(runs, np.random.default_rng(5)):
        kind, case = str(each["interval"]), str(each["case"])
        name = f"{kind} {case}".replace(",", "").replace(" ", "_").lower()
        share = float(each["missed"])
        if kind == "Newcombe":
            found.append(Row(f"one_sided_5_percent_bound_misses_{name}", share, runs, note="for comparison"))
        else:
            found.append(below(f"one_sided_5_percent_bound_misses_{name}", share, round(allowed, 4), runs))
    return found
