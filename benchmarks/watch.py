# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""Canaries and stable versions, simulated, through the code that judges them: what is caught, how soon, what falsely.

    python benchmarks/watch.py --json watch.json             # all of it: minutes on one core
    python benchmarks/watch.py --only bad good               # some sections

1. *bad*: five kinds of bad canary under the plan of docs/howto/canary.md, a look every `EVERY` canary requests: aborted
   within 2,000 canary requests, over all steps.
2. *good*: canaries that answer as stable does, through the whole plan: aborted at any look.
3. *planted*: a stable version that gets worse a day after its reference window: an alarm within `PATIENCE` days.
4. *quiet*: months of a stable version that does not change, one request a second, a look an hour: alarms of the bounds.
5. *detectors*: the same for the detectors of change, on the streams that a log has.

Requests are drawn from one distribution, as counts; seeds are fixed. Exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "benchmarks"]
sys.path.insert(0, str(ROOT))

from weighbridge.registry.canary.canary_judge import Action, decide
from weighbridge.registry.canary.telemetry import Arm, Observed
from weighbridge.registry.state.records import Canary, CanaryPlan
from weighbridge.registry.trust.online_budgets import OnlineBudget
from weighbridge.registry.trust.watch_policy import WatchSection
from weighbridge.registry.watch.findings import shifts
from weighbridge.registry.watch.logged_traffic import LONGEST
from weighbridge.registry.watch.reference_traffic import CONFIDENCES, Counts, ReferenceWindow
from weighbridge.registry.watch.seen_requests import Seen
from weighbridge.registry.watch.stream_detectors import BLOCK, Detectors

Generator = np.random.Generator
SECTIONS = ("bad", "good", "planted", "quiet", "detectors")
CLASSES, SLICE = 10, 0.1
"""Classes, and the share of the requests that belong to the slice `dark`."""
EVERY, WITHIN = 100, 2000
HOUR, DAY, MONTH = 3600, 86_400, 30 * 86_400
LABELLED = 0.1
"""Share of the requests of a stable version that get a label."""
PATIENCE = 7
POLICY = WatchSection(min_labels=2000)
"""As docs/howto/watch.md has it: the reference window grows until it has so many labels."""
START = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Traffic:
    """How a version answers: shares of its requests."""

    errors: float = 0.002
    slow: float = 0.03
    right: float = 0.9
    dark: float = 0.9
    """Right answers in the slice."""
    other: float = 0.02
    """Shadowed answers that differ from stable's, beside those that are wrong where stable is right."""
    skewed: float = 0.0
    """Share of the answers that are class 0 whatever the request."""
    unsure: float = 0.0
    """Share of the requests whose confidence is two bins lower."""
    moved: float = 0.0
    """Share of the requests whose input lies in the highest tenth."""

    def between(self, worse: Traffic, share: float) -> Traffic:
        """Part of the way to a worse one."""
        return Traffic(**{k: v + share * (vars(worse)[k] - v) for k, v in vars(self).items()})


GOOD = Traffic()
BAD = {
    "errors": replace(GOOD, errors=0.03),
    "slow": replace(GOOD, slow=0.12),
    "wrong on a slice": replace(GOOD, dark=0.4),
    "another file": Traffic(right=0.1, dark=0.1, other=0.2, skewed=0.3),
    "slowly drifting": replace(GOOD, right=0.6, dark=0.6),
}
"""The last is reached step by step, over all of the `WITHIN` requests."""
PLANTED = {
    "accuracy": replace(GOOD, right=0.8, dark=0.8),
    "a slice": replace(GOOD, dark=0.6),
    "failures": replace(GOOD, errors=0.042),
    "slow requests": replace(GOOD, slow=0.45),
    "classes": replace(GOOD, skewed=0.5),
    "confidence": replace(GOOD, unsure=0.8),
    "inputs": replace(GOOD, moved=0.5),
    "accuracy, slowly": replace(GOOD, right=0.75, dark=0.75),
}
"""About twice the limit. The last is reached over a day."""


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
    for place, count in enumerate(random.multinomial(n, _classes(traffic))):
        arm.predictions[str(place)] += int(count)
    if shadow is not None:
        only_stable = random.binomial(n, _loss(traffic, shadow) + traffic.other / 4)
        only_canary = random.binomial(n - only_stable, traffic.other / 4)
        arm.compared += n
        arm.paired += n
        arm.only_stable += only_stable
        arm.only_canary += only_canary
        arm.different += min(n, only_stable + only_canary + random.binomial(n, traffic.other / 2))


