# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""The gate's own error rates on this machine, beside those of the gate that most teams write.

    python benchmarks/gate.py --record launches.json            # takes the launches, about eight minutes
    python benchmarks/gate.py --recorded launches.json --live 5 --naive 40 --loaded 3 --json gate.json

1. *Recorded*: launch pairs of a model against itself and against copies that are 5, 10 and 30 % slower by more of
   the same operators, drawn again into whole gate runs by the code that decides real ones.
2. *Live*: whole weighings with fresh processes, for false fails, detection and time to verdict.
3. *Naive*: run A 300 times, then B 300 times, compare medians, 10 % threshold; on the same machine, in turns.
4. *Loaded*: live weighings while other work keeps the second core, then both cores, busy.

Limits are `max_ratio: 1.0` throughout: a model against itself is exactly at its limit, where a gate must not fail it,
and a slower copy is beyond it by its slow-down.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# This file has the name of the package that it measures: its own folder must not come first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np

from gate.device import describe
from gate.job import Job, Source, read_job
from gate.judge import judge
from gate.launches import Protocol, Setup, take_launch
from gate.noisy import own_cores
from gate.process import Artifact
from gate.runtimes import RUNTIMES
from gate.simulate import Rates, resample
from gate.statistics import hodges_lehmann
from gate.trialmodels import BLOCKS, chain, examples
from gate.turn import lock_path, turn
from gate.weigh import least_busy, weigh
from weighbridge.data import Split
from weighbridge.documents import Budget, Weighing
from weighbridge.files import sha256_file

METRICS = ("latency.p50", "latency.p95", "latency.p99", "cold_start", "memory.peak")
SLOWER = {"+0 %": 40, "+5 %": 42, "+10 %": 44, "+30 %": 52}
NAIVE_RUNS, NAIVE_THRESHOLD = 300, 1.10
TIME_LIMIT = 60.0

Row = dict[str, object]
Recorded = dict[str, dict[str, list[float]]]


def main() -> None:
    """Run the parts that were asked for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, help="take launch pairs and store them here")
    parser.add_argument(
        "--launches", type=int, default=300, help="pairs of the model against itself; a fifth of the copies"
    )
    parser.add_argument("--recorded", type=Path, help="launch pairs that --record has stored")
    parser.add_argument("--runs", type=int, default=473, help="resampled gate runs")
    parser.add_argument("--live", type=int, default=0, help="live weighings of each candidate")
    parser.add_argument("--naive", type=int, default=0, help="runs of the naive gate on each candidate")
    parser.add_argument("--loaded", type=int, default=0, help="live weighings of each candidate under load")
    parser.add_argument("--json", type=Path, help="write rows and bars here")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(Path(folder))
        if arguments.record:
            arguments.record.write_text(json.dumps(record(models, arguments.launches)))
        if arguments.recorded:
            rows += resampled(json.loads(arguments.recorded.read_text()), arguments.runs)
        if arguments.live:
            rows += live(models, arguments.live)
        if arguments.naive:
            rows += naive(models, arguments.naive)
        if arguments.loaded:
            rows += loaded(models, arguments.loaded)
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": describe(os.environ).to_json(), "rows": rows}, indent=2) + "\n")


def write_models(folder: Path) -> dict[str, Path]:
    """The model, and its slower copies, by name."""
    paths = {}
    for name, blocks in SLOWER.items():
        paths[name] = folder / f"m{blocks}.onnx"
        paths[name].write_bytes(chain(blocks))
    return paths


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other gate measures here."""
    with turn(lock_path(os.environ), lambda _: None), own_cores():
        yield


def record(models: dict[str, Path], launches: int) -> Recorded:
    """Launch pairs of every candidate, in turns, as the gate takes them."""
    adapter = RUNTIMES["onnxruntime"].adapter
    found: Recorded = {name: {metric: [] for metric in METRICS} for name in models}
    found["seconds"] = {"launch": []}
    inputs = {"input": examples(32)}
    for number in range(launches):
        for name, path in models.items():
            if name != "+0 %" and number % 5:
                continue
            roles = {
                role: Artifact(role, ((str(file), sha256_file(file)),), adapter)
                for role, file in (("baseline", models["+0 %"]), ("candidate", path))
            }
            with alone():
                begin = time.perf_counter()
                setup = Setup(roles, inputs, (), Protocol(), least_busy(1))
                launch = take_launch(setup, frozenset(METRICS), np.random.default_rng([7, number]))
                found["seconds"]["launch"].append(time.perf_counter() - begin)
            for metric in METRICS:
                found[name][metric].append(launch.log_ratios[metric]["candidate", "baseline"])
        report("record", number + 1, launches)
    return found


