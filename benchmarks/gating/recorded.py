"""Launch pairs, taken once and drawn again into gate runs by the code that decides real ones.

Limits are `max_ratio: 1.0` throughout: a model against itself is exactly at its limit, where a gate must not fail it,
and a slower or greedier copy is beyond it by its excess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.gating.models import GREEDIER, ITSELF, SLOWER, Models, ballasts, launch
from benchmarks.gating.rows import Row, at_least, at_most
from benchmarks.gating.store import Store
from weighbridge.core.documents import Verdict
from weighbridge.gate.calibrate.simulate import Rates, resample, simulate
from weighbridge.gate.statistics import LOOKS
from weighbridge.gate.verdict.launch_metrics import MEMORY_GRAIN

METRICS = ("latency.p50", "latency.p95", "latency.p99", "cold_start", "memory.peak")
HEADROOM = (1.05, 1.5, 2.0, 2.0, 1.05)
"""Limits that the model against itself holds with room, by metric."""
MANY = 5
"""So many times the runs of the bar, for an estimate of the rate itself."""
Seen = Mapping[str, Any]


def record(store: Store, models: Models, launches: int, copies: int) -> None:
    """Take launch pairs, copies between those of the model against itself, so that all see the same machine."""
    every = max(1, launches // copies)

    def take(number: int) -> dict[str, Any]:
        found = {ITSELF: _pair(models, models.itself, frozenset(METRICS), number)}
        if number % every == 0 and number // every < copies:
            for name, path in models.slower.items():
                if name != ITSELF:
                    found[name] = _pair(models, path, frozenset(METRICS), number)
        return found

    store.collect("launches", launches, take)


def record_memory(store: Store, models: Models, copies: int) -> None:
    """Take launch pairs of the greedier copies, for memory alone."""
    sizes = store.collect("ballasts", 1, lambda _: ballasts(models))[0]

    def take(number: int) -> dict[str, Any]:
        metric = frozenset({"memory.peak"})
        return {name: _pair(models, models.greedier(sizes[name]), metric, number) for name in GREEDIER}

    store.collect("memory", copies, take)


def _pair(models: Models, candidate: Any, metrics: frozenset[str], number: int) -> dict[str, Any]:
    taken = launch(models.itself, candidate, metrics, [7, number])
    return {
        "log_ratio": {metric: taken.log_ratios[metric]["candidate", "baseline"] for metric in metrics},
        "memory": taken.values["memory.peak"],
    }


def rows(seen: Seen, runs: int) -> list[Row]:
    """Everything that recorded launches say."""
    found = [each[ITSELF] for each in seen["launches"]]
    table = [[each["log_ratio"][metric] for each in found] for metric in METRICS]
    blurs = [_grain(found) if metric == "memory.peak" else 0.0 for metric in METRICS]
    rng = np.random.default_rng(3)
    result = [*at_limit(table, blurs, runs, rng), *headroom(table, blurs, runs, rng)]
    for name in SLOWER:
        taken = [each[name]["log_ratio"]["latency.p50"] for each in seen["launches"] if name in each]
        if name != ITSELF and taken:
            result.append(_detected(f"slower_{word(name)}", taken, 0.0, runs, rng))
    for name in GREEDIER:
        taken = [each[name]["log_ratio"]["memory.peak"] for each in seen.get("memory", [])]
        if taken:
            result.append(_detected(f"greedier_{word(name)}", taken, _grain(found), runs, rng))
    spread = [100 * float(np.std(values, ddof=1)) for values in table]
    result += [
        Row(f"launch_sd_percent_{metric}", round(sd, 3), len(found), note="a model against itself")
        for metric, sd in zip(METRICS, spread, strict=True)
    ]
    return result


def at_limit(table: list[list[float]], blurs: list[float], runs: int, rng: np.random.Generator) -> list[Row]:
    """A model against itself with every budget at `max_ratio: 1.0`: nothing may fail."""
    ones = [1.0] * len(table)
    swapped = resample(table, runs, ones, rng, grains=blurs, swap=True)
    plain = resample(table, runs, ones, rng, grains=blurs)
    many = resample(table, MANY * runs, ones, rng, grains=blurs, swap=True)
    blamed = [sum(one.verdicts[index] is Verdict.FAIL for one in plain) for index in range(len(table))]
    by_metric = dict(zip(METRICS, blamed, strict=True))
    note = f"{len(table[0])} recorded pairs; names of the two processes drawn by a coin"
    failed = [Rates.of(simulated).failed for simulated in (swapped, plain, many)]
    allowed = max(0, math.floor(runs / 473 + 1e-9))
    return [
        Row("aa_at_limit_false_fail", failed[0], runs, f"<= {allowed}", failed[0] <= allowed, note),
        at_most("aa_at_limit_false_fail_as_recorded", failed[1], runs, 0.01,
                f"a chance offset of the recording is a true effect here; by metric {by_metric}"),
        at_most("aa_at_limit_false_fail_many_runs", failed[2], MANY * runs, 0.01,
                f"a rate of {failed[2] / (MANY * runs):.2%}"),
    ]  # fmt: skip


def headroom(table: list[list[float]], blurs: list[float], runs: int, rng: np.random.Generator) -> list[Row]:
    """The same with room: nothing may fail, and the median latency must pass."""
    within = Rates.of(resample(table, runs, HEADROOM, rng, grains=blurs))
    single = Rates.of(resample(table[:1], runs, [1.05], rng))
    return [
        at_most("aa_with_headroom_false_fail", within.failed, runs, 0.01,
                f"{within.passed} pass, {within.inconclusive} inconclusive"),
        at_least("aa_latency_5_percent_headroom_pass", single.passed, runs, 0.95,
                 f"after {single.mean_pairs:.1f} pairs on average"),
    ]  # fmt: skip


def _detected(name: str, taken: list[float], grain: float, runs: int, rng: np.random.Generator) -> Row:
    """Gate runs that fail a true excess. Few recorded launches are drawn with replacement."""
    if len(taken) >= LOOKS[-1]:
        rates = Rates.of(resample([taken], runs, [1.0], rng, grains=[grain]))
    else:
        values = np.asarray(taken) - grain  # a limit that is blurred by the grain lies higher by it
        rates = simulate(runs, lambda generator, count: generator.choice(values, count), [1.0], rng)
    note = f"read as {math.exp(float(np.median(taken))):.3f}; found after {rates.mean_pairs:.1f} pairs on average"
    return at_least(f"{name}_fail_found", rates.failed, runs, 0.95, f"{note}; {len(taken)} recorded pairs")


def _grain(found: list[dict[str, Any]]) -> float:
    return math.log1p(MEMORY_GRAIN / float(np.median([each["memory"]["baseline"] for each in found])))


def word(name: str) -> str:
    """`+5 %` as part of an identifier."""
    return f"{name.strip('+ %')}_percent"
