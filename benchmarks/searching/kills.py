"""Searches whose coordinator is killed without warning, again and again: no trial may be lost, doubled or changed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.search.project import project
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.run import search

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 8
SPACE = {"techniques": ["share", "quantize"], "bits": [2, 4], "schemes": ["weight-int8", "weight-int4"], "epochs": 1}
CODE = (
    "import sys; from pathlib import Path; from weighbridge.search.run import SearchRequest, search;"
    "search(SearchRequest(root=Path(sys.argv[1]), trials={trials}, timed=False, seed=int(sys.argv[2])))"
)


def killed_searches(count: int, kills: int = 2) -> dict[str, Any]:
    """`count` searches, each killed `kills` times at a random moment after its journal exists, then run to the end,
    beside the same search undisturbed.
    """
    rng, same, killed, began = random.Random(1), 0, 0, 0  # moments to kill at
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            roots = [_project(Path(folder) / name) for name in ("cut", "whole")]
            for _ in range(kills):
                killed += _killed(roots[0], seed, rng.uniform(0.0, 3.0))
            cut, whole = (search(SearchRequest(root=root, trials=TRIALS, timed=False, seed=seed)) for root in roots)
            same += cut.tried == whole.tried and cut.failed == whole.failed
            began += len(whole.tried) + len(whole.failed)
    return {"searches": count, "kills": killed, "trials": began, "searches_as_undisturbed": same}


def _project(root: Path) -> Path:
    return project(root, data={"factory": "tests.search.project:many"}, search=SPACE)


def _killed(root: Path, seed: int, after: float) -> bool:
    """Start the search in a process of its own and kill it; whether it was still running."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE.format(trials=TRIALS), str(root), str(seed)]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        journal = root / ".weighbridge" / "search" / "onnxruntime-front" / "journal.log"
        size = journal.stat().st_size if journal.exists() else 0
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > size):
            time.sleep(0.02)
        time.sleep(after)
        running = process.poll() is None
        if running:
            os.killpg(process.pid, signal.SIGKILL)
    return running