def resampled(recorded: Recorded, runs: int) -> list[Row]:
    """Error rates over gate runs that are drawn from recorded launch pairs."""
    rng = np.random.default_rng(3)
    itself = [recorded["+0 %"][metric] for metric in METRICS]
    seconds = float(np.median(recorded["seconds"]["launch"]))
    pairs = len(itself[0])
    family = Rates.of(resample(itself, runs, [1.0] * len(METRICS), rng))
    # The recorded launches centre near nothing, not on it: drawn as they are, that chance offset is a true effect.
    centred = [(np.asarray(values) - hodges_lehmann(values)).tolist() for values in itself]
    exact = Rates.of(resample(centred, runs, [1.0] * len(METRICS), rng))
    within = Rates.of(resample(itself, runs, [1.05, 1.5, 2.0, 2.0, 1.05], rng))
    alone_rates = Rates.of(resample(itself[:1], runs, [1.05], rng))
    rows = [
        row("A/A, five budgets exactly at their limits: false FAIL", family.failed, family.runs, "<= 1 %",
            family.failed <= 0.01 * family.runs, f"{pairs} recorded pairs"),
        row("A/A, the same, launches centred on no difference: false FAIL", exact.failed, exact.runs, "<= 1 %",
            exact.failed <= 0.01 * exact.runs, ""),
        row("A/A, five budgets with headroom: false FAIL", within.failed, within.runs, "<= 1 %",
            within.failed <= 0.01 * within.runs, f"{within.passed} pass, {within.inconclusive} inconclusive"),
        row("A/A, latency.p50 with 5 % headroom: PASS", alone_rates.passed, alone_rates.runs, ">= 95 %",
            alone_rates.passed >= 0.95 * alone_rates.runs, f"mean {alone_rates.mean_pairs:.1f} pairs"),
    ]  # fmt: skip
    for name in SLOWER:
        if name == "+0 %":
            continue
        drawn = [recorded[name]["latency.p50"]]
        if len(drawn[0]) < 54:
            continue
        rates = Rates.of(resample(drawn, runs, [1.0], rng))
        median = float(np.exp(np.median(drawn[0])))
        rows.append(
            row(f"true {name}, limit 1.0: FAIL", rates.failed, rates.runs, ">= 95 %", rates.failed >= 0.95 * rates.runs,
                f"read as {median:.3f}; mean {rates.mean_pairs:.1f} pairs, {rates.mean_pairs * seconds:.0f} s")
        )  # fmt: skip
    spread = 100 * float(np.std(itself[0], ddof=1))
    rows.append(
        row("launch sd of latency.p50, %", round(spread, 2), pairs, "", None, f"{seconds:.2f} s per launch pair")
    )
    return rows


def live(models: dict[str, Path], runs: int) -> list[Row]:
    """Whole weighings: A/A at its limit and with headroom, and true slow-downs."""
    cases = [("+0 %", 1.0), ("+0 %", 1.05), ("+5 %", 1.0), ("+10 %", 1.0), ("+30 %", 1.0)]
    found: dict[tuple[str, float], list[tuple[str, float]]] = {case: [] for case in cases}
    for number in range(runs):
        for name, limit in cases:
            found[name, limit].append(one_weighing(models, name, limit, number))
            report("live", number + 1, runs)
    return [live_row(f"live, true {name}, limit {limit}", name, limit, seen) for (name, limit), seen in found.items()]


def live_row(title: str, name: str, limit: float, seen: list[tuple[str, float]]) -> Row:
    """How many live weighings came out as they may."""
    verdicts = [verdict for verdict, _ in seen]
    counts = {verdict: verdicts.count(verdict) for verdict in ("pass", "fail", "inconclusive", "error")}
    seconds = float(np.median([spent for _, spent in seen]))
    note = f"{counts}; median {seconds:.0f} s to the verdict"
    if name == "+0 %" and limit == 1.0:
        return row(f"{title}: FAIL", counts["fail"], len(seen), "0", counts["fail"] == 0, note)
    expected = "pass" if name == "+0 %" else "fail"
    return row(f"{title}: {expected.upper()}", counts[expected], len(seen), ">= 95 %",
               counts[expected] >= 0.95 * len(seen), note)  # fmt: skip


