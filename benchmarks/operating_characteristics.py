# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""What the gate gets wrong, and how often: operating characteristics and coverage, simulated with the gate's own code.

Six timed budgets at once, log ratios of launch pairs with Student-t tails (3 degrees of freedom), at most 54 pairs:

- false FAIL: the true values of all six lie exactly at their limits
- FAIL: one of six lies 5 % beyond its limit, the other five 10 % within
- PASS: all six lie 5 % within their limits; the share of single budgets that pass, and of runs in which all six do

Coverage: how often a one-sided 5 % bound misses the truth (signed rank; Tango beside Newcombe).

    python benchmarks/operating_characteristics.py --runs 2000 --json figures.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# `benchmarks/gate.py` has the name of the package that is measured: this folder must not come first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np
from tabulate import tabulate

from weighbridge.gate.calibrate.simulate import Rates, heavy_tailed, run_gate
from weighbridge.gate.statistics.centre import SIGNED_RANK
from weighbridge.gate.statistics.looks import LOOKS
from weighbridge.gate.statistics.proportions import Pairs, newcombe_interval, tango_interval

LIMIT = 1.05
SPREADS = (0.015, 0.03, 0.06, 0.15)
BUDGETS = 6
# docs figures to reach: launch sd → (false FAIL, FAIL at L + 5 %, PASS with 5 % headroom)
BARS = {0.015: (0.01, 1.0, 1.0), 0.03: (0.01, 1.0, 1.0), 0.06: (0.01, 0.92, 0.997), 0.15: (0.01, 0.11, 0.47)}
TRUTHS = (
    ("even, 500", (0.88, 0.03, 0.02, 0.07), 500),
    ("even, 5,000", (0.88, 0.03, 0.02, 0.07), 5000),
    ("rare flips, 500", (0.92, 0.004, 0.002, 0.074), 500),
    ("lossy, 1,000", (0.80, 0.10, 0.01, 0.09), 1000),
)


def gate_runs(centres: list[float], sd: float, runs: int, generator: np.random.Generator) -> Rates:
    """Gate runs whose budgets have these true ratios."""
    simulated = [
        run_gate([heavy_tailed(c, sd)(generator, LOOKS[-1]).tolist() for c in centres], [LIMIT] * len(centres))
        for _ in range(runs)
    ]
    return Rates.of(simulated)


def characteristics(runs: int, generator: np.random.Generator) -> list[dict[str, float]]:
    """One row per launch sd."""
    rows = []
    for sd in SPREADS:
        at_limit = gate_runs([LIMIT] * BUDGETS, sd, runs, generator)
        beyond = gate_runs([LIMIT * 1.05] + [LIMIT * 0.9] * (BUDGETS - 1), sd, runs, generator)
        within = gate_runs([LIMIT / 1.05] * BUDGETS, sd, runs, generator)
        rows.append(
            {
                "launch_sd": sd,
                "false_fail": at_limit.failed / runs,
                "false_pass": at_limit.passed / runs,
                "fail_5_beyond": beyond.failed / runs,
                "pass_5_beyond": beyond.passed / runs,
                "pairs_to_fail": beyond.mean_pairs,
                "pass_5_within": within.budgets_passed,
                "all_six_pass": within.passed / runs,
                "pairs_to_pass": within.mean_pairs,
            }
        )
    return rows


def coverage(runs: int, generator: np.random.Generator) -> list[dict[str, float | str]]:
    """How often one-sided 5 % bounds miss; 0.05 is what they say."""
    rows: list[dict[str, float | str]] = []
    for pairs in LOOKS:
        draws = heavy_tailed(1.0, 0.03)
        missed = sum(SIGNED_RANK.lower(draws(generator, pairs).tolist(), 0.05) > 0 for _ in range(runs))
        rows.append({"interval": "signed rank", "case": f"{pairs} pairs", "missed": missed / runs})
    for name, truth, total in TRUTHS:
        drop = truth[1] - truth[2]
        found = [Pairs(*map(int, cells)) for cells in generator.multinomial(total, truth, size=runs)]
        for method, interval in (("Tango", tango_interval), ("Newcombe", newcombe_interval)):
            missed = sum(interval(pairs, 0.05, 0.05)[1] < drop for pairs in found)
            rows.append({"interval": method, "case": name, "missed": missed / runs})
    return rows


def bars(rows: list[dict[str, float]], runs: int) -> list[dict[str, float | str | bool]]:
    """Each figure beside the one to reach; shares may fall short by three standard errors of the simulation."""
    checks: list[dict[str, float | str | bool]] = []
    for row in rows:
        false_fail, power, headroom = BARS[row["launch_sd"]]
        for name, found, bar, above in (
            ("false FAIL at the limit", row["false_fail"], false_fail, False),
            ("FAIL at limit + 5 %", row["fail_5_beyond"], power, True),
            ("PASS with 5 % headroom", row["pass_5_within"], headroom, True),
        ):
            slack = 3 * (max(bar * (1 - bar), 1 / runs) / runs) ** 0.5
            met = found >= bar - slack if above else found <= bar + slack
            checks.append({"bar": name, "launch_sd": row["launch_sd"], "found": found, "wanted": bar, "met": met})
    return checks


def main() -> None:
    """Print both tables and the bars; write them with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    rows = characteristics(arguments.runs, generator)
    covered = coverage(arguments.runs, generator)
    checks = bars(rows, arguments.runs)
    for table in (rows, covered, checks):
        print(tabulate(table, headers="keys", tablefmt="github", floatfmt=".4g"), end="\n\n")
    if arguments.json:
        named = {
            f"{check['bar']}, launch sd {check['launch_sd']}": {
                "value": check["found"],
                "target": check["wanted"],
                "met": check["met"],
            }
            for check in checks
        }
        figures = {"runs": arguments.runs, "seed": arguments.seed, "rows": rows, "coverage": covered, "bars": named}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
