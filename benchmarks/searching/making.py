"""How much sooner two Ray workers have made the same recipes than one has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.search.project import project
from weighbridge.compress import stages
from weighbridge.gate.stages import pipeline

ROOT = Path(__file__).resolve().parents[2]
RECIPES, EPOCHS = 6, 120
"""Each trains for about as long as its process takes to start: less than that would time the starting alone."""


def making() -> dict[str, Any]:
    """Seconds of `plan make --executor ray` with one and with two workers, on a cluster of this machine's own."""
    tuned = {"method": "magnitude", "sparsity": 0.5, "finetune": {"epochs": EPOCHS, "lr": 0.01}}
    recipes = {f"r{number}": {"steps": [{"prune": {**tuned, "sparsity": 0.5 + 0.05 * number}}, {"pack": {}}]}
               for number in range(RECIPES)}  # fmt: skip
    found: dict[str, Any] = {"recipes": RECIPES}
    with tempfile.TemporaryDirectory() as folder:
        start = project(Path(folder) / "start", data={"factory": "tests.search.project:many"}, recipes=recipes)
        for body in (stages.prepare, stages.train, stages.baseline):
            body(start)
        pipeline.device(start)
        for workers in (1, 2):
            root = Path(shutil.copytree(start, Path(folder) / f"{workers}"))
            begin = time.perf_counter()
            command = [sys.executable, "-m", "weighbridge", "plan", "make", "--executor", "ray"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            subprocess.run([*command, "--workers", str(workers), "--root", root], env=environment, check=True)
            found[f"seconds_{workers}"] = time.perf_counter() - begin
    found["speed_up"] = found["seconds_1"] / found["seconds_2"]
    return found
