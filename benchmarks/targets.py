"""Every target × {float, int8, QAT int8}: bytes, latency against fp32 ONNX, accuracy, peak memory; what SSH costs.

    python benchmarks/targets.py --json figures.json            # three networks, 12 launches: about 12 minutes
    python benchmarks/targets.py --network quickstart --launches 5 --epochs 1 --ssh-rounds 1   # a small look
    python benchmarks/targets.py --openvino               # the ONNX files through OpenVINO too (pip install openvino)

All nine files of a network are timed in the same launches, interleaved burst by burst. Weighing over SSH goes to an
`sshd` on loopback that the benchmark starts itself, so that both ways weigh on one machine.

Exit code 1 where the bar is missed, 2 for wrong usage, 3 where something could not be measured, else 0.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
# This folder holds `gate.py` and others: names of rooms must mean the rooms.
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() != ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from tabulate import tabulate  # noqa: E402

from benchmarks.plots import save, targets  # noqa: E402
from benchmarks.targeting.files import NETWORKS, OPENVINO, Built, build, through_openvino  # noqa: E402
from weighbridge.core.documents import DeviceSection  # noqa: E402
from weighbridge.core.errors import ExitCode, WeighbridgeError  # noqa: E402
from weighbridge.core.facts.isa import flags, widest  # noqa: E402
from weighbridge.core.files import write_json  # noqa: E402
from weighbridge.data import Split, read_npz  # noqa: E402
from weighbridge.gate.devices.local import Local  # noqa: E402
from weighbridge.gate.devices.place import Place  # noqa: E402
from weighbridge.gate.measure.bench import record  # noqa: E402
from weighbridge.gate.measure.evaluation import Manner  # noqa: E402
from weighbridge.gate.measure.feeding import feeding, timed_share  # noqa: E402
from weighbridge.gate.measure.launch_setup import LaunchProtocol, Setup  # noqa: E402
from weighbridge.gate.measure.launches import summarise  # noqa: E402
from weighbridge.gate.statistics import SIGNED_RANK  # noqa: E402
from weighbridge.gate.statistics.proportions import Pairs, tango_interval  # noqa: E402
from weighbridge.gate.weighing.sampling import own_cores  # noqa: E402

ALPHA = 0.025
SSH_BAR = 1.3
"""Wall clock of weighing over SSH, as a multiple of weighing here."""
OPENVINO_ADAPTER = ROOT / "benchmarks" / "targeting" / "openvino_adapter.py"
TIMED = frozenset({"latency.p50"})


def main() -> int:
    """Build, weigh, print; the exit code."""
    options = parse()
    try:
        rows, bars = run(options)
    except WeighbridgeError as error:
        say(f"error: {error}")
        return int(error.exit_code)
    if options.plot is not None:
        save(targets(rows), options.plot)
    print(f"Taken on {widest(flags())}.\n")
    print(tabulate([shown(row) for row in rows], headers="keys", tablefmt="github"))
    print()
    print(tabulate([{"bar": name, **bar} for name, bar in bars.items()], headers="keys", tablefmt="github"))
    return int(ExitCode.PASS if all(bar["met"] for bar in bars.values()) else ExitCode.FAIL)


def run(options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows and bars, written to `--json` as they come; `WeighbridgeError` where something cannot be measured."""
    rows: list[dict[str, Any]] = []
    bars: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="targets-") as folder, own_cores():
        for number, network in enumerate(options.network or NETWORKS):
            built = build(Path(folder) / network, network, options.epochs, say)
            split = read_npz(Path(folder) / network / "artifacts" / "data" / "test.npz").take(slice(options.examples))
            beside = through_openvino(built) if options.openvino else []
            rows += weigh(network, [*built, *beside], split, options.launches)
            if number == 0:
                bars["ssh_wall_over_local_wall"] = ssh_overhead(Path(folder), built, split, options.ssh_rounds)
            write(options.json, rows, bars)
    return rows, bars


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write rows and bars there, as they come")
    parser.add_argument("--plot", type=Path, help="draw latency over bytes into this file")
    parser.add_argument("--network", action="append", choices=list(NETWORKS))
    parser.add_argument("--launches", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--examples", type=int, default=4000, help="of the test split")
    parser.add_argument("--openvino", action="store_true", help="time the ONNX files through OpenVINO too")
    parser.add_argument("--ssh-rounds", type=int, default=3, help="of weighing here and over SSH in turn")
    return parser.parse_args()


def weigh(network: str, built: list[Built], split: Split, launches: int) -> list[dict[str, Any]]:
    """One row a file. Answers first; then launches of all files together."""
    with Local() as place:
        staged = stage(place, built)
        answers = {}
        for item in built:
            say(f"{network}: answers of {item.name}")
            feed = feeding(item.model.signature, split, "data")
            outputs, _ = place.answer(staged[item.name], split, [0], Manner(feed))
            answers[item.name] = outputs[0].argmax(axis=1)
        taken = {item.name: Taken() for item in built}
        setup = Setup(staged, timed_share(split, 32, 1), (), LaunchProtocol(rounds=60), place.cores(1))
        for number in range(launches):
            say(f"{network}: launch {number + 1} of {launches}")
            recording = record(setup, TIMED, np.random.default_rng([11, number]))
            launch = summarise(recording, setup, TIMED)
            for item in built:
                facts, mine = recording.facts[item.name], taken[item.name]
                mine.logs.append(launch.log_ratios["latency.p50"].get((item.name, "baseline"), 0.0))
                mine.peaks.append(facts["memory"])
                mine.over.append(facts["memory"] - facts["empty"])
    right = {name: found == split.labels for name, found in answers.items()}
    return [{"network": network, **row(item, right, taken[item.name])} for item in built]


@dataclass
class Taken:
    """What the launches gave for one file: log ratios to fp32 ONNX, peak bytes, and those beyond an empty runtime."""

    logs: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    over: list[float] = field(default_factory=list)


def row(item: Built, answered: dict[str, Any], taken: Taken) -> dict[str, Any]:
    """Figures of one file; `answered` says of each file which examples it answers rightly."""
    bounds = (SIGNED_RANK.lower(taken.logs, ALPHA), SIGNED_RANK.upper(taken.logs, ALPHA))
    right, base = answered[item.name], answered["baseline"]
    counts = (int(found.sum()) for found in (base & right, base & ~right, ~base & right, ~base & ~right))
    return {
        "target": item.target,
        "form": item.form,
        "bytes": item.model.size,
        "zstd": item.model.compressed("zstd", 19),
        "latency_ratio_to_fp32_onnx": float(np.exp(SIGNED_RANK.estimate(taken.logs))),
        "latency_ratio_interval": [finite(float(np.exp(bound))) for bound in bounds],
        "launches": len(taken.logs),
        "accuracy": float(right.mean()),
        "accuracy_drop": float(base.mean() - right.mean()),
        "accuracy_drop_interval": list(tango_interval(Pairs(*counts), ALPHA, ALPHA)),
        "examples": len(right),
        "peak_memory_bytes": float(np.median(taken.peaks)),
        "memory_over_empty_runtime_bytes": float(np.median(taken.over)),
        "parity": item.parity,
    }


def finite(value: float) -> float | None:
    """A bound, or None where so few launches cannot give one."""
    return float(value) if np.isfinite(value) and value > 0 else None


def stage(place: Place, built: list[Built]) -> dict[str, Any]:
    """All files at a place, each with its own runtime's adapter, the baseline first."""
    staged: dict[str, Any] = {}
    for target in dict.fromkeys(item.target for item in built):
        models = [item.model for item in built if item.target == target]
        if target == OPENVINO:
            placed = place.stage(models, "onnxruntime")
            staged |= {name: replace(artifact, adapter=OPENVINO_ADAPTER) for name, artifact in placed.items()}
        else:
            staged |= place.stage(models, target)
    return {item.name: staged[item.name] for item in built}


def ssh_overhead(folder: Path, built: list[Built], split: Split, rounds: int) -> dict[str, Any]:
    """The same fixed work in turn here and over SSH: reach it, stage, answer, launches, leave."""
    from tests.gate.sshd import server

    pair = [built[0], next(item for item in built if item.name == "onnxruntime/int8")]
    (folder / "sshd").mkdir()
    seconds: dict[str, list[float]] = {"local": [], "ssh": []}
    with ExitStack() as stack:
        found = stack.enter_context(server(folder / "sshd"))
        section = DeviceSection(address=found.address, python=sys.executable, folder=str(folder))
        for number in range(rounds):
            for way in ("local", "ssh") if number % 2 else ("ssh", "local"):
                say(f"ssh: round {number + 1} of {rounds}, {way}")
                begin = time.perf_counter()
                with _reach(way, section, found.environment) as place:
                    work(place, pair, split)
                seconds[way].append(time.perf_counter() - begin)
    return ssh_bar(seconds)


def ssh_bar(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """The bar, from the wall clock of each round by way: median over median."""
    ratio = float(np.median(seconds["ssh"]) / np.median(seconds["local"]))
    return {
        "value": round(ratio, 3),
        "target": SSH_BAR,
        "met": ratio <= SSH_BAR,
        "rounds": len(seconds["ssh"]),
        "seconds": {way: [round(value, 2) for value in spent] for way, spent in seconds.items()},
    }


def _reach(way: str, section: DeviceSection, environment: dict[str, str]) -> Place:
    from weighbridge.gate.devices.ssh import Ssh

    return Local() if way == "local" else Ssh("loopback", section, environment)


def work(place: Place, pair: list[Built], split: Split) -> None:
    """What weighing a candidate comes to: answers of both files and ten launch pairs."""
    staged = stage(place, pair)
    for item in pair:
        place.answer(staged[item.name], split, [0], Manner(feeding(item.model.signature, split, "data")))
    setup = Setup(staged, timed_share(split, 32, 1), (), LaunchProtocol(), place.cores(1))
    for number in range(10):
        place.launch(setup, TIMED, np.random.default_rng(number))


def shown(found: dict[str, Any]) -> dict[str, str]:
    """A row for people."""
    low, high = (f"{value:.3f}" if value is not None else "?" for value in found["latency_ratio_interval"])
    drop = [100 * value for value in (found["accuracy_drop"], *found["accuracy_drop_interval"])]
    return {
        "network": found["network"],
        "target": found["target"],
        "form": found["form"],
        "kB": f"{found['bytes'] / 1000:.1f}",
        "latency / fp32 ONNX": f"{found['latency_ratio_to_fp32_onnx']:.3f} [{low}, {high}]",
        "accuracy": f"{100 * found['accuracy']:.2f} %",
        "drop, points": f"{drop[0]:+.2f} [{drop[1]:+.2f}, {drop[2]:+.2f}]",
        "peak MB": f"{found['peak_memory_bytes'] / 1e6:.1f}",
        "over empty runtime MB": f"{found['memory_over_empty_runtime_bytes'] / 1e6:.1f}",
    }


def write(path: Path | None, rows: list[dict[str, Any]], bars: dict[str, dict[str, Any]]) -> None:
    """Everything so far: an interrupted run keeps what it has."""
    if path is not None:
        write_json(path, {"rows": rows, "bars": bars})


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    raise SystemExit(main())
