"""The gate that most teams write: run A 300 times, then B 300 times, compare medians, fail beyond 10 %."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.gating.models import ITSELF, Models, exclusively
from benchmarks.gating.recorded import Seen, word
from benchmarks.gating.rows import Row
from benchmarks.gating.store import Store
from weighbridge.gate.calibrate.trial_models import examples

RUNS, THRESHOLD = 300, 1.10

SCRIPT = """
import sys, time, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = np.load(sys.argv[2])[:1]
for _ in range(10): session.run(None, {"input": x})
times = []
for _ in range(int(sys.argv[3])):
    begin = time.perf_counter(); session.run(None, {"input": x}); times.append(time.perf_counter() - begin)
print(np.median(times))
"""


def naive(store: Store, models: Models, runs: int) -> None:
    """Every copy in turn, on the machine that the gate measures on."""
    inputs = models.folder / "x.npy"
    np.save(inputs, examples(1))

    def median(path: Path) -> float:
        command = [sys.executable, "-c", SCRIPT, str(path), str(inputs), str(RUNS)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def take(_: int) -> dict[str, float]:
        found = {}
        for name, path in models.slower.items():
            with exclusively():
                before = median(models.itself)
                found[name] = median(path) / before
        return found

    store.collect("naive", runs, take)


def naive_rows(seen: Seen) -> list[Row]:
    """What it fails and misses; no bar, for comparison."""
    rows = []
    for name in seen["naive"][0]:
        found = [each[name] for each in seen["naive"]]
        failed = sum(ratio > THRESHOLD for ratio in found)
        spread = 100 * float(np.std(np.log(found), ddof=1)) if len(found) > 1 else float("nan")
        beyond = sum(abs(ratio - 1) > 0.05 for ratio in found)
        kind = "aa_false_fail" if name == ITSELF else f"slower_{word(name)}_fail_found"
        note = f"sd {spread:.1f} %, from {min(found):.2f} to {max(found):.2f}, {beyond} more than 5 % from 1"
        rows.append(Row(f"naive_{kind}", failed, len(found), note=note))
    return rows
