"""Canaries under the plan of docs/howto/canary.md, through the code that judges them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.watching.drawn_traffic import BAD, GOOD, SLICE, START, WITHIN, Generator, Traffic, class_shares, row
from weighbridge.registry.canary.canary_judge import ABORT_ALPHA, Action, decide
from weighbridge.registry.canary.limit_findings import ADVANCE_ALPHA, finding_of
from weighbridge.registry.canary.telemetry import Arm, Observed
from weighbridge.registry.state.records import Canary, CanaryPlan
from weighbridge.registry.trust.online_budgets import OnlineBudget

ROOT = Path(__file__).resolve().parents[2]
EVERY = 100
"""Canary requests between two looks."""
_SUMMED = ("requests", "judged", "errors", "labelled", "right", "predictions")
AT_LIMIT = {
    "error_rate": replace(GOOD, errors=GOOD.errors + 0.005),
    "accuracy": replace(GOOD, right=GOOD.right - 0.02, dark=GOOD.dark - 0.02),
    "slice_accuracy": replace(GOOD, dark=GOOD.dark - 0.15),
    "drift": replace(GOOD, skewed=0.1 / 0.9),
}
"""By budget of the plan that compares with stable."""


def documented() -> dict[str, Any]:
    """The plan that docs/howto/canary.md shows."""
    text = (ROOT / "docs/howto/canary.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found is not None
    plan: dict[str, Any] = yaml.safe_load(found[1])["canary"]
    return plan


PLAN = documented()
BUDGETS = [OnlineBudget.model_validate(budget) for budget in PLAN["budgets"]]
STEPS = [float(step) for step in PLAN["steps"]]


def add(arm: Arm, traffic: Traffic, n: int, random: Generator, *, shadow: Traffic | None = None) -> None:
    """Count `n` more requests; of a canary's, as many are shadowed, which stable answers as `shadow` says."""
    dark = random.binomial(n, SLICE)
    right = [random.binomial(dark, traffic.dark), random.binomial(n - dark, traffic.right)]
    arm.requests += n
    arm.judged += n
    arm.labelled += n
    arm.errors += random.binomial(n, traffic.errors)
    arm.right += sum(right)
    for name, seen, good in (("dark", dark, right[0]), ("bright", n - dark, right[1])):
        before = arm.slices.get(name, (0, 0))
        arm.slices[name] = (before[0] + seen, before[1] + good)
    threshold = next(budget.threshold for budget in BUDGETS if budget.threshold)
    arm.timed[threshold] = arm.timed.get(threshold, 0) + n
    arm.slow[threshold] = arm.slow.get(threshold, 0) + random.binomial(n, traffic.slow)
    for place, count in enumerate(random.multinomial(n, class_shares(traffic))):
        arm.predictions[str(place)] += int(count)
    if shadow is not None:
        only_stable = random.binomial(n, _loss(traffic, shadow) + traffic.other / 4)
        only_canary = random.binomial(n - only_stable, traffic.other / 4)
        arm.compared += n
        arm.paired += n
        arm.only_stable += only_stable
        arm.only_canary += only_canary
        arm.different += min(n, only_stable + only_canary + random.binomial(n, traffic.other / 2))


def _loss(traffic: Traffic, before: Traffic) -> float:
    return (1 - SLICE) * max(0.0, before.right - traffic.right) + SLICE * max(0.0, before.dark - traffic.dark)


def rollout(worse: Traffic, random: Generator, most: int, *, slowly: bool = False) -> tuple[int, Action]:
    """After how many canary requests it is aborted, or becomes stable, or is held still."""
    plan = CanaryPlan(steps=STEPS, min_samples=PLAN["min_samples"], min_seconds=0, budgets=PLAN["budgets"])
    moment, digest, total, before = START.strftime("%Y-%m-%dT%H:%M:%SZ"), "sha256:" + 64 * "a", 0, Arm()
    for step, weight in enumerate(STEPS):
        fields = {"version": "v3", "digest": digest, "record": digest, "since": moment, "event": 3}
        canary = Canary(**fields, weight=weight, step=step, step_since=moment, plan=plan)
        seen, stable = Arm(), before if weight >= 100 else Arm()
        while total < most:
            add(seen, GOOD.between(worse, total / WITHIN if slowly else 1.0), EVERY, random, shadow=GOOD)
            if weight < 100:
                add(stable, GOOD, round(EVERY * (100 - weight) / weight), random)
            total += EVERY
            action = decide(canary, BUDGETS, Observed(seen, stable, "simulated"), START + timedelta(hours=1)).action
            if action is Action.ABORT:
                return total, action
            if action is Action.ADVANCE:
                break
        else:
            return total, Action.HOLD
        before = both(before, stable)
    return total, Action.ADVANCE


def both(first: Arm, second: Arm) -> Arm:
    """The counts of two stretches of time together: all that the compared budgets read."""
    sums: dict[str, Any] = {key: value + getattr(second, key) for key, value in vars(first).items() if key in _SUMMED}
    for key in ("timed", "slow"):
        mine, other = getattr(first, key), getattr(second, key)
        sums[key] = {threshold: mine.get(threshold, 0) + other.get(threshold, 0) for threshold in {*mine, *other}}
    none = (0, 0)
    pairs = {k: (first.slices.get(k, none), second.slices.get(k, none)) for k in {*first.slices, *second.slices}}
    return Arm(**sums, slices={k: (one[0] + two[0], one[1] + two[1]) for k, (one, two) in pairs.items()})


def limit(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Canaries exactly at one limit, or as little beyond it as counts can be: how often one is ever called kept."""
    for metric, worst in AT_LIMIT.items():
        random, called = np.random.default_rng(6), 0
        budget = next(budget for budget in BUDGETS if budget.metric == metric)
        for number in range(options.limit):
            seen, stable, weight = Arm(), Arm(), STEPS[number % (len(STEPS) - 1)]
            for _ in range(options.most // EVERY):
                add(seen, worst, EVERY, random, shadow=GOOD)
                add(stable, GOOD, round(EVERY * (100 - weight) / weight), random)
                if finding_of(budget, Observed(seen, stable, "simulated"), ABORT_ALPHA).state == "within":
                    called += 1
                    break
        yield row(
            f"at its limit, {metric}: ever called kept", called / options.limit, "share", ADVANCE_ALPHA, least=False
        )


def bad(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Five kinds of bad canary."""
    for kind, worse in BAD.items():
        random = np.random.default_rng(1)
        runs = [rollout(worse, random, WITHIN, slowly=kind == "slowly drifting") for _ in range(options.bad)]
        caught = [total for total, action in runs if action is Action.ABORT]
        yield row(f"bad canary, {kind}: aborted", len(caught) / len(runs), "share", 0.95)
        yield row(
            f"bad canary, {kind}: requests until then, median",
            float(np.median(caught) if caught else np.nan),
            "requests",
        )


def good(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Canaries that are no worse."""
    random = np.random.default_rng(2)
    runs = [rollout(GOOD, random, options.most) for _ in range(options.good)]
    ends = [action for _, action in runs]
    yield row("good canary: aborted", ends.count(Action.ABORT) / len(runs), "share", 0.01, least=False)
    yield row("good canary: became stable", ends.count(Action.ADVANCE) / len(runs), "share")
    yield row("good canary: requests of its own, median", float(np.median([total for total, _ in runs])), "requests")
