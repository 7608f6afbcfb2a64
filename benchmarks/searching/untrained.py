"""What a search is worth that trains nothing: its seconds, and what it predicts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.compress.recipe.maker import Maker
from weighbridge.search.estimate.timing import Bench
from weighbridge.search.problem.searched_model import space_of
from weighbridge.search.problem.space import Point, Space
from weighbridge.search.problem.three_splits import searched
from weighbridge.search.trials.workshop import FOLDER

ROOT = Path(__file__).resolve().parents[2]
LAUNCHES = 9
PREDICTED = (
    {"width": 0.5, "teacher": False},
    {"width": 0.25, "sparsity": 0.8, "form": "share-3"},
    {"sparsity": 0.9, "form": "share-4"},
    {"width": 0.5, "form": "qat-int8"},
    {"form": "share-2"},
    {"factor": 0.5},
)
"""Values of a point's knobs: one for each kind of step that trains. `width` is of all layers."""


def no_training(project: Path) -> dict[str, Any]:
    """Wall time of the whole command, from a baseline that is trained."""
    begin = time.perf_counter()
    said = searched_by_command(project, "--no-training")
    seconds = time.perf_counter() - begin
    held = [item for item in said["confirmed"] if item["holds"]]
    return {"seconds": seconds, "trials": len(said["trials"]), "confirmed": len(held)}


def searched_by_command(project: Path, *words: str) -> dict[str, Any]:
    """What `weighbridge search --json` prints; its own baseline serves as the project's."""
    (baseline,) = (project / FOLDER / "shared").glob("baseline-*.safetensors")
    checkpoint = project / "artifacts" / "trained" / "checkpoint.safetensors"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(baseline, checkpoint)
    command = [sys.executable, "-m", "weighbridge", "search", *words, "--quiet", "--json"]
    done = subprocess.run([*command, "--root", project], cwd=ROOT, capture_output=True, check=False)
    if done.returncode not in {0, 1}:
        raise RuntimeError(done.stderr.decode())
    said: dict[str, Any] = json.loads(done.stdout[done.stdout.index(b"{") :])
    return said


def predictions(project: Path, epochs: int = 1) -> dict[str, Any]:
    """Bytes and latency of recipes before any training beside those after: of each kind of step that trains."""
    source = searched(project, None, project / FOLDER / "shared", lambda *_: None, training=True)
    made = source.source
    params = made.project.params
    space = space_of(made)
    maker = Maker(made.context, made.target, made.start)
    folder = project / FOLDER / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "baseline.onnx").write_bytes(maker.make([]).data)
    files, sizes = {}, {}
    for number, values in enumerate(PREDICTED):
        point = point_of(space, values)
        for name, count in (("before", 0), ("after", max(epochs, len(space.steps(point, 0))))):
            built = maker.make(space.read(point, count))
            files[f"{number}-{name}"] = folder / f"{number}-{name}.onnx"
            files[f"{number}-{name}"].write_bytes(built.data)
            sizes[number, name] = built.sizes.bytes
    bench = Bench(folder / "baseline.onnx", source.stop, params.weighing, folder / "timings", lambda *_: None)
    timed = bench.time(files, LAUNCHES)
    rows = [
        {
            "values": str(values),
            "bytes": [sizes[number, "before"], sizes[number, "after"]],
            "ratio": [timed[f"{number}-{name}"].ratio for name in ("before", "after")],
        }
        for number, values in enumerate(PREDICTED)
    ]
    return {
        "rows": rows,
        "bytes": max(abs(row["bytes"][0] / row["bytes"][1] - 1) for row in rows),
        "latency": max(abs(row["ratio"][0] / row["ratio"][1] - 1) for row in rows),
    }


def point_of(space: Space, values: Mapping[str, Any]) -> Point:
    """The point of these values; `width` is of all layers."""
    names = [f"width:{name}" for name in space.layers] or ["width"]
    rest = {key: value for key, value in values.items() if key != "width"}
    return space.point({**rest, **dict.fromkeys(names, values.get("width", 0.0))})
