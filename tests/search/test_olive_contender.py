"""Olive's own search is ended when its time is up, and what it evaluated counts."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.searching.olive_contender import Asked, olive

EVALUATED = """#!/bin/sh
mkdir -p cache/default_workflow/evaluations cache/default_workflow/runs/made
cd cache/default_workflow
echo '{"config": {"model_path": "made.onnx"}}' > runs/made/model.json
evaluation() {
  echo '{"model_id": "'$1'-cpu-cpu", "signal": {"accuracy-accuracy_score": {"value": '$2'},
    "latency-p50": {"value": 0.25}, "size-bytes": {"value": 1000}}}' > evaluations/$1-cpu-cpu.json
}
evaluation input 0.9
sleep 0.1
evaluation made 0.8
"""


def ran(folder: Path, script: str, seconds: float) -> list[dict[str, Any]]:
    """The rows of a search that `script` stands for."""
    python = folder / "python"
    python.write_text(script)
    python.chmod(0o755)
    part = SimpleNamespace(inputs={"image": np.zeros((2, 1))}, labels=np.arange(2))
    searched: Any = SimpleNamespace(
        stop=part, source=SimpleNamespace(context=SimpleNamespace(data=SimpleNamespace(calibration=part)))
    )
    return olive(searched, folder / "baseline.onnx", Asked(folder / "olive", seconds, 1, python))


def test_a_search_that_does_not_look_at_the_clock_is_ended(tmp_path: Path) -> None:
    """What it evaluated until then counts, in order, the input among it; what it was writing down does not."""
    cut_short = 'echo \'{"model_id": "cut\' > evaluations/cut-cpu-cpu.json'
    rows = ran(tmp_path, f"{EVALUATED}{cut_short}\nexec sleep 60\n", 2.0)
    assert [(row["input"], row["accuracy"]) for row in rows] == [(True, 0.9), (False, 0.8)]
    assert rows[0]["path"] == str(tmp_path / "baseline.onnx")
    assert rows[1] == {**rows[1], "path": "made.onnx", "latency": 0.25, "bytes": 1000}
    assert 0 <= rows[0]["seconds"] <= rows[1]["seconds"]


def test_a_search_that_ends_by_itself_is_read_the_same_way(tmp_path: Path) -> None:
    """And one that breaks off is no result."""
    assert len(ran(tmp_path, EVALUATED, 60.0)) == 2
    with pytest.raises(subprocess.CalledProcessError):
        ran(tmp_path, f"{EVALUATED}exit 3\n", 60.0)
