"""How good the front of a search is: confirmed hypervolume beside the recipes made by hand, and beside random search.

The quickstart's network; each seed searches for `--seconds` with its own journal, then at random on the same clock.
Hypervolume is that of log(baseline's bytes / bytes) × log(baseline's latency / latency) over confirmed recipes, with
the baseline as the reference; the hand-made recipes are those of benchmarks/recipes.yaml, made from the search's own
baseline, and count where they lose no more on the part that confirms than a search may. Timings of one machine only.

    python benchmarks/search.py --json search.json --seeds 1 2 3 4 5 --seconds 1800      # five hours and a half
    python benchmarks/search.py --json search.json --seeds 1 --seconds 300               # a look
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from weighbridge.compress.recipe.maker import Maker
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.core.documents import RecipeSection
from weighbridge.core.files import read_json, read_yaml, write_json
from weighbridge.core.pareto import hypervolume
from weighbridge.search.estimate.scores import loss, scores
from weighbridge.search.estimate.timing import Bench
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.problem.three_splits import searched
from weighbridge.search.run import FOLDER, Found, search

ROOT = Path(__file__).resolve().parent.parent
Points = Sequence[tuple[float, float]]
LAUNCHES = 9
BARS = {"of_hand_made": 0.95, "of_random": 1.3, "predicted_bytes": 0.01, "predicted_latency": 0.15}


def confirmed_points(found: Found) -> Points:
    """Gains of the confirmed recipes."""
    by_number = dict(found.tried)
    return [
        (math.log(found.baseline.bytes / by_number[item.number].last.bytes), -math.log(item.ratio))
        for item in found.confirmed
        if item.holds and item.ratio is not None
    ]


def hand_made(project: Path) -> dict[str, Any]:
    """The recipes of benchmarks/recipes.yaml on the search's own splits and baseline."""
    folder = project / FOLDER / "hand-made"
    source = searched(project, None, project / FOLDER / "shared", lambda *_: None, training=True)
    maker = Maker(source.source.context, source.source.target, source.source.start)
    base = maker.make([])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "baseline.onnx").write_bytes(base.data)
    run = source.source.target.run
    before = scores(run(base.data, source.confirm.inputs), source.confirm)
    params = source.source.project.params
    bench = Bench(folder / "baseline.onnx", source.stop, params.weighing, project / FOLDER / "timings", lambda *_: None)
    found = {}
    for name, section in read_yaml(ROOT / "benchmarks" / "recipes.yaml").items():
        made = maker.make(read_steps(RecipeSection(**section), f"recipes.yaml: {name}"))
        path = folder / f"{name}.onnx"
        path.write_bytes(made.data)
        cost = loss(before, scores(run(made.data, source.confirm.inputs), source.confirm), 0.01)
        timing = bench.time({name: path}, LAUNCHES)[name]
        found[name] = {"bytes": len(made.data), "baseline": len(base.data), "drop": cost.drop, "ratio": timing.ratio}
    return found


def errors_of_prediction(found: Found) -> dict[str, float]:
    """Worst relative error of bytes, and of latency, of confirmed recipes before any training."""
    by_number = dict(found.tried)
    sizes, times = [0.0], [0.0]
    for item in found.confirmed:
        outcome = by_number[item.number]
        sizes.append(abs(outcome.rungs[0].bytes / outcome.last.bytes - 1))
        if item.ratio is not None and outcome.timing is not None:
            times.append(abs(outcome.timing.ratio / item.ratio - 1))
    return {"bytes": max(sizes), "latency": max(times)}


def run_seed(project: Path, seed: int, seconds: float, *, random: bool) -> dict[str, Any]:
    """One search from an empty journal."""
    name = f"{'random' if random else 'guided'}-{seed}"
    shutil.rmtree(project / FOLDER / name, ignore_errors=True)
    found = search(SearchRequest(root=project, seconds=seconds, seed=seed, name=name, random=random, guided=not random))
    points = confirmed_points(found)
    return {
        "seed": seed,
        "random": random,
        "trials": len(found.tried),
        "failed": len(found.failed),
        "confirmed": len(points),
        "of": len(found.confirmed),
        "hypervolume": hypervolume(points),
        "smallest": max((math.exp(x) for x, _ in points), default=1.0),
        "fastest": min((math.exp(-y) for _, y in points), default=1.0),
        "errors": errors_of_prediction(found),
    }


def bars(rows: Sequence[dict[str, Any]], hand: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was promised beside what was measured; the worst seed counts."""
    points = [
        (math.log(item["baseline"] / item["bytes"]), -math.log(item["ratio"]))
        for item in hand.values()
        if item["drop"] <= 0.01
    ]
    reference = hypervolume(points)
    guided = [row for row in rows if not row["random"]]
    others = {row["seed"]: row["hypervolume"] for row in rows if row["random"]}
    values = {
        "of_hand_made": min(row["hypervolume"] / reference for row in guided) if reference else math.inf,
        "of_random": min(row["hypervolume"] / max(others.get(row["seed"], 0.0), 1e-9) for row in guided),
        "predicted_bytes": max(row["errors"]["bytes"] for row in guided),
        "predicted_latency": max(row["errors"]["latency"] for row in guided),
    }
    return {
        name: {"value": value, "bar": BARS[name], "met": value <= BARS[name] if "pred" in name else value >= BARS[name]}
        for name, value in values.items()
    }


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seconds", type=float, default=1800.0)
    given = parser.parse_args()
    content: dict[str, Any] = read_json(given.json) if given.json.exists() else {"rows": []}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        project.mkdir()
        text = (ROOT / "params.yaml").read_text()
        (project / "params.yaml").write_text(text.replace("max_drop: 0.02", "max_drop: 0.01"))
        (project / "examples").symlink_to(ROOT / "examples")
        content["hand_made"] = content.get("hand_made") or hand_made(project)
        for seed in given.seeds:
            for random in (False, True):
                if not any((row["seed"], row["random"]) == (seed, random) for row in content["rows"]):
                    content["rows"].append(run_seed(project, seed, given.seconds, random=random))
                    print(content["rows"][-1], flush=True)
                    write_json(given.json, content)
    content["bars"] = bars(content["rows"], content["hand_made"])
    content["cores"] = int(np.int64(os.cpu_count() or 1))
    write_json(given.json, content)
    for name, item in content["bars"].items():
        print(f"{name}: {item['value']:.3g} (bar {item['bar']}) {'met' if item['met'] else 'MISSED'}")
    return 0 if all(item["met"] for item in content["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
