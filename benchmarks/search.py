"""How good the front of a search is, and what its machinery costs, each beside its bar.

`fronts`: confirmed hypervolume beside the recipes made by hand (`hand_made`) and random search. The quickstart's net;
each seed searches for its minutes with its own journal, then at random on the same clock. Hypervolume is that of
log(baseline's bytes / bytes) x log(baseline's latency / latency) over confirmed recipes, with the baseline as the
reference; the hand-made recipes are those of benchmarks/recipes.yaml, made from the search's own baseline, and count
where they lose no more on the part that confirms than a search may. Timings of one machine only.
`no_training`: wall time of `search --no-training`. `predictions`: bytes and latency before training beside after.
`promised`: what it printed, judged by the pipeline. `bookkeeping`: ten thousand items. `kills`: searches that are
killed and resumed, plans whose workers are. `making`: two Ray workers over one.

    python benchmarks/search.py --json search.json                               # five seeds of half an hour: six hours
    python benchmarks/search.py --json search.json --minutes 5 --seeds 1 --epochs 1    # a look
    python benchmarks/search.py --json search.json --parts bookkeeping kills --searches 5

What the file has is not run again.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from benchmarks import plots
from benchmarks.searching.bookkeeping import bookkeeping
from benchmarks.searching.kills import killed_searches
from benchmarks.searching.making import making
from benchmarks.searching.untrained import no_training, predictions, promised
from weighbridge.compress.recipe.maker import Maker
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.core.documents import RecipeSection
from weighbridge.core.files import read_json, read_yaml, write_json
from weighbridge.core.pareto import hypervolume
from weighbridge.search.estimate.scores import loss, scores
from weighbridge.search.estimate.timing import Bench, Timing
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.problem.three_splits import searched
from weighbridge.search.run import FOLDER, Found, search
from weighbridge.search.trials.study import CONSTRAINT, STUDY

ROOT = Path(__file__).resolve().parent.parent
Points = Sequence[tuple[float, float]]
LAUNCHES = 9
AT_LEAST = {
    "of_hand_made": 0.95,
    "of_random": 1.3,
    "speed_up": 1.7,
    "searches_as_undisturbed": 1.0,
    "plans_as_undisturbed": 1.0,
    "promised_pass": 0.95,
}
AT_MOST = {"predicted_bytes": 0.01, "predicted_latency": 0.15, "bookkeeping_seconds": 10.0, "no_training_seconds": 60.0}
PARTS = ("bookkeeping", "kills", "making", "no_training", "predictions", "promised", "hand_made", "fronts")
BASED = ("no_training", "predictions", "promised")
"""Parts that need the search's own baseline."""


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
        "anytime": anytime(found),
    }


def anytime(found: Found) -> list[tuple[float, float]]:
    """(seconds, hypervolume of what kept the budgets so far on the part that stops trials), trial by trial."""
    log = JournalStorage(JournalFileBackend(str(found.folder / "journal.log")))
    points, curve = [], []
    for trial in optuna.load_study(study_name=STUDY, storage=log).get_trials(states=[TrialState.COMPLETE]):
        known = trial.user_attrs["facts"]
        if trial.user_attrs[CONSTRAINT] <= 0 and known["timing"]:
            ratio = Timing(**{key: tuple(value) for key, value in known["timing"].items()}).ratio
            points.append((math.log(found.baseline.bytes / known["rungs"][-1]["bytes"]), -math.log(ratio)))
        curve.append((known["elapsed"], hypervolume(points)))
    return curve


def values_of_fronts(rows: Sequence[dict[str, Any]], hand: dict[str, Any]) -> dict[str, float]:
    """What is held against the bars; the worst seed counts."""
    points = [
        (math.log(item["baseline"] / item["bytes"]), -math.log(item["ratio"]))
        for item in hand.values()
        if item["drop"] <= 0.01
    ]
    reference = hypervolume(points)
    guided = [row for row in rows if not row["random"]]
    others = {row["seed"]: row["hypervolume"] for row in rows if row["random"]}
    beside = [row["hypervolume"] / max(others[row["seed"]], 1e-9) for row in guided if row["seed"] in others]
    return {
        **({"of_hand_made": min(row["hypervolume"] / reference for row in guided)} if reference else {}),
        **({"of_random": min(beside)} if beside else {}),
        "predicted_bytes": max(row["errors"]["bytes"] for row in guided),
        "predicted_latency": max(row["errors"]["latency"] for row in guided),
    }


