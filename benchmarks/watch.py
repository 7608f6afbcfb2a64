# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""Canaries and stable versions, simulated, through the code that judges them: what is caught, how soon, what falsely.

    python benchmarks/watch.py --json watch.json             # all of it: minutes on one core
    python benchmarks/watch.py --only bad good               # some sections

1. *bad*: five kinds of bad canary under the plan of docs/howto/canary.md, a look every `EVERY` canary requests: aborted
   within 2,000 canary requests, over all steps.
2. *good*: canaries that answer as stable does, through the whole plan: aborted at any look.
3. *limit*: canaries exactly at one limit of the plan, looked at as often: how many are ever called within it.
4. *planted*: a stable version that gets worse a day after its reference window: an alarm within `PATIENCE` days.
5. *quiet*: months of a stable version that does not change, one request a second, a look an hour: alarms of the bounds.
6. *detectors*: the same for the detectors of change, on the streams that a log has.
7. *live*: fewer bad and good canaries, served to real requests whose labels come back; Prometheus (its program on PATH)
   scrapes, and the judge looks each second.

8. *recorded*: canaries of the same kinds, simulated from requests that were really served and labelled: drawn again,
   with the answers, failures and latencies that they had.

Elsewhere requests are drawn from one distribution, as counts; seeds are fixed. Exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "benchmarks"]
sys.path.insert(0, str(ROOT))

from benchmarks.watching.canary_rollouts import bad, good, limit
from benchmarks.watching.drawn_traffic import row
from benchmarks.watching.live_canaries import live
from benchmarks.watching.recorded_rollouts import recorded
from benchmarks.watching.stable_months import detectors, planted, quiet

SECTIONS = ("bad", "good", "limit", "planted", "quiet", "detectors", "live", "recorded")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--bad", type=int, default=300, help="canaries of each kind")
    parser.add_argument("--good", type=int, default=1000, help="canaries")
    parser.add_argument("--most", type=int, default=8000, help="requests of a good canary")
    parser.add_argument("--limit", type=int, default=300, help="canaries at each limit")
    parser.add_argument("--planted", type=int, default=60, help="versions of each kind")
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--detector-months", type=int, default=2)
    parser.add_argument("--live-bad", type=int, default=2, help="canaries of each kind that really serve")
    parser.add_argument("--live-good", type=int, default=6, help="canaries")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    begin, rows = time.perf_counter(), []
    every = (bad, good, limit, planted, quiet, detectors, live, recorded)
    sections = dict(zip(SECTIONS, every, strict=True))
    for name in options.only:
        for item in sections[name](options):
            rows.append(item)
            verdict = {True: "met", False: "MISSED", None: ""}[item["met"]]
            print(f"{item['name']:64} {item['value']:>10,.4g} {item['unit']:10} {item['bar']:8} {verdict}", flush=True)
    rows.append(row("the whole benchmark", time.perf_counter() - begin, "s"))
    if options.json:
        bars = {r["name"]: {"value": r["value"], "target": r["bar"], "met": r["met"]} for r in rows if r["bar"]}
        options.json.write_text(json.dumps({"rows": rows, "bars": bars}, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(0 if all(item["met"] is not False for item in rows) else 1)


if __name__ == "__main__":
    main()
