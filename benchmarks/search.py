"""How good the front of a search is, and what its machinery costs, each beside its bar.

`hypervolume`: confirmed hypervolume beside the recipes made by hand, random search and Olive's own search on the same
clock (see benchmarks/searching/hypervolume.py). Every contender with every seed is a unit, kept in `--work`: a run goes
on where the last one ended, and a bar whose units are not all there is not met. Timings of one machine only.
`no_training`: wall time of `search --no-training`. `predictions`: bytes and latency before training beside after.
`expectations`: what the searches of `--work` expected files to lose, beside what these lose on the test part.
`zeros`: the same bytes of pruned recipes after ten epochs, by where weights are ranked.
`promised`: what it printed, judged by the pipeline. `bookkeeping`: ten thousand items. `kills`: searches that are
killed and resumed, plans whose workers are. `making`: two Ray workers over one. `records`: the smallest and the fastest
file that a long search confirms; `floors`: how fast very narrow files are.

    python benchmarks/search.py --json search.json --work DIR --olive VENV/bin/python        # everything: fifteen hours
    python benchmarks/search.py --json search.json --work DIR --only hypervolume --minutes 5 --unit ours:1
    python benchmarks/search.py --json search.json --only bookkeeping kills --searches 5

What the file has is not run again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import plots
from benchmarks.searching.bookkeeping import bookkeeping
from benchmarks.searching.expectations import expectations
from benchmarks.searching.floors import TARGETS, floors
from benchmarks.searching.hypervolume import bars_of, rows_of, run_unit, unit_of, units_of
from benchmarks.searching.kills import killed_searches
from benchmarks.searching.making import making
from benchmarks.searching.promises import promised
from benchmarks.searching.records import ASKED, figures, record
from benchmarks.searching.untrained import no_training, predictions
from benchmarks.searching.zeros import zeros
from weighbridge.core.files import read_json, write_json
from weighbridge.search.problem.three_splits import searched
from weighbridge.search.trials.workshop import FOLDER

ROOT = Path(__file__).resolve().parent.parent
AT_LEAST = {
    "speed_up": 1.7,
    "searches_as_undisturbed": 1.0,
    "plans_as_undisturbed": 1.0,
    "promised_pass": 0.95,
    "smallest": 60.0,
}
AT_MOST = {
    "predicted_bytes": 0.01,
    "predicted_latency": 0.15,
    "bookkeeping_seconds": 10.0,
    "no_training_seconds": 60.0,
    "fastest_onnxruntime": 0.30,
    "fastest": 0.15,
}
BASED = ("no_training", "predictions", "zeros", "promised", "floors")
"""Parts that need the search's own baseline."""
PARTS = ("bookkeeping", "kills", "making", *BASED, "hypervolume", "records", "expectations")
FEW = 5
"""Searches that are killed before what is known is written down."""


