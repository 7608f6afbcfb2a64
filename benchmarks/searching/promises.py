"""Whether the gate passes what a search prints, at the numbers that it prints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.searching.untrained import ROOT, searched_by_command
from weighbridge.compress import stages
from weighbridge.core.files import dump_yaml, read_json, read_yaml
from weighbridge.core.project import PARAMS
from weighbridge.gate.stages import pipeline
from weighbridge.search.trials.workshop import FOLDER

SEARCHES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.01, ("--no-training",)),
    (0.02, ("--time", "5min", "--seed", "1")),
)
"""Points that a recipe may lose, and how it is searched for. The quickstart allows two."""


def promised(project: Path) -> dict[str, Any]:
    """The recipes that a few searches print, made, weighed and judged by the pipeline."""
    judged = [
        verdicts(project, project.parent / "promised" / str(number), drop, words)
        for number, (drop, words) in enumerate(SEARCHES)
    ]
    rows = [row for of_search in judged for row in of_search]
    passed = sum(row["verdict"] == "pass" for row in rows)
    return {"recipes": len(rows), "passed": passed, "share": passed / max(len(rows), 1), "rows": rows}


def verdicts(project: Path, root: Path, drop: float, words: Sequence[str]) -> list[dict[str, Any]]:
    """What the pipeline says of each recipe that one search prints.

    Each is asked for its own numbers: the bytes that it comes to at most, latency up to the bound that was confirmed,
    and the drop in accuracy that the search allowed. A verdict that is not `pass` does not count.
    """
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(project, root, symlinks=True)
    for path in (root / FOLDER).iterdir():
        if path.name != "shared":  # the baseline; searches of other parts have other budgets
            shutil.rmtree(path)
    params = read_yaml(root / PARAMS)
    accuracy = {"metric": "accuracy.top1", "max_drop": drop, "against": "baseline"}
    params |= {
        "targets": ["onnxruntime"],
        "recipes": {"fp16": {"steps": [{"quantize": {"scheme": "fp16"}}]}},
        "budgets": [accuracy],
    }
    (root / PARAMS).write_text(dump_yaml(params))
    said = searched_by_command(root, *words, "--write")
    params, trials = read_yaml(root / PARAMS), {item["number"]: item for item in said["trials"]}
    del params["recipes"]["fp16"]
    for item in said["confirmed"]:
        if not item["holds"]:
            continue
        name = next(name for name in params["recipes"] if name.endswith(f"-{item['number']}"))
        size = trials[item["number"]]["bytes_at_most"]
        params["recipes"][name]["budgets"] = [
            {"metric": "size.bytes", "max": f"{size}B"},
            {"metric": "latency.p50", "max_ratio": round(item["ratio_upper"], 4), "against": "baseline"},
        ]
    if not params["recipes"]:
        return []
    (root / PARAMS).write_text(dump_yaml(params))
    return _judged(root, list(params["recipes"]), words)


def _judged(root: Path, names: Sequence[str], words: Sequence[str]) -> list[dict[str, Any]]:
    for body in (stages.prepare, stages.baseline):
        body(root)
    pipeline.device(root)
    command = [sys.executable, "-m", "weighbridge", "plan", "run", "--root", root]
    subprocess.run(command, cwd=ROOT, check=False)  # exits 1 where a verdict is not `pass`
    said = read_json(root / "reports" / "verdict.json")["recipes"]
    return [
        {
            "search": " ".join(words),
            "recipe": name,
            "verdict": said[name]["verdict"] if name in said else "none",
            "budgets": {item["metric"]: item["verdict"] for item in said.get(name, {"budgets": []})["budgets"]},
        }
        for name in names
    ]


__all__ = ["promised"]
