"""One step of any tool in a fresh process, under the same conditions: one thread, no telemetry, the work folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
TIMEOUT = 1800.0


class StepError(Exception):
    """A step that did not end well; the message is the last line that it said."""


@dataclass(frozen=True)
class Spent:
    """What one step took, from the start of its process to its end."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_step(arguments: Sequence[str], work: Path) -> Spent:
    """Run `benchmarks.beside.child` with these arguments in the folder `work`; a `StepError` where it fails."""
    report, said = work / "step.json", work / "step.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.beside.child", str(report), *arguments]
    with said.open("wb") as log:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=work, env=environment(), stdout=log, stderr=log)
        usage = _wait(process)
        seconds = time.perf_counter() - begin
    if process.returncode or not report.is_file():
        lines = [line.strip() for line in said.read_text(errors="replace").splitlines() if line.strip()]
        raise StepError(lines[-1] if lines else f"ended with exit code {process.returncode}")
    peak = json.loads(report.read_text())["peak_bytes"]
    return Spent(seconds, usage, peak)


def _wait(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; CPU seconds that the process used."""
    before = os.times()
    try:
        process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise StepError(f"was not done after {TIMEOUT:.0f} s") from None
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def environment() -> dict[str, str]:
    """What every step sees: this tree first on the path, one thread, and no tool that reports to its makers."""
    return {
        **os.environ,
        **dict.fromkeys(THREADS, "1"),
        "PYTHONPATH": str(ROOT),
        "ORT_DISABLE_TELEMETRY": "1",
        "NNCF_CI": "1",  # the variable with which NNCF's own CI turns its telemetry off
    }