def one_weighing(models: dict[str, Path], name: str, limit: float, number: int) -> tuple[str, float]:
    """Verdict and seconds of one weighing of the median latency."""
    inputs = examples(64)
    budget = Budget(metric="latency.p50", max_ratio=limit)
    split = Split({"input": inputs}, np.zeros(len(inputs), np.int64))
    weighing = Weighing(time_limit=TIME_LIMIT, seed=100 + number)
    candidate = models[name]
    if name == "+0 %":
        # The same graph under another digest: identical bytes would pass untimed.
        candidate = candidate.with_name("twin.onnx")
        candidate.write_bytes(chain(BLOCKS) + b"\x32\x01.")  # an empty doc_string field of the model
    source = Source(models["+0 %"], candidate, split, "generated")
    job: Job = read_job(source, [budget], describe(os.environ), weighing)
    with alone():
        begin = time.perf_counter()
        measurement = weigh(job)
        spent = time.perf_counter() - begin
    return judge(measurement, [budget]).verdict.value, spent


NAIVE = """
import sys, time, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = np.load(sys.argv[2])[:1]
for _ in range(10): session.run(None, {"input": x})
times = []
for _ in range(int(sys.argv[3])):
    begin = time.perf_counter(); session.run(None, {"input": x}); times.append(time.perf_counter() - begin)
print(np.median(times))
"""


def naive(models: dict[str, Path], runs: int) -> list[Row]:
    """The gate that most teams write, on the same machine."""
    folder = models["+0 %"].parent
    np.save(folder / "x.npy", examples(1))

    def median(path: Path) -> float:
        command = [sys.executable, "-c", NAIVE, str(path), str(folder / "x.npy"), str(NAIVE_RUNS)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    ratios: dict[str, list[float]] = {name: [] for name in models}
    for number in range(runs):
        for name, path in models.items():
            with alone():
                ratios[name].append(1 / (median(models["+0 %"]) / median(path)))
        report("naive", number + 1, runs)
    rows = []
    for name, found in ratios.items():
        failed = sum(ratio > NAIVE_THRESHOLD for ratio in found)
        spread = 100 * float(np.std(np.log(found), ddof=1))
        beyond = sum(abs(ratio - 1) > 0.05 for ratio in found)
        rows.append(row(f"naive gate, true {name}, threshold 1.10: FAIL", failed, runs, "", None,
                        f"sd {spread:.1f} %, worst {max(found):.2f}, {beyond} beyond 5 %"))  # fmt: skip
    return rows


def loaded(models: dict[str, Path], runs: int) -> list[Row]:
    """Live weighings while other work keeps cores busy: anything but a wrong verdict."""
    rows = []
    cores = sorted(os.sched_getaffinity(0))
    for busy in (cores[:1], cores[:2]):
        for name, limit, wrong in (("+0 %", 1.0, "fail"), ("+10 %", 1.05, "pass")):
            seen = []
            for number in range(runs):
                with burning(busy):
                    seen.append(one_weighing(models, name, limit, number)[0])
                report(f"loaded {busy}", number + 1, runs)
            counts = {verdict: seen.count(verdict) for verdict in sorted(set(seen))}
            title = f"cores {busy} of {len(cores)} loaded, true {name}, limit {limit}: wrong verdicts ({wrong})"
            rows.append(row(title, seen.count(wrong), runs, "0", wrong not in seen, str(counts)))
    return rows


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
    processes = [subprocess.Popen([sys.executable, "-c", BURN, str(core)]) for core in cores]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def row(name: str, value: float, of: int, bar: str, met: bool | None, note: str) -> Row:  # noqa: FBT001, PLR0913, PLR0917
    """One figure, with the bar that MEASURING.md or the issue sets for it."""
    return {"name": name, "value": value, "of": of, "bar": bar, "met": met, "note": note}


def report(stage: str, done: int, total: int) -> None:
    """Progress for whoever waits."""
    print(f"{stage}: {done}/{total}", file=sys.stderr, flush=True)


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| what | value | of | bar | met | note |", "|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join('' if each is None else str(each) for each in item.values())} |" for item in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