def bars(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was promised beside what was measured, of the parts that ran."""
    found = dict[str, float]()
    for name, part, key in (
        ("bookkeeping_seconds", "bookkeeping", "seconds"),
        ("speed_up", "making", "speed_up"),
        ("no_training_seconds", "no_training", "seconds"),
        ("predicted_bytes", "predictions", "bytes"),
        ("predicted_latency", "predictions", "latency"),
        ("promised_pass", "promised", "share"),
    ):
        if part in content:
            found[name] = content[part][key]
    if "kills" in content:
        for name in ("searches", "plans"):
            found[f"{name}_as_undisturbed"] = content["kills"][f"{name}_as_undisturbed"] / content["kills"][name]
    found |= figures(content.get("records", []))
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
    text = text.replace("targets: [onnxruntime]", f"targets: [{', '.join(TARGETS)}]")
    if epochs is not None:
        text += f"\nsearch: {{epochs: {epochs}}}\n"
    (project / "params.yaml").write_text(text)
    if not (project / "examples").exists():
        (project / "examples").symlink_to(ROOT / "examples")


def run_units(content: dict[str, Any], project: Path, given: argparse.Namespace) -> None:
    """Do the units that are asked for, or all; the figures are of every unit that the work folder has."""
    whole = units_of(given.seeds, given.minutes)
    for unit in [unit_of(words, given.minutes) for words in given.unit] or whole:
        run_unit(unit, project, project.parent / "units", given.olive, confirming=not given.confirm_later)
    rows = rows_of(project.parent / "units", whole)
    content["hypervolume"] = {"minutes": given.minutes, "rows": rows, "bars": bars_of(rows, given.seeds)}
    for row in rows:
        print({key: value for key, value in row.items() if key not in {"anytime", "files"}}, flush=True)


def run_kills(content: dict[str, Any], given: argparse.Namespace) -> None:
    """A few searches and plans at a time, written down after each few: what the file has is not run again."""
    known: dict[str, int] = content.get("kills", {})
    while known.get("searches", 0) < given.searches:
        begin = known.get("searches", 0)
        fresh = killed_searches(range(begin, min(begin + FEW, given.searches)))
        known = {key: known.get(key, 0) + value for key, value in fresh.items()}
        content["kills"] = known
        write_json(given.json, content)
        print("kills", known, flush=True)


def run_records(content: dict[str, Any], project: Path, given: argparse.Namespace) -> None:
    """One search after the other, written down after each."""
    rows: list[dict[str, Any]] = content.setdefault("records", [])
    for target, goal in ASKED:
        if (target, goal) not in {(row["target"], row["goal"]) for row in rows}:
            rows.append(record(project, target, goal, given.record_minutes))
            write_json(given.json, content)
            print("records", rows[-1], flush=True)


def run_part(name: str, content: dict[str, Any], project: Path, given: argparse.Namespace) -> None:
    """Run one part unless the file has it."""
    if name == "hypervolume":
        run_units(content, project, given)
    elif name == "kills":
        run_kills(content, given)
    elif name == "records":
        run_records(content, project, given)
    elif name == "expectations":
        content[name] = expectations(project)
        print(name, content[name], flush=True)
    elif name not in content:
        if name in BASED:
            searched(project, None, project / FOLDER / "shared", lambda *_: None, training=True)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "bookkeeping": bookkeeping,
            "making": making,
            "no_training": lambda: no_training(project),
            "predictions": lambda: predictions(project),
            "zeros": lambda: zeros(project),
            "promised": lambda: promised(project),
            "floors": lambda: floors(project),
        }
        content[name] = parts[name]()
        print(name, content[name], flush=True)


def main() -> int:
    """Run, print, write; exits 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="of each search")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--unit", nargs="+", default=[], help="only these of `hypervolume`, as ours:1 or hand")
    parser.add_argument("--confirm-later", action="store_true", help="find files only; the next call confirms them")
    parser.add_argument("--olive", type=Path, help="Python of an environment with Olive")
    parser.add_argument("--epochs", type=int, help="of fine-tuning in a recipe at most, instead of ten")
    parser.add_argument("--record-minutes", type=float, default=120.0, help="of each search for the best file")
    parser.add_argument("--searches", type=int, default=50, help="that are killed")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--work", type=Path, help="a folder to keep the project and units in")
    given = parser.parse_args()
    content: dict[str, Any] = read_json(given.json) if given.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        project = (given.work or Path(folder)).resolve() / "project"
        opened_project(project, given.epochs)
        for name in PARTS:
            if name in given.only:
                run_part(name, content, project, given)
                write_json(given.json, content)
    known = content.get("hypervolume", {"rows": [], "bars": {}})
    content |= {"bars": {**bars(content), **known["bars"]}, "cores": int(np.int64(os.cpu_count() or 1))}
    write_json(given.json, content)
    if known["rows"]:
        plots.save(plots.search(known["rows"]), given.json.with_suffix(".png"))
    for name, item in content["bars"].items():
        units = f", {item['units']} seeds" if "units" in item else ""
        print(f"{name}: {item['value']:.3g} (bar {item['target']:g}{units}) {'met' if item['met'] else 'MISSED'}")
    return 0 if all(item["met"] for item in content["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
