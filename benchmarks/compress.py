# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""Weighbridge's recipes beside other tools: the same trained model, the same data, the same conditions.

    pip install 'weighbridge[bench]'
    python benchmarks/compress.py --json compress.json            # about twenty minutes on two quiet cores
    python benchmarks/compress.py --quick --only 'static-*' --only ort-static

One baseline is trained by the quickstart's own settings and kept in `--workdir`. Each tool then compresses it in a
fresh process on one thread. Bytes are those of the stored file; of peers' files too without the exporter's metadata,
which no runtime needs. Accuracy is onnxruntime's on all test images; latency is a ratio to the fp32 baseline over
launch pairs by the gate's own workers, one of each file in turn. Seconds and memory are those of the whole process,
interpreter and imports included; our steps start from the checkpoint and export it, onnxruntime's and NNCF's from
the exported baseline. The overhead bars compare the same work from the same checkpoint.

Exit code 3 where a row could not be measured, 2 for wrong usage, else 0, whether or not bars are met.
"""

from __future__ import annotations

import argparse
import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

# This file has the name of the package that it measures: its own folder must not come first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import onnx

from benchmarks.beside import overhead
from benchmarks.beside.peers import FLOAT, PEERS
from benchmarks.beside.process import Spent, StepError, run_step
from benchmarks.beside.project import artifact, open_project, recipes
from benchmarks.beside.rows import Baseline, Figures, Row, as_json, bars, bars_table, table
from benchmarks.beside.weights import Weigher
from weighbridge.core.errors import ExitCode, InputError, MeasurementError, WeighbridgeError
from weighbridge.core.facts.isa import flags, widest
from weighbridge.core.files import atomic_write, read_bytes, write_json
from weighbridge.core.formats.compressed import compressed_sizes
from weighbridge.core.formats.onnx_file import serialize
from weighbridge.core.formats.onnx_strip import strip_metadata
from weighbridge.data import read_npz
from weighbridge.gate.measure.fingerprint import describe

LAUNCHES, RUNS = 12, 5
QUICK_LAUNCHES, QUICK_RUNS = 5, 3
FOR_OVERHEAD = {name for pair in overhead.PAIRS.values() for name in pair} - {"static-int8"}
"""Recipes and peers that are no rows of the table."""

Built = tuple[Path, Spent] | str
"""A file and what its step took, or why there is none."""


def main() -> int:
    """Build, weigh, print the table and the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("build/benchmarks/compress"), help="%(default)s")
    parser.add_argument("--quick", action="store_true", help="fewer launches and repetitions")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="name or pattern (repeatable)")
    parser.add_argument("--json", type=Path, help="write rows and bars to this file")
    chosen = parser.parse_args()
    try:
        return run(chosen)
    except (WeighbridgeError, StepError) as error:
        print(f"error: {error}", file=sys.stderr)
        return int(getattr(error, "exit_code", ExitCode.UNJUDGED))


def run(chosen: argparse.Namespace) -> int:
    """All of it; `WeighbridgeError` or `StepError` where not even the baseline can be made."""
    work = chosen.workdir.resolve()
    given = recipes()
    names = wanted([name for name in (*PEERS, *given) if name not in FOR_OVERHEAD], chosen.only)
    open_project(work, given, say)
    weigher = Weigher(work / FLOAT, read_npz(work / "artifacts/data/test.npz"))
    baseline = Baseline(**sizes(work / FLOAT), top1=weigher.top1(work / FLOAT))
    built = {name: build(name, work) for name in names if name in PEERS or name in given}
    rows = weighed(built, weigher, QUICK_LAUNCHES if chosen.quick else LAUNCHES)
    overheads = {
        kind: overhead.measure(kind, work, QUICK_RUNS if chosen.quick else RUNS, say)
        for kind in overhead.PAIRS
        if title(kind) in names
    }
    found = bars(baseline, rows, overheads)
    print(f"Taken on {widest(flags())}.", table(baseline, rows), bars_table(found), sep="\n\n")
    if chosen.json:
        facts = {"device": describe(os.environ).to_json(), "baseline": vars(baseline)}
        write_json(chosen.json, {**facts, "rows": [as_json(baseline, row) for row in rows], "bars": found})
    missing = any(row.figures is None for row in rows) or any(isinstance(item, str) for item in overheads.values())
    return int(ExitCode.UNJUDGED if missing else ExitCode.PASS)


def wanted(names: list[str], patterns: list[str]) -> list[str]:
    """Rows and overheads that any of the patterns matches; all without patterns. One that matches nothing is wrong."""
    names = [*names, *map(title, overhead.PAIRS)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"{pattern!r} matches nothing", where="--only", fix=f"names: {', '.join(names)}")
    return [name for name in names if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def title(kind: str) -> str:
    """How `--only` names an overhead."""
    return f"overhead-{kind.replace('_', '-')}"


def build(name: str, work: Path) -> Built:
    """Make one row's file in a fresh process: the file and what it took, or why there is none."""
    say(f"build {name}")
    path = work / "files" / f"{name}.onnx"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        if name not in PEERS:
            spent = run_step(["ours", "stage", "compress", name, "--quiet"], work)
            atomic_write(path, read_bytes(artifact(work, name)))
            return path, spent
        spent = run_step(["peer", name, str(path)], work)
        atomic_write(path, serialize(strip_metadata(onnx.load(path))))
    except (StepError, WeighbridgeError) as error:
        say(f"{name}: {error}")
        return str(error)
    return path, spent


def weighed(built: dict[str, Built], weigher: Weigher, launches: int) -> list[Row]:
    """Every row: figures for what was built and could be weighed, the reason for what was not."""
    reasons = {name: item for name, item in built.items() if isinstance(item, str)}
    made = {name: item for name, item in built.items() if not isinstance(item, str)}
    top1: dict[str, float] = {}
    for name, (path, _) in made.items():
        say(f"accuracy of {name}")
        try:
            top1[name] = weigher.top1(path)
        except MeasurementError as error:
            reasons[name] = str(error)
    timed = weigher.latencies({name: made[name][0] for name in top1}, launches, say)
    rows = []
    for name in built:
        tool = PEERS[name].tool if name in PEERS else name
        latency = timed.get(name, reasons.get(name, ""))
        if isinstance(latency, str):
            rows.append(Row(name, tool, name not in PEERS, error=latency))
            continue
        path, spent = made[name]
        figures = Figures(**sizes(path), top1=top1[name], latency=latency, spent=spent)
        rows.append(Row(name, tool, name not in PEERS, figures))
    return rows


def sizes(path: Path) -> dict[str, Any]:
    """Stored and compressed bytes of a file."""
    return compressed_sizes(read_bytes(path))


def say(text: str) -> None:
    """Progress for whoever waits."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
