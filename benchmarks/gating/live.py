"""Whole weighings with fresh processes: at the limit, with headroom, beyond it, under load, and again and again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gating.models import ITSELF, Models, exclusively
from benchmarks.gating.recorded import Seen, word
from benchmarks.gating.rows import Row, at_least, below, none_of
from benchmarks.gating.store import Store
from weighbridge.core.documents import Budget, Measurement, Weighing
from weighbridge.data import Split
from weighbridge.gate.calibrate.trial_models import examples
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing.job import Job, Source, read_job
from weighbridge.gate.weighing.weigh import weigh

TIME_LIMIT = 60.0
AT_LIMIT_SECONDS = 30.0
"""At the limit nothing is decided however long it takes: half the time shows it."""
RERUN_SECONDS = 4.0
CASES = ((ITSELF, 1.0), (ITSELF, 1.05), ("+5 %", 1.0), ("+10 %", 1.0), ("+30 %", 1.0))
LOADED = ((ITSELF, 1.0, "fail"), ("+10 %", 1.0, "pass"))
"""True cost, limit, and the verdict that would be wrong."""
RERUN = ("+5 %", 1.05)
"""A true value almost at its limit: where a gate that forgets would flip."""


def job_of(models: Models, name: str, limit: float, seconds: float, seed: int) -> tuple[Job, Budget]:
    """A weighing of the median latency."""
    inputs = examples(64)
    budget = Budget(metric="latency.p50", max_ratio=limit)
    split = Split({"input": inputs}, np.zeros(len(inputs), np.int64))
    candidate = models.twin if name == ITSELF else models.slower[name]
    source = Source(models.itself, candidate, split, "generated")
    return read_job(source, [budget], describe(os.environ), Weighing(time_limit=seconds, seed=seed)), budget


def one_weighing(models: Models, name: str, limit: float, number: int) -> dict[str, Any]:
    """Verdict, seconds and launch pairs."""
    seconds = AT_LIMIT_SECONDS if name == ITSELF and limit == 1.0 else TIME_LIMIT
    job, budget = job_of(models, name, limit, seconds, 100 + number)
    with exclusively():
        begin = time.perf_counter()
        measurement = weigh(job)
        spent = time.perf_counter() - begin
    judged = judge(measurement, [budget])
    return {"verdict": judged.verdict.value, "seconds": spent, "reason": judged.budgets[0].reason}


def live(store: Store, models: Models, runs: int) -> None:
    """All cases, one after the other, so that each sees the same machine."""

    def take(number: int) -> list[dict[str, Any]]:
        return [one_weighing(models, name, limit, number) for name, limit in CASES]

    store.collect("live", runs, take)


def live_rows(seen: Seen) -> list[Row]:
    """How many live weighings came out as they may, and how long they took."""
    rows = []
    for index, (name, limit) in enumerate(CASES):
        found = [each[index] for each in seen["live"]]
        counts, seconds = _counts(found), [each["seconds"] for each in found]
        note = f"{counts}; median {np.median(seconds):.0f} s, at most {max(seconds):.0f} s"
        if name == ITSELF and limit == 1.0:
            rows.append(none_of("live_aa_at_limit_false_fail", counts.get("fail", 0), len(found), note))
        elif name == ITSELF:
            rows.append(at_least("live_aa_headroom_pass", counts.get("pass", 0), len(found), 0.95, note))
        else:
            rows.append(at_least(f"live_slower_{word(name)}_fail_found", counts.get("fail", 0), len(found), 0.95, note))
        if name == "+5 %":
            rows.append(
                below("live_slower_5_percent_seconds_to_verdict", max(seconds), 60.0, len(found), "the slowest")
            )
    return rows


def loaded(store: Store, models: Models, runs: int) -> None:
    """Weighings while other work keeps the second core busy."""
    core = min(os.sched_getaffinity(0))

    def take(number: int) -> list[dict[str, Any]]:
        with burning([core]):
            return [one_weighing(models, name, limit, number) for name, limit, _ in LOADED]

    store.collect("loaded", runs, take)


def loaded_rows(seen: Seen) -> list[Row]:
    """Anything but a wrong verdict."""
    rows = []
    for index, (name, _, wrong) in enumerate(LOADED):
        counts = _counts([each[index] for each in seen["loaded"]])
        title = f"loaded_second_core_{word(name)}_wrongly_{wrong}"
        rows.append(none_of(title, counts.get(wrong, 0), len(seen["loaded"]), str(counts)))
    return rows


def rerun(store: Store, models: Models, runs: int) -> None:
    """The same files weighed again and again, each run continuing the last, until somebody would give up."""
    name, limit = RERUN
    kept = store.path.with_name(f"{store.path.stem}-rerun.json")
    job, budget = job_of(models, name, limit, RERUN_SECONDS, 500)

    def take(number: int) -> dict[str, Any]:
        previous = Measurement.read(kept) if number and kept.exists() else None
        with exclusively():
            measurement = weigh(job, previous=previous, keep=lambda found: found.write(kept))
        measurement.write(kept)
        judged = judge(measurement, [budget])
        return {"verdict": judged.verdict.value, "pairs": judged.budgets[0].pairs}

    store.collect("rerun", runs, take)
    kept.unlink(missing_ok=True)


def rerun_rows(seen: Seen) -> list[Row]:
    """Runs whose verdict is the opposite of an earlier one."""
    verdicts = [each["verdict"] for each in seen["rerun"]]
    decided = [verdict for verdict in verdicts if verdict in ("pass", "fail")]
    flips = sum(first != second for first, second in pairwise(decided))
    note = f"true {RERUN[0]}, limit {RERUN[1]}: {_counts(seen['rerun'])}, {seen['rerun'][-1]['pairs']} pairs at the end"
    return [none_of("reruns_that_flip_between_pass_and_fail", flips, len(verdicts), note)]


def _counts(found: Sequence[dict[str, Any]]) -> dict[str, int]:
    verdicts = [each["verdict"] for each in found]
    return {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}


BURN = """
import os, sys
import numpy as np
os.sched_setaffinity(0, {int(sys.argv[1])})
x = np.ones(1 << 20)
while True:
    x += 1
"""


@contextmanager
def burning(cores: Sequence[int]) -> Iterator[None]:
    """One endless loop over a few megabytes on each of these cores."""
    processes = [subprocess.Popen([sys.executable, "-c", BURN, str(core)], cwd=Path.cwd()) for core in cores]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
