"""Promotions in many clones against one bare remote, all at once."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.registry_scale.long_histories import many_recipes
from benchmarks.registry_scale.processor_times import COMMAND, Row, row
from tests.registry import project as made
from weighbridge.registry.trust.verify import verify_models


def races(work: Path, count: int) -> list[Row]:
    """Everybody promotes at once; every accepted event must be there exactly once, in one chain."""
    source = work / "source"
    names = many_recipes(source, count)
    bare = work / "remote.git"
    made.git(work, "clone", "-q", "--bare", str(source), str(bare))
    clones = [clone(source, bare, work / name) for name in names]
    begin = time.perf_counter()
    processes = [
        subprocess.Popen(
            [*COMMAND, "promote", name, "--json"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name, root in zip(names, clones, strict=True)
    ]
    answers = [process.communicate() for process in processes]
    seconds = time.perf_counter() - begin
    accepted = [
        json.loads(out) for (out, _), process in zip(answers, processes, strict=True) if process.returncode == 0
    ]
    told = sum(
        process.returncode == 2 and b"error:" in err for (_, err), process in zip(answers, processes, strict=True)
    )
    (checked,) = verify_models(clone(source, bare, work / "fresh"))
    numbers = sorted(answer["event"]["number"] for answer in accepted)
    sound = numbers == list(range(1, checked.events + 1)) and len(accepted) + told == count
    attempts = sorted(answer["attempts"] for answer in accepted)
    return [
        row(
            f"races: accepted of {count} promoters",
            len(accepted),
            "promotions",
            "each event once, chain intact",
            met=sound,
        ),
        row("races: losers told", told, "promotions"),
        row("races: attempts, median and most", statistics.median(attempts), f"(most {attempts[-1]})"),
        row("races: all done after", seconds, "s"),
    ]


def clone(source: Path, bare: Path, root: Path) -> Path:
    """A clone with what the pipeline made."""
    made.git(root.parent, "clone", "-q", str(bare), str(root))
    made.identify(root, root.name, f"{root.name}@example.org")
    for folder in ("artifacts", "measurements"):
        shutil.copytree(source / folder, root / folder)
    return root
