# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""What docs/adr/0032-a-fifth-of-the-promise.md chose between: three tables, simulated, the third from launches.

    python benchmarks/deciding.py --runs 2000 --recorded gate-figures.json      # the file that benchmarks/gate.py wrote

1. *Spending*: FAIL's error at 1 % in equal steps, and at 0.2 % with half of it at the first look. Six budgets exactly
   at their limits (false fail), and one of six 5 % beyond (found, mean pairs); Student's t, three degrees of freedom.
2. *Controls*: bounds of the three values that every fourth of ten launches gives, and of six at one-sided 5 %. How
   often a fit machine is called unfit at the first look, and how often a bias is seen there.
3. *Memory*: recorded launch pairs of a model against itself, moved by so much, at a limit of 1.0, without and with a
   grain.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# `benchmarks/gate.py` has the name of the package that is measured: the repository must come first, this folder not.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.gating.models import ITSELF
from weighbridge.gate.calibrate.simulate import Rates, resample
from weighbridge.gate.statistics import LAUNCH_ALPHA, LOOKS, PASS_ALPHA, SIGNED_RANK
from weighbridge.gate.statistics.looks import FAIL_SHARES, PASS_SHARES, controls_due
from weighbridge.gate.verdict.launch_metrics import MEMORY_GRAIN
from weighbridge.gate.verdict.validity import NULL_ALPHA

Floats = NDArray[np.float64]
RULES: dict[str, tuple[float, Mapping[int, float]]] = {
    "1 %, equal steps": (0.01, PASS_SHARES),
    "0.2 %, half first": (LAUNCH_ALPHA, FAIL_SHARES),
}
SPREADS = (0.015, 0.03, 0.06, 0.15)
BUDGETS, BIASES, RESOLUTION = 6, (0.0, 0.05, 0.10), 0.05
MOVED = (0.0, 1e-4, 3e-4)


def tails(rng: np.random.Generator, count: int, sd: float) -> Floats:
    """Student's t with three degrees of freedom, scaled."""
    return sd / math.sqrt(3) * rng.standard_t(3, count)


def p_values(values: Floats) -> tuple[list[float], list[float]]:
    """At every look: of "at most zero" and of "at least zero". The ranks, without ties, of `SIGNED_RANK`."""
    above, below = [], []
    for look in LOOKS:
        ranks = np.abs(values[:look]).argsort().argsort() + 1
        negative = int(ranks[values[:look] < 0].sum())
        total = np.cumsum(SIGNED_RANK.distribution(look))
        above.append(float(total[negative]))
        below.append(float(total[look * (look + 1) // 2 - negative]))
    return above, below


def one_gate(centres: list[float], sd: float, rng: np.random.Generator, rule: str) -> tuple[str, int]:
    """Verdict and pairs of one gate run; the smallest p-value alone decides whether Holm's procedure fails any."""
    alpha, shares = RULES[rule]
    weights = np.array([shares[look] for look in LOOKS])
    drawn = [p_values(centre + tails(rng, LOOKS[-1], sd)) for centre in centres]
    fail = np.minimum.accumulate(np.array([above for above, _ in drawn]) / weights, axis=1)
    within = np.minimum.accumulate(np.array([below for _, below in drawn]), axis=1) <= PASS_ALPHA / len(LOOKS)
    for index, look in enumerate(LOOKS):
        if fail[:, index].min() <= alpha / len(centres):
            return "fail", look
        if within[:, index].all():
            return "pass", look
    return "inconclusive", LOOKS[-1]


def spending(runs: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Table 1."""
    rows: list[dict[str, object]] = []
    for sd in SPREADS:
        row: dict[str, object] = {"launch sd": sd}
        for rule in RULES:
            at_limit = [one_gate([0.0] * BUDGETS, sd, rng, rule)[0] for _ in range(runs)]
            beyond = [math.log(1.05), *[math.log(0.9)] * (BUDGETS - 1)]
            found = [one_gate(beyond, sd, rng, rule) for _ in range(runs // 4)]
            row[f"{rule}: false fail"] = at_limit.count("fail") / runs
            row[f"{rule}: found"] = sum(verdict == "fail" for verdict, _ in found) / len(found)
            row[f"{rule}: pairs"] = float(np.mean([pairs for _, pairs in found]))
        rows.append(row)
    return rows


def unfit(values: Floats, least: int, alpha: float) -> bool:
    """Whether bounds of baseline against baseline lie wholly beyond half the resolution."""
    if len(values) < least:
        return False
    level, band = max(alpha, 0.5 ** len(values)), math.log1p(RESOLUTION / 2)
    return SIGNED_RANK.lower(values.tolist(), level) > band or SIGNED_RANK.upper(values.tolist(), level) < -band


def controls(runs: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Table 2."""
    six = controls_due(LOOKS[0])
    rules = {"three values": (3, 3, 0.025), f"{six} values": (six, six, NULL_ALPHA)}
    rows: list[dict[str, object]] = []
    for sd in SPREADS:
        for bias in BIASES:
            row: dict[str, object] = {"launch sd": sd, "bias": bias}
            for name, (taken, least, alpha) in rules.items():
                row[name] = sum(unfit(bias + tails(rng, taken, sd), least, alpha) for _ in range(runs)) / runs
            rows.append(row)
    return rows


def memory(path: Path, runs: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Table 3."""
    found = [each[ITSELF] for each in json.loads(path.read_text())["seen"]["launches"]]
    values = np.array([each["log_ratio"]["memory.peak"] for each in found])
    values -= np.median(values)
    grain = math.log1p(MEMORY_GRAIN / float(np.median([each["memory"]["baseline"] for each in found])))
    rows: list[dict[str, object]] = []
    for moved in MOVED:
        row: dict[str, object] = {"moved by": f"{moved:.2%}", "runs": runs, "recorded pairs": len(values)}
        for name, blur in (("false fail, no grain", 0.0), ("false fail, with the grain", grain)):
            row[name] = Rates.of(resample([(values + moved).tolist()], runs, [1.0], rng, grains=[blur])).failed
        rows.append(row)
    return rows


def main() -> None:
    """Print the tables; write them with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument(
        "--recorded", type=Path, help="what benchmarks/gate.py wrote; the third table is left out without"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(9)
    tables = {"spending": spending(arguments.runs, rng), "controls": controls(arguments.runs, rng)}
    if arguments.recorded:
        tables["memory"] = memory(arguments.recorded, 473, rng)
    for rows in tables.values():
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4g"), end="\n\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({"runs": arguments.runs, "rows": tables, "bars": {}}, indent=2) + "\n")


if __name__ == "__main__":
    main()
