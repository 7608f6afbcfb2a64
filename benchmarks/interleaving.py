# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""Which way of taking turns is quietest and right: the trial behind docs/adr/0030-interleaving.md.

Compares, on real ONNX models of known relative cost and interleaved launch by launch, so that all see the same machine:
`bursts` (two processes, ~1 ms bursts in random order, warmed for 0.3 s each), `bursts-short` (0.1 s), `alternate` (one
process, single inferences in random order) and `mix` (the mean of one launch of each of the first and third).

    python benchmarks/interleaving.py --launches 9 --json interleaving.json      # about eight minutes, idle machine

Cases that the file holds already are not taken again: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# `benchmarks/gate.py` has the name of the package that is measured: this folder must not come first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np

CASES = {
    "cache +0 %": ("cache", 40),
    "cache +5 %": ("cache", 42),
    "cache +10 %": ("cache", 44),
    "cache +30 %": ("cache", 52),
    "memory +0 %": ("memory", 40),
    "memory +5 %": ("memory", 42),
    "memory +10 %": ("memory", 44),
    "memory +30 %": ("memory", 52),
    "cache, int8 of it": ("cache", 8),
}


def child(reference: str, candidate: str, inputs: str, seconds: float, seed: int) -> None:
    """One process: single inferences of both models in random order; prints the log ratio of medians."""
    import onnxruntime

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in (reference, candidate)
    ]
    examples = np.load(inputs)
    rng = np.random.default_rng(seed)
    times: list[list[int]] = [[], []]
    begin = time.perf_counter()
    warm = begin + 0.6
    while time.perf_counter() < warm + seconds:
        example = examples[rng.integers(len(examples))][None]
        for which in rng.permutation(2):
            start = time.perf_counter_ns()
            sessions[which].run(None, {"input": example})
            spent = time.perf_counter_ns() - start
            if time.perf_counter() > warm:
                times[which].append(spent)
    print(json.dumps(float(np.log(np.median(times[1]) / np.median(times[0])))))


def main() -> None:
    """Run all cases and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=16)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", action="append", choices=list(CASES), help="repeatable; all without it")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        reference, candidate, inputs, seconds, seed = arguments.child
        child(reference, candidate, inputs, float(seconds), int(seed))
        return
    rows: list[dict[str, object]] = []
    if arguments.json and arguments.json.exists():
        rows = json.loads(arguments.json.read_text())["rows"]
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.case or CASES:
            if any(row["case"] == name and row["launches"] == arguments.launches for row in rows):
                continue
            rows = [row for row in rows if row["case"] != name]
            rows += trial(name, Path(folder), arguments.launches)
            if arguments.json:
                arguments.json.write_text(json.dumps({"rows": rows, "bars": {}}, indent=2) + "\n")
    print(table(rows))


def trial(name: str, folder: Path, launches: int) -> list[dict[str, object]]:
    """One case under all methods."""
    from weighbridge.gate.calibrate.trial_models import examples

    bound, blocks = CASES[name]
    reference, candidate = models(folder, bound, blocks)
    inputs = folder / f"{bound}.npy"
    np.save(inputs, examples(32, bound))
    methods = {
        "bursts": lambda seed: bursts(reference, candidate, bound, seed, 0.3),
        "bursts-short": lambda seed: bursts(reference, candidate, bound, seed, 0.1),
        "alternate": lambda seed: alternate(reference, candidate, inputs, seed),
    }
    found: dict[str, list[float]] = {method: [] for method in methods}
    spent: dict[str, list[float]] = {method: [] for method in methods}
    for seed in range(launches):
        for method in np.random.default_rng(seed).permutation(list(methods)):
            begin = time.perf_counter()
            found[method].append(methods[method](seed))
            spent[method].append(time.perf_counter() - begin)
    found["mix"] = [float(np.mean(pair)) for pair in zip(found["bursts"], found["alternate"], strict=True)]
    spent["mix"] = [sum(pair) for pair in zip(spent["bursts"], spent["alternate"], strict=True)]
    print(f"{name}: done", file=sys.stderr, flush=True)
    return [
        {
            "case": name,
            "method": method,
            "launches": launches,
            "ratio": round(float(np.exp(np.median(values))), 4),
            "launch_sd_percent": round(100 * float(np.std(values, ddof=1)), 2),
            "seconds_per_launch": round(float(np.median(spent[method])), 2),
            "log_ratios": [round(value, 5) for value in values],
        }
        for method, values in found.items()
    ]


def models(folder: Path, bound: str, blocks: int) -> tuple[Path, Path]:
    """The baseline of forty blocks, and a slower copy, or for eight "blocks" its static int8 form."""
    from weighbridge.gate.calibrate.trial_models import BLOCKS, chain

    reference = folder / f"{bound}-reference.onnx"
    candidate = folder / f"{bound}-{blocks}.onnx"
    reference.write_bytes(chain(BLOCKS, bound))
    if blocks >= BLOCKS:
        candidate.write_bytes(chain(blocks, bound))
    else:
        quantize(reference, candidate)
    return reference, candidate


def quantize(reference: Path, candidate: Path) -> None:
    """Static int8, U8 activations and S8 weights per channel, by onnxruntime's own quantizer."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    from weighbridge.gate.calibrate.trial_models import examples

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(examples(32)[:, None])

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self.rows, None)
            return None if row is None else {"input": row}

    quantize_static(
        str(reference),
        str(candidate),
        Reader(),
        quant_format=QuantFormat.QOperator,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def bursts(reference: Path, candidate: Path, bound: str, seed: int, warm: float) -> float:
    """One launch pair as the gate takes it."""
    from weighbridge.core.files import sha256_file
    from weighbridge.gate.calibrate.trial_models import examples
    from weighbridge.gate.measure.launches import Cores, LaunchProtocol, Setup, take_launch
    from weighbridge.gate.measure.runtimes import ADAPTERS
    from weighbridge.gate.measure.staged_artifact import StagedArtifact

    allowed = os.sched_getaffinity(0)
    last = max(allowed)
    adapter = ADAPTERS["onnxruntime"]
    roles = {
        role: StagedArtifact(role, ((str(path), sha256_file(path)),), adapter)
        for role, path in (("baseline", reference), ("candidate", candidate))
    }
    cores = Cores((last,), tuple(allowed - {last}) or (last,))
    setup = Setup(roles, {"input": examples(32, bound)}, (), LaunchProtocol(warm_seconds=warm), cores)
    launch = take_launch(setup, frozenset({"latency.p50"}), np.random.default_rng(seed))
    os.sched_setaffinity(0, allowed)
    return launch.log_ratios["latency.p50"]["candidate", "baseline"]


def alternate(reference: Path, candidate: Path, inputs: Path, seed: int) -> float:
    """One launch of the single-process way, with as much timing as a burst launch has."""
    command = [sys.executable, __file__, "--child", str(reference), str(candidate), str(inputs), "0.4", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def table(rows: list[dict[str, object]]) -> str:
    """Markdown."""
    lines = ["| case | method | ratio | launch sd | seconds per launch |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['case']} | {row['method']} | {row['ratio']:.3f} | {row['launch_sd_percent']:.2f} % "
        f"| {row['seconds_per_launch']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