def _classes(traffic: Traffic) -> list[float]:
    share = (1 - traffic.skewed) / CLASSES
    return [share + traffic.skewed, *[share] * (CLASSES - 1)]


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
        before = stable
    return total, Action.ADVANCE


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


def counted(traffic: Traffic, n: int, random: Generator) -> Counts:
    """Counts of `n` requests of a stable version."""
    labelled = random.binomial(n, LABELLED)
    dark = random.binomial(labelled, SLICE)
    right = random.binomial(dark, traffic.dark), random.binomial(labelled - dark, traffic.right)
    usual = np.array([0.02, 0.03, 0.05, 0.07, 0.13, 0.2, 0.2, 0.3])
    sure = usual * (1 - traffic.unsure) + np.append(usual[2:], (0.0, 0.0)) * traffic.unsure
    sure[0] += usual[:2].sum() * traffic.unsure
    inputs = np.full(10, (1 - traffic.moved) / 10) + np.append(np.zeros(9), traffic.moved)
    return Counts(
        requests=n,
        judged=n,
        errors=random.binomial(n, traffic.errors),
        labelled=labelled,
        right=sum(right),
        timed=n,
        slow=random.binomial(n, traffic.slow + 0.02),
        slices={"dark": (dark, right[0]), "bright": (labelled - dark, right[1])},
        predictions={str(k): int(v) for k, v in enumerate(random.multinomial(n, _classes(traffic)))},
        confidences=[(int(v), 0, 0) for v in random.multinomial(n, sure / sure.sum())],
        inputs={"x": [int(v) for v in random.multinomial(n, inputs)]},
    )


def together(first: Counts, second: Counts) -> Counts:
    """The sum of two."""
    plain = ("requests", "judged", "errors", "labelled", "right", "timed", "slow")
    pairs = {k: (v[0] + second.slices[k][0], v[1] + second.slices[k][1]) for k, v in first.slices.items()}
    return first.model_copy(
        update={k: getattr(first, k) + getattr(second, k) for k in plain}
        | {
            "slices": pairs,
            "predictions": {k: v + second.predictions[k] for k, v in first.predictions.items()},
            "confidences": [(a[0] + b[0], 0, 0) for a, b in zip(first.confidences, second.confidences, strict=True)],
            "inputs": {"x": [a + b for a, b in zip(first.inputs["x"], second.inputs["x"], strict=True)]},
        }
    )


def reference(random: Generator) -> ReferenceWindow:
    """A reference window of good traffic."""
    counts = counted(GOOD, max(POLICY.reference, round(POLICY.min_labels / LABELLED)), random)
    assert len(counts.confidences) == len(CONFIDENCES) + 1
    moment = START.strftime("%Y-%m-%dT%H:%M:%SZ")
    return ReferenceWindow(model="m", version="v2", since=moment, until=moment, counts=counts, slow_seconds=0.05)