def bars(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was promised beside what was measured, of the parts that ran."""
    found = values_of_fronts(content["rows"], content.get("hand_made", {})) if content.get("rows") else {}
    for name, part, key in (
        ("bookkeeping_seconds", "bookkeeping", "seconds"),
        ("speed_up", "making", "speed_up"),
        ("no_training_seconds", "no_training", "seconds"),
        ("predicted_bytes", "predictions", "bytes"),
        ("predicted_latency", "predictions", "latency"),
        ("promised_pass", "promised", "share"),
    ):
        if part in content:  # what is predicted over a whole front too: the worst counts
            found[name] = max(content[part][key], found.get(name, content[part][key]))
    if "kills" in content:
        for name in ("searches", "plans"):
            found[f"{name}_as_undisturbed"] = content["kills"][f"{name}_as_undisturbed"] / content["kills"][name]
    limits = {**AT_LEAST, **AT_MOST}
    return {
        name: {
            "value": value,
            "target": limits[name],
            "met": value <= limits[name] if name in AT_MOST else value >= limits[name],
        }
        for name, value in found.items()
    }


def opened_project(project: Path, epochs: int | None) -> None:
    """The quickstart, with a point that a recipe may lose, and its own epochs of fine-tuning or fewer."""
    project.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "params.yaml").read_text().replace("max_drop: 0.02", "max_drop: 0.01")
    if epochs is not None:
        text += f"\nsearch: {{epochs: {epochs}}}\n"
    (project / "params.yaml").write_text(text)
    if not (project / "examples").exists():
        (project / "examples").symlink_to(ROOT / "examples")


def run_fronts(content: dict[str, Any], project: Path, given: argparse.Namespace) -> None:
    """Each seed guided, then at random; written down after each."""
    content.setdefault("rows", [])
    content |= {"minutes": given.minutes, "epochs": given.epochs}
    write_json(given.json, content)
    for seed in range(1, given.seeds + 1):
        for random in (False, True):
            if not any((row["seed"], row["random"]) == (seed, random) for row in content["rows"]):
                content["rows"].append(run_seed(project, seed, 60 * given.minutes, random=random))
                print({key: value for key, value in content["rows"][-1].items() if key != "anytime"}, flush=True)
                write_json(given.json, content)


def run_part(name: str, content: dict[str, Any], project: Path, given: argparse.Namespace) -> None:
    """Run one part unless the file has it."""
    if name == "fronts":
        run_fronts(content, project, given)
    elif name not in content:
        if name in BASED:
            searched(project, None, project / FOLDER / "shared", lambda *_: None, training=True)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "bookkeeping": bookkeeping,
            "kills": lambda: killed_searches(range(given.searches)),
            "making": making,
            "no_training": lambda: {**no_training(project), "said": None},
            "predictions": lambda: predictions(project),
            "promised": lambda: promised(project),
            "hand_made": lambda: hand_made(project),
        }
        content[name] = parts[name]()
        print(name, content[name], flush=True)


def main() -> int:
    """Run, print, write; exits 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="of each search")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--epochs", type=int, help="of fine-tuning in a recipe at most, instead of ten")
    parser.add_argument("--searches", type=int, default=50, help="that are killed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--work", type=Path, help="a folder to keep the project in")
    given = parser.parse_args()
    content: dict[str, Any] = read_json(given.json) if given.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        project = (given.work or Path(folder)).resolve() / "project"
        opened_project(project, given.epochs)
        for name in PARTS:
            if name in given.parts:
                run_part(name, content, project, given)
                write_json(given.json, content)
    content |= {"rows": content.get("rows", []), "bars": bars(content), "cores": int(np.int64(os.cpu_count() or 1))}
    write_json(given.json, content)
    if content.get("rows"):
        plots.save(plots.search(content["rows"]), given.json.with_suffix(".png"))
    for name, item in content["bars"].items():
        print(f"{name}: {item['value']:.3g} (bar {item['target']:g}) {'met' if item['met'] else 'MISSED'}")
    return 0 if all(item["met"] for item in content["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
