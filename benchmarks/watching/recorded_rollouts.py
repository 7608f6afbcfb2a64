"""Canaries simulated from recorded traffic: served requests, drawn again and judged as they came."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.networks import registry_of
from benchmarks.serving.processes import ours
from benchmarks.watching.canary_rollouts import EVERY, PLAN, STEPS
from benchmarks.watching.drawn_traffic import BAD, GOOD, START, WITHIN, Generator, row
from benchmarks.watching.live_canaries import LATE, SLOW, Clients, awaited, network, rows_for
from tests.registry.project import MODEL
from weighbridge.registry.canary.canary_judge import Action, decide
from weighbridge.registry.canary.telemetry import Arm, Observed
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.state.records import Canary, CanaryPlan
from weighbridge.registry.trust.online_budgets import OnlineBudget

KINDS = (*BAD, "good")
SHADOWED = ("paired_accuracy", "disagreement")
"""Budgets that a log of requests says nothing about."""
BUDGETS = [
    {**budget, "threshold": SLOW} if "threshold" in budget else budget
    for budget in PLAN["budgets"]
    if budget["metric"] not in SHADOWED
]
REQUESTS = 2 * WITHIN
"""Of each canary that are recorded."""
NEAR = 0.02
"""How far two requests of a canary that drifts may be from each other, as a share of all, to stand for each other."""


@dataclass(frozen=True)
class Recorded:
    """Requests of one version in their order: whether each failed, was slow, was right, is dark, and its class."""

    failed: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    right: NDArray[np.bool_]
    dark: NDArray[np.bool_]
    answer: NDArray[np.intp]
    """-1 where it failed."""

    def drawn(self, n: int, random: Generator, progress: float | None) -> NDArray[np.intp]:
        """Which requests come next: any, or such that came near to this share of all."""
        count = len(self.failed)
        if progress is None:
            return random.integers(count, size=n)
        near = random.uniform(progress - NEAR, progress + NEAR, n) * count
        return np.clip(near, 0, count - 1).astype(np.intp)


def recorded_of(lines: list[dict[str, Any]], labels: dict[str, str]) -> Recorded:
    """Lines of a server's log, with the labels that its clients sent."""
    lines = [line for line in lines if line["error"] or line["id"] in labels]  # not those that were never labelled
    lines = [line for line in lines if "stands_in_for" not in line]  # no sample of stable's: the judge skips them too
    return Recorded(
        failed=np.array([line["error"] for line in lines]),
        slow=np.array([line["latency"] > SLOW for line in lines]),
        right=np.array([not line["error"] and line["prediction"] == labels[line["id"]] for line in lines]),
        dark=np.array(["dark" in line.get("slices", ()) for line in lines]),
        answer=np.array([-1 if line["error"] else int(line["prediction"]) for line in lines]),
    )


def record(seed: int) -> dict[str, tuple[Recorded, Recorded]]:
    """By kind of canary: its requests and stable's, served by one server one kind after the other."""
    random, busy = np.random.default_rng(seed), rows_for(LATE)
    models = [
        network(BAD.get(kind, GOOD), f"net-{number}", busy, slowly=kind == "slowly drifting")
        for number, kind in enumerate(["stable", *KINDS])
    ]
    found = {}
    with tempfile.TemporaryDirectory(prefix="recorded-") as name:
        folder = Path(name)
        registry_of(folder / "registry", models)
        told = ["--log", str(folder / "log"), "--sample", "100"]
        told += ["--slices", "benchmarks.watching.live_canaries:slices"]
        with ours(folder / "registry", folder / "cache", *told) as server:
            operator, read = Operator(folder / "registry", MODEL), 0
            for number, kind in enumerate(KINDS, 2):
                operator.start_canary(f"v{number}", CanaryPlan(steps=[50, 100], min_seconds=0, budgets=[]))
                awaited(server.port, f"v{number}")
                clients = Clients(server.port, random, until=REQUESTS)
                while clients.canary < REQUESTS:
                    time.sleep(0.1)
                clients.end()
                operator.abort_canary(reason="recorded")
                lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()[read:]]
                read += len(lines)
                of = {v: [line for line in lines if line["version"] == v] for v in ("v1", f"v{number}")}
                found[kind] = (recorded_of(of[f"v{number}"], clients.labels), recorded_of(of["v1"], clients.labels))
    return found


def add(arm: Arm, source: Recorded, chosen: NDArray[np.intp]) -> None:
    """Count these requests."""
    good = ~source.failed[chosen]
    dark, right = source.dark[chosen] & good, source.right[chosen]
    arm.requests += len(chosen)
    arm.judged += len(chosen)
    arm.errors += int((~good).sum())
    arm.labelled += int(good.sum())
    arm.right += int(right.sum())
    arm.timed[SLOW] = arm.timed.get(SLOW, 0) + len(chosen)
    arm.slow[SLOW] = arm.slow.get(SLOW, 0) + int(source.slow[chosen].sum())
    for name, part in (("dark", dark), ("bright", good & ~dark)):
        seen, before = arm.slices.get(name, (0, 0))
        arm.slices[name] = (seen + int(part.sum()), before + int((part & right).sum()))
    arm.predictions += Counter(str(value) for value in source.answer[chosen][good].tolist())


def rollout(canary: Recorded, stable: Recorded, random: Generator, *, ordered: bool) -> int | None:
    """After how many of its requests on the plan's first step a canary is aborted; None where it is not in `WITHIN`."""
    weight = STEPS[0]
    plan = CanaryPlan(steps=STEPS, min_samples=10 * WITHIN, min_seconds=0, budgets=BUDGETS)
    budgets = [OnlineBudget.model_validate(budget) for budget in BUDGETS]
    moment, digest = START.strftime("%Y-%m-%dT%H:%M:%SZ"), "sha256:" + 64 * "a"
    fields = {"version": "v3", "digest": digest, "record": digest, "since": moment, "event": 3}
    on = Canary(**fields, weight=weight, step=0, step_since=moment, plan=plan)
    arms = Arm(), Arm()
    for total in range(0, WITHIN, EVERY):
        add(arms[0], canary, canary.drawn(EVERY, random, total / WITHIN if ordered else None))
        add(arms[1], stable, stable.drawn(round(EVERY * (100 - weight) / weight), random, None))
        if decide(on, budgets, Observed(*arms, "recorded"), START + timedelta(hours=1)).action is Action.ABORT:
            return total + EVERY
    return None


def recorded(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each kind of bad canary, and good ones."""
    random = np.random.default_rng(10)
    for kind, (canary, stable) in record(11).items():
        count = options.good if kind == "good" else options.bad
        ends = [rollout(canary, stable, random, ordered=kind == "slowly drifting") for _ in range(count)]
        caught = [total for total in ends if total is not None]
        name = "good canary" if kind == "good" else f"bad canary, {kind}"
        bar: dict[str, Any] = {"target": 0.01, "least": False} if kind == "good" else {"target": 0.95}
        yield row(f"recorded, {name}: aborted", len(caught) / count, "share", **bar)
        if caught:
            yield row(f"recorded, {name}: requests until then, median", float(np.median(caught)), "requests")
