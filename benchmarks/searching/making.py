"""How much sooner two Ray workers have made the same recipes than one has, on a cluster that is running already."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from weighbridge.compress import stages
from weighbridge.gate.stages import pipeline

ROOT = Path(__file__).resolve().parents[2]
RECIPES, EPOCHS = 6, 1
"""Of the quickstart's network, pruned to as many sparsities, each with so many epochs of fine-tuning."""
HEAD = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 400 * 2**20}


def making() -> dict[str, Any]:
    """Seconds of `plan make --executor ray` with one and with two workers, from its start to its end."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # a head on 127.0.0.1
    from ray.cluster_utils import Cluster  # only this part needs it

    found: dict[str, Any] = {"recipes": RECIPES}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        start = quickstart(Path(folder) / "start")
        for body in (stages.prepare, stages.train, stages.baseline):
            body(start)
        pipeline.device(start)
        os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # of the cluster's workers
        cluster = Cluster(initialize_head=True, head_node_args=HEAD)
        try:
            for workers in (1, 2):
                root = Path(shutil.copytree(start, Path(folder) / f"{workers}"))
                command = [sys.executable, "-m", "weighbridge", "plan", "make", "--executor", "ray"]
                command += ["--address", cluster.address, "--workers", str(workers), "--root", str(root)]
                begin = time.perf_counter()
                subprocess.run(command, env=environment, check=True)
                found[f"seconds_{workers}"] = time.perf_counter() - begin
        finally:
            cluster.shutdown()
    found["speed_up"] = found["seconds_1"] / found["seconds_2"]
    return found


def quickstart(root: Path) -> Path:
    """A project with the network, data and training of the repository's own, and recipes that all take as long."""
    shutil.copytree(ROOT / "examples", root / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    pruned = {"method": "magnitude", "finetune": {"epochs": EPOCHS}}
    content["recipes"] = {
        f"r{number}": {"steps": [{"prune": {**pruned, "sparsity": 0.5 + 0.05 * number}}, {"pack": {}}]}
        for number in range(RECIPES)
    }
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return root


__all__ = ["making"]
