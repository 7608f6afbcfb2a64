"""Does the gate see every lever? Real repositories, each with a base commit and a change that pulls at one thing.

One repository is built, weighed and judged for real; every lever starts from a copy of it. Where a lever must be gated,
`weighbridge ci gate` runs with a stand-in for DVC that stops it: what is measured is whether the change is seen. Where
it is about limits, `weighbridge gate --base` judges what was measured. Harmless changes must be neither gated nor
annotated.

    python benchmarks/levers.py --json figures.json
    python benchmarks/levers.py --only submodule

The bars: every lever is seen, no harmless change is gated, and "nothing to weigh" takes 3 s at most in a repository of
2,000 files.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from levers_cases import HARMLESS, LEVERS  # found by the line above
from levers_cases.case import Lever
from levers_cases.repository import commit, environment, make, run

BAR_SECONDS = 3.0
FILES = 2000
_STAND_IN = "#!/bin/sh\necho 'ERROR: the stand-in for DVC stops here'\nexit 1\n"
_ANNOTATION = re.compile(r"^::(error|warning|notice)", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """What the gate did about one change."""

    name: str
    seen: bool
    code: int
    seconds: float
    said: str
    """The line that matched, or the last one."""


def pull(lever: Lever, template: Path, work: Path) -> Row:
    """Make the lever's repository and run the gate on it."""
    root = work / re.sub(r"\W+", "-", lever.name)
    shutil.copytree(template, root, symlinks=True)
    lever.base(root)
    commit(root, "base")
    run(root, "git", "switch", "--quiet", "--create", "change")
    lever.change(root)
    command = ["weighbridge", "ci", "gate", "--base", "main"]
    if lever.judged:
        project = next(
            path.parent for path in (root / "params.yaml", root / "models/net/params.yaml") if path.is_file()
        )
        run(project, "weighbridge", "stage", "judge", accepted=(0, 1, 2, 3))
        command = ["weighbridge", "gate", "--root", str(project), "--base", "main"]
    commit(root, "change")
    begin = time.perf_counter()
    variables = {**environment(work / "bin"), "GITHUB_ACTIONS": "true"}
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    said = f"{done.stdout}\n{done.stderr}".strip()
    match = re.search(lever.says, said)
    quiet = lever not in HARMLESS or not _ANNOTATION.search(said)
    line = next((line for line in said.splitlines() if match and re.search(lever.says, line)), said.splitlines()[-1])
    shutil.rmtree(root)
    return Row(
        lever.name, bool(match) and done.returncode in lever.codes and quiet, done.returncode, seconds, line[:300]
    )


def nothing_to_weigh(template: Path, work: Path) -> tuple[float, float]:
    """Seconds, and seconds of a processor, to decide that nothing is to be weighed in a repository of two thousand
    files; the best of three.
    """
    root = work / "many"
    shutil.copytree(template, root, symlinks=True)
    for number in range(FILES):
        path = root / f"many/{number % 40}/{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"VALUE = {number}\n")
    commit(root, "base")
    run(root, "git", "switch", "--quiet", "--create", "change")
    (root / "README.md").write_text("# Words\n")
    commit(root, "change")
    times = []
    for _ in range(3):
        begin, spent = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        if "nothing to weigh" not in run(root, "weighbridge", "ci", "gate", "--base", "main"):
            raise SystemExit("a change of the documentation was gated")
        used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - spent
        times.append((time.perf_counter() - begin, used))
    return min(times)


def main() -> int:
    """Pull every lever; exit 1 where one was not seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", default="", help="levers whose name has this in it")
    parser.add_argument("--template", type=Path, help="keep the built repository here, or take the one that is there")
    parser.add_argument("--jobs", type=int, default=2, help="repositories at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="levers-") as name:
        work = Path(name)
        (work / "bin").mkdir()
        (work / "bin/dvc").write_text(_STAND_IN)
        (work / "bin/dvc").chmod(0o755)
        template = options.template or work / "template"
        if not template.exists():
            make(template)
        groups = {}
        for title, levers in (("levers", LEVERS), ("harmless", HARMLESS)):
            chosen = [lever for lever in levers if options.only in lever.name]
            with ThreadPoolExecutor(options.jobs) as pool:
                groups[title] = list(pool.map(lambda lever: pull(lever, template, work), chosen))
            for row in groups[title]:
                print(f"{'ok  ' if row.seen else 'MISS'} {row.code} {row.seconds:5.1f} s  {row.name}: {row.said[:140]}")
        seconds, processor = nothing_to_weigh(template, work)
    counts = {title: (sum(row.seen for row in rows), len(rows)) for title, rows in groups.items()}
    print(f"levers seen: {counts['levers'][0]} of {counts['levers'][1]}")
    print(f"harmless changes left alone: {counts['harmless'][0]} of {counts['harmless'][1]}")
    print(
        f"nothing to weigh in {FILES} files: {seconds:.2f} s, of a processor {processor:.2f} s (bar {BAR_SECONDS:g} s)"
    )
    bars: dict[str, dict[str, Any]] = {
        name: {"value": counts[title][0], "target": counts[title][1], "met": counts[title][0] == counts[title][1]}
        for title, name in (("levers", "levers_seen"), ("harmless", "harmless_left_alone"))
        if counts[title][1]  # --only leaves some out
    }
    bars["nothing_to_weigh_seconds"] = {"value": seconds, "target": BAR_SECONDS, "met": seconds <= BAR_SECONDS}
    if options.json:
        rows = {title: [asdict(row) for row in found] for title, found in groups.items()}
        figures = {"rows": rows, "bars": bars, "processor_seconds": processor, "files": FILES}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(item["met"] for item in bars.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
