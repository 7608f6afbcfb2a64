# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""The registry at scale, beside GTO on a history of the same size; races; kill -9; a full disk.

    python benchmarks/registry.py --json registry.json      # all of it: about ten minutes on an idle machine
    python benchmarks/registry.py --quick                   # the same on small numbers: about a minute

1. *Commands*: whole processes of `weighbridge registry`, at each size over 20 models, the sizes in turn: resolve, list,
   verify, promote (with a bare remote on the same disk). GTO on a repository with as many commits, one version tag
   each and one stage tag for each model, up to `--gto-limit` versions. Medians.
2. *Races*: promoters in as many clones against one bare remote, all at once.
3. *Kills*: promotions, each killed with signal 9: half at a random moment, half before a random effect.
4. *Full disk*: promotions on a small file system that has less and less space: a tmpfs that is mounted for it (root
   only), or `--full-disk FOLDER`, an empty folder on one.

Exits 1 if a bar is missed. What is left out (`--promoters 0`, `--kills 0`, `--gto ""`, `--full-disk none`) is no bar.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# This file has the name of the package that it measures: its own folder must not come first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.registry_scale.interrupted import full_disk, kills, small_disk
from benchmarks.registry_scale.processor_times import Row, row
from benchmarks.registry_scale.promoters import races
from benchmarks.registry_scale.whole_commands import Gto, commands

FULL = {"sizes": [100, 1000, 2000, 10_000], "promoters": 20, "kills": 200, "refusals": 60}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked and print a table."""
    options = read_options(arguments)
    os.environ.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null", PYTHONPATH=str(ROOT))
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        work = Path(folder)
        rows = commands(work, options.sizes, options.repeats, Gto(options.gto, options.gto_limit))
        rows += races(work / "races", options.promoters) if options.promoters else []
        rows += kills(work / "kills", options.kills) if options.kills else []
    if options.full_disk != "none":
        with small_disk(options.full_disk) as mount:
            rows += full_disk(mount, options.refusals)
    rows.append(row("the whole benchmark", time.perf_counter() - begin, "s"))
    print(table(rows))
    met = all(item["met"] is not False for item in rows)
    if options.json:
        judged = [item for item in rows if item["bar"]]
        bars = {item["name"]: {"value": item["value"], "target": item["bar"], "met": item["met"]} for item in judged}
        options.json.write_text(json.dumps({"rows": rows, "bars": bars}, indent=2) + "\n")
    raise SystemExit(0 if met else 1)


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` sets what was not given."""
    beside = Path(sys.executable).with_name("gto")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("--sizes", type=int, nargs="+", help="versions; default: 100 1000 2000 10000")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--gto", default=str(beside) if beside.exists() else "gto", help="empty: leave it out")
    parser.add_argument("--gto-limit", type=int, default=2000, help="no GTO beyond that many versions")
    parser.add_argument("--promoters", type=int, help="default: 20")
    parser.add_argument("--kills", type=int, help="default: 200")
    parser.add_argument("--full-disk", default="mount", help="an empty folder on a small file system, mount, or none")
    parser.add_argument("--refusals", type=int, help="promotions on the full disk; default: 60")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    usual = {"sizes": [20, 100], "promoters": 4, "kills": 10, "refusals": 10} if options.quick else FULL
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def table(rows: list[Row]) -> str:
    """The rows in markdown."""
    return "\n".join(_lines(rows))


def _lines(rows: list[Row]) -> Iterator[str]:
    yield "| what | wall | processor | unit | bar | met |"
    yield "|---|---|---|---|---|---|"
    for item in rows:
        met: Callable[[Any], str] = {True: "yes", False: "NO", None: ""}.__getitem__
        cpu = "" if item["cpu"] is None else f"{item['cpu']:.3g}"
        yield f"| {item['name']} | {item['value']:.3g} | {cpu} | {item['unit']} | {item['bar']} | {met(item['met'])} |"


if __name__ == "__main__":
    main()
