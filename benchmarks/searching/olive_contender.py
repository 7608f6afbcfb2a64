"""Olive's own search (microsoft/Olive) on the same baseline, parts and clock, in a Python of its own: an environment
where `pip install olive-ai==0.13.0 onnxruntime requests` was run.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.core.errors import InputError
from weighbridge.core.files import read_json, write_json
from weighbridge.search.problem.three_splits import Searched

CHILD = Path(__file__).with_name("olive_child.py")
CACHE = "cache/default_workflow"
"""Where Olive keeps what it makes and evaluates, below its folder."""
METRICS = {"accuracy": "accuracy-accuracy_score", "latency": "latency-p50", "bytes": "size-bytes"}


@dataclass(frozen=True)
class Asked:
    """What one run of Olive is asked for."""

    folder: Path
    seconds: float
    seed: int
    python: Path | None
    """Of the environment that has Olive."""


def olive(searched: Searched, baseline: Path, given: Asked) -> list[dict[str, Any]]:
    """Every model that Olive evaluated, in order: path, seconds since its start, accuracy, latency in ms, bytes.

    Olive looks at the clock only between two samples, which take minutes once its sampler knows most of the space: it
    is ended when the time is up. A `ValueError` where no Python is given.
    """
    if given.python is None:
        raise ValueError("--olive PYTHON says which Python has Olive installed")
    folder = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    data = searched.source.context.data
    assert data.calibration is not None  # the contract of `Context.data`
    (name,) = searched.stop.inputs
    np.savez(folder / "stop.npz", input=searched.stop.inputs[name], labels=searched.stop.labels)
    np.savez(folder / "calibration.npz", input=data.calibration.inputs[name], labels=data.calibration.labels)
    asked = {"baseline": str(baseline), "name": name, "classes": int(searched.stop.labels.max()) + 1}
    asked |= {"seconds": given.seconds, "seed": given.seed, "folder": str(folder)}
    write_json(folder / "asked.json", asked)
    begin = time.time()
    with (folder / "log.txt").open("w") as log, suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [given.python.absolute(), CHILD, folder / "asked.json"],
            check=True,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=given.seconds,
            env={**os.environ, "OLIVE_DISABLE_TELEMETRY": "1"},
        )
    return evaluated(folder / CACHE, baseline, begin)


def evaluated(cache: Path, baseline: Path, begin: float) -> list[dict[str, Any]]:
    """The models that Olive's cache has an evaluation of, in order of their time; `begin` is that of its start.

    Columns: whether it is the input, path, seconds since the start, accuracy, latency in ms, bytes. An evaluation whose
    file was cut short, by the end of the search, is none.
    """
    rows = []
    for path in (cache / "evaluations").glob("*.json"):
        try:
            content = read_json(path)
        except InputError:
            continue
        model = cache / "runs" / content["model_id"].split("-")[0] / "model.json"
        given = not model.exists()
        rows.append(
            {
                "input": given,
                "path": str(baseline) if given else read_json(model)["config"]["model_path"],
                "seconds": max(path.stat().st_mtime - begin, 0.0),
                **{name: content["signal"][key]["value"] for name, key in METRICS.items()},
            }
        )
    return sorted(rows, key=lambda row: float(row["seconds"]))


__all__ = ["Asked", "evaluated", "olive"]
