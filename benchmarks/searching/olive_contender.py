"""Olive's own search (microsoft/Olive) on the same baseline, parts and clock, in a Python of its own: an environment
where `pip install olive-ai==0.13.0 onnxruntime requests` was run.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.core.files import read_json, write_json
from weighbridge.search.problem.three_splits import Searched

CHILD = Path(__file__).with_name("olive_child.py")
GRACE = 120.0
"""Seconds beside the search's own: Olive looks at the clock only between two samples."""


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

    A `ValueError` where no Python is given.
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
    with (folder / "log.txt").open("w") as log:
        subprocess.run(
            [given.python.absolute(), CHILD, folder / "asked.json"],
            check=True,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=given.seconds + GRACE,
            env={**os.environ, "OLIVE_DISABLE_TELEMETRY": "1"},
        )
    found: list[dict[str, Any]] = read_json(folder / "models.json")
    return found


__all__ = ["Asked", "olive"]
