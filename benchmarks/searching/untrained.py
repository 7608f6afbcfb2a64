"""What a search is worth that trains nothing: its seconds, what it predicts, and what the gate says of its recipes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from weighbridge.compress import stages
from weighbridge.compress.recipe.maker import Maker
from weighbridge.core.documents import Params
from weighbridge.core.files import dump_yaml, read_json, read_yaml
from weighbridge.core.project import PARAMS
from weighbridge.gate.stages import pipeline
from weighbridge.search.estimate.timing import Bench
from weighbridge.search.problem.space import Point, Space, space_of
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


def no_training(project: Path, *words: str) -> dict[str, Any]:
    """Wall time of the whole command, from a baseline that is trained."""
    (baseline,) = (project / FOLDER / "shared").glob("baseline-*.safetensors")
    checkpoint = project / "artifacts" / "trained" / "checkpoint.safetensors"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(baseline, checkpoint)
    begin = time.perf_counter()
    command = [sys.executable, "-m", "weighbridge", "search", "--no-training", "--quiet", "--json", *words]
    done = subprocess.run([*command, "--root", project], cwd=ROOT, capture_output=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode not in {0, 1}:
        raise RuntimeError(done.stderr.decode())
    said = json.loads(done.stdout[done.stdout.index(b"{") :])
    held = [item for item in said["confirmed"] if item["holds"]]
    return {"seconds": seconds, "trials": len(said["trials"]), "confirmed": len(held), "held": held, "said": said}


def predictions(project: Path, epochs: int = 1) -> dict[str, Any]:
    """Bytes and latency of recipes before any training beside those after: of each kind of step that trains."""
    source = searched(project, None, project / FOLDER / "shared", lambda *_: None, training=True)
    made = source.source
    params = made.project.params
    space = space_of(params, made.target.name, made.layers, PARAMS)
    maker = Maker(made.context, made.target, made.start)
    folder = project / FOLDER / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "baseline.onnx").write_bytes(maker.make([]).data)
    files, sizes = {}, {}
    for number, values in enumerate(PREDICTED):
        point = _point(space, values)
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


def _point(space: Space, values: dict[str, Any]) -> Point:
    names = [f"width:{name}" for name in space.layers] or ["width"]
    rest = {key: value for key, value in values.items() if key != "width"}
    return space.point({**rest, **dict.fromkeys(names, values.get("width", 0.0))})


def promised(project: Path) -> dict[str, Any]:
    """Recipes of a search without training, made, weighed and judged by the pipeline: how many keep what was printed.

    Each is asked for its own numbers: bytes to a percent, latency to the upper bound that was confirmed, and the drop
    in accuracy that the search allowed. A verdict that is not `pass` does not count.
    """
    root = project.parent / "promised"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(project, root, symlinks=True)
    params = read_yaml(root / PARAMS)
    drop = next(item for item in params["budgets"] if item["metric"] == "accuracy.top1")
    params |= {"recipes": {"fp16": {"steps": [{"quantize": {"scheme": "fp16"}}]}}, "budgets": [drop]}
    (root / PARAMS).write_text(dump_yaml(params))
    found = no_training(root, "--write")
    params, trials = read_yaml(root / PARAMS), {item["number"]: item for item in found["said"]["trials"]}
    del params["recipes"]["fp16"]
    for item in found["held"]:
        name = next(name for name in params["recipes"] if name.endswith(f"-{item['number']}"))
        size = math.ceil(1.01 * trials[item["number"]]["rungs"][-1]["bytes"])
        params["recipes"][name]["budgets"] = [
            {"metric": "size.bytes", "max": f"{size}B"},
            {"metric": "latency.p50", "max_ratio": round(item["ratio_upper"], 4), "against": "baseline"},
        ]
    (root / PARAMS).write_text(dump_yaml(params))
    for body in (stages.prepare, stages.baseline):
        body(root)
    pipeline.device(root)
    command = [sys.executable, "-m", "weighbridge", "plan", "run", "--root", root]
    subprocess.run(command, cwd=ROOT, check=False)  # exits 1 where a verdict is not `pass`
    said = read_json(root / "reports" / "verdict.json")["recipes"]
    names = list(Params.read(root / PARAMS).recipes)
    passed = sum(name in said and said[name]["verdict"] == "pass" for name in names)
    reasons = [
        f"{item['recipe']}: {budget['metric']} {budget['verdict']}"
        for item in said.values()
        for budget in item["budgets"]
        if budget["verdict"] != "pass"
    ]
    return {"recipes": len(names), "passed": passed, "share": passed / max(len(names), 1), "reasons": reasons}