def watched(random: Generator, hours: Sequence[Traffic]) -> Iterator[set[str]]:
    """What each hourly look finds beyond a limit: as `LoggedTraffic.epochs` counts."""
    known, days = reference(random), list[Counts]()
    for hour, traffic in enumerate(hours):
        new = counted(traffic, HOUR, random)
        if hour % (POLICY.epoch // HOUR) == 0:
            whole, week = (reduce(together, counts) if counts else None for counts in (days, days[-LONGEST + 1 :]))
            days.append(new)
        else:
            days[-1] = together(days[-1], new)
        spans = [together(before, days[-1]) if before else days[-1] for before in (whole, week)]
        yield {shift.what for now in (*spans, *days[-2:]) for shift in shifts(known, now, POLICY) if shift.beyond}


def planted(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A stable version that gets worse."""
    for kind, worse in PLANTED.items():
        random, delays = np.random.default_rng(3), []
        for _ in range(options.planted):
            after = [
                GOOD.between(worse, min(1.0, (hour + 1) / 24) if "slowly" in kind else 1.0)
                for hour in range(24 * PATIENCE)
            ]
            looks = watched(random, [GOOD] * 24 + after)
            early = [bool(next(looks)) for _ in range(24)]
            found = next((hour + 1 for hour, said in enumerate(looks) if said), None)
            delays.append(found if not any(early) else None)
        caught = [delay for delay in delays if delay is not None]
        yield row(f"planted drift, {kind}: alarmed", len(caught) / len(delays), "share", 0.95)
        yield row(
            f"planted drift, {kind}: hours until then, median", float(np.median(caught) if caught else np.nan), "hours"
        )


def quiet(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Months in which nothing changes."""
    random, alarms = np.random.default_rng(4), 0
    for _ in range(options.months):
        found: set[str] = set()
        for said in watched(random, [GOOD] * (MONTH // HOUR)):
            found |= said
        alarms += len(found)
    yield row("false alarms of the bounds", alarms / options.months, "a month", 1.0, least=False)


def detectors(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Months of the detectors' streams: wrong answers of a tenth, confidence, one input."""
    random, alarms = np.random.default_rng(5), 0
    for _ in range(options.detector_months):
        known = Detectors([_seen(*values) for values in zip(*_streams(POLICY.reference, random), strict=True)])
        found: set[str] = set()
        for _ in range(MONTH // (BLOCK * 1000)):
            for values in zip(*_streams(BLOCK * 1000, random), strict=True):
                found |= {change.what for change in known.add(_seen(*values))}
        alarms += len(found)
    yield row("false alarms of the detectors", alarms / options.detector_months, "a month", 1.0, least=False)


def _streams(n: int, random: Generator) -> tuple[list[Any], ...]:
    right = random.random(n) < GOOD.right
    labelled = random.random(n) < LABELLED
    return (
        [("1" if good else "0") if has else None for good, has in zip(right.tolist(), labelled.tolist(), strict=True)],
        random.beta(9, 1, n).tolist(),
        random.normal(size=n).tolist(),
    )


def _seen(label: str | None, confidence: float, mean: float) -> Seen:
    return Seen(START, prediction="1", label=label, confidence=confidence, summary={"x": (mean, 1.0)})


def row(name: str, value: float, unit: str, target: float | None = None, *, least: bool = True) -> dict[str, Any]:
    """One figure, and whether it meets its bar."""
    met = None if target is None else bool(value >= target if least else value <= target)
    bar = "" if target is None else f"{'≥' if least else '≤'} {target:g}"
    return {"name": name, "value": value, "unit": unit, "bar": bar, "met": met}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--bad", type=int, default=300, help="canaries of each kind")
    parser.add_argument("--good", type=int, default=1000, help="canaries")
    parser.add_argument("--most", type=int, default=8000, help="requests of a good canary")
    parser.add_argument("--planted", type=int, default=60, help="versions of each kind")
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--detector-months", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    begin, rows = time.perf_counter(), []
    sections = {"bad": bad, "good": good, "planted": planted, "quiet": quiet, "detectors": detectors}
    for name in options.only:
        for item in sections[name](options):
            rows.append(item)
            verdict = {True: "met", False: "MISSED", None: ""}[item["met"]]
            print(f"{item['name']:64} {item['value']:>10,.4g} {item['unit']:10} {item['bar']:8} {verdict}", flush=True)
    rows.append(row("the whole benchmark", time.perf_counter() - begin, "s"))
    if options.json:
        bars = {r["name"]: {"value": r["value"], "target": r["bar"], "met": r["met"]} for r in rows if r["bar"]}
        options.json.write_text(json.dumps({"rows": rows, "bars": bars}, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(0 if all(item["met"] is not False for item in rows) else 1)


if __name__ == "__main__":
    main()
