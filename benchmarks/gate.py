# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""The gate's own error rates on this machine, beside those of the gate that most teams write.

    python benchmarks/gate.py --json gate-figures.json       # everything; 20 to 25 minutes on an idle machine

Run it again with the same file after an interruption: it goes on where it stopped. `--part` runs some parts alone.

- `record`: launch pairs of a model against itself and against copies that are 5, 10 and 30 % slower by more of the same
  operators, or take so much more memory, drawn again into whole gate runs by the code that decides real ones
- `live`: whole weighings with fresh processes, for false fails, detection and time to verdict
- `naive`: run A 300 times, then B 300 times, compare medians, 10 % threshold; on the same machine
- `loaded`: live weighings while other work keeps the second core busy
- `rerun`: one candidate almost at its limit, weighed again and again
- `quickstart`: the gate's time for the five recipes of this repository, where `artifacts/` has them
- `coverage`: intervals against published tables, and in simulation
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# This file has the name of the package that it measures: the repository must come first, its own folder not at all.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

from benchmarks.gating import coverage, live, naive, quickstart, recorded
from benchmarks.gating.models import Models, write_models
from benchmarks.gating.rows import Row, table
from benchmarks.gating.store import Store
from weighbridge.core.facts.isa import flags, widest
from weighbridge.gate.measure.fingerprint import describe

PARTS = ("record", "live", "naive", "loaded", "rerun", "quickstart", "coverage")


def main() -> int:
    """Run the parts that were asked for, print one table; 1 where a bar was missed."""
    arguments = _arguments()
    parts = arguments.part or PARTS
    path = arguments.json or Path(tempfile.mkdtemp(prefix="weighbridge-")) / "gate-figures.json"
    store = Store(path, describe(os.environ).to_json())
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as folder:
        models = write_models(Path(folder))
        for part in parts:
            _take(part, store, models, arguments)
    found = rows(store, parts, arguments)
    missed = [row.name for row in found if row.met is False]
    store.content["bars"] = {
        row.name: {"value": row.value, "target": row.bar, "met": row.met} for row in found if row.bar
    }
    store.content["rows"] = [row.to_json() for row in found]
    store.save()
    print(f"Taken on {widest(flags())}.\n")
    print(table(found))
    print(f"\n{path}: {len(missed)} bars missed" + (f": {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


def _take(part: str, store: Store, models: Models, arguments: argparse.Namespace) -> None:
    match part:
        case "record":
            recorded.record(store, models, arguments.launches, arguments.copies)
            recorded.record_memory(store, models, arguments.copies)
        case "live":
            live.live(store, models, arguments.live)
        case "naive":
            naive.naive(store, models, arguments.naive)
        case "loaded":
            live.loaded(store, models, arguments.loaded)
        case "rerun":
            live.rerun(store, models, arguments.reruns)
        case "quickstart":
            quickstart.quickstart(store, models.folder)


def rows(store: Store, parts: tuple[str, ...], arguments: argparse.Namespace) -> list[Row]:
    """What was seen, part by part, as figures; recorded launches are drawn and coverage simulated here."""
    seen = store.content["seen"]
    found: list[Row] = []
    if "record" in parts and len(seen.get("launches", [])) >= arguments.launches:
        found += recorded.rows(seen, arguments.runs)
    if "live" in parts and seen.get("live"):
        found += live.live_rows(seen)
    if "naive" in parts and seen.get("naive"):
        found += naive.naive_rows(seen)
    if "loaded" in parts and seen.get("loaded"):
        found += live.loaded_rows(seen)
    if "rerun" in parts and seen.get("rerun"):
        found += live.rerun_rows(seen)
    if "quickstart" in parts and "quickstart" in seen:
        found += quickstart.quickstart_rows(seen)
    if "coverage" in parts:
        found += coverage.rows(arguments.simulated)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="observations, rows and bars; continued where it is there already")
    parser.add_argument("--part", action="append", choices=PARTS, help="repeatable; all without it")
    parser.add_argument("--launches", type=int, default=300, help="pairs of the model against itself, at least 54")
    parser.add_argument("--copies", type=int, default=20, help="pairs of each slower and each greedier copy")
    parser.add_argument("--runs", type=int, default=473, help="gate runs that recorded pairs are drawn into")
    parser.add_argument("--live", type=int, default=5, help="live weighings of each case")
    parser.add_argument("--naive", type=int, default=40, help="runs of the naive gate on each copy")
    parser.add_argument("--loaded", type=int, default=3, help="live weighings of each case under load")
    parser.add_argument("--reruns", type=int, default=100, help="weighings of the same two files")
    parser.add_argument("--simulated", type=int, default=1000, help="samples behind each simulated coverage")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
