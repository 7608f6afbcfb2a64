"""The smallest and the fastest file that a long search confirms, beside the best that was made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.searching.confirmed_files import LIMIT
from weighbridge.gate.measure.machine import allowed_cores
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.run import Found, search

ASKED = (("onnxruntime", "latency"), ("litert", "latency"), ("onnxruntime", "size"))
"""Target and goal of each search."""


def record(project: Path, target: str, goal: str, minutes: float) -> dict[str, Any]:
    """One search of so many minutes, at most ten epochs a recipe; one that was killed goes on."""
    name, workers = f"record-{target}-{goal}", len(allowed_cores())
    request = SearchRequest(
        root=project, target=target, goal=goal, seconds=60 * minutes, seed=1, name=name, workers=workers
    )
    found = search(request)
    return {"target": target, "goal": goal, "minutes": minutes, "tried": len(found.tried), "files": _files(found)}


def _files(found: Found) -> list[dict[str, Any]]:
    """What was looked at on the part that confirms; `kept` as there, `proven` by Holm's procedure."""
    by_number = dict(found.tried)
    return [
        {
            "trial": item.number,
            "times_smaller": found.baseline.bytes / by_number[item.number].last.bytes,
            "ratio": item.ratio,
            "drop": item.drop,
            "kept": item.drop <= LIMIT,
            "proven": item.holds,
        }
        for item in found.confirmed
    ]


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Bar → what the files that lose at most the limit come to; of the searches that were run."""
    best = {(row["target"], row["goal"]): [item for item in row["files"] if item["kept"]] for row in rows}
    found = dict[str, float]()
    times = {
        target: min((item["ratio"] for item in files), default=1.0)
        for (target, goal), files in best.items()
        if goal == "latency"
    }
    if "onnxruntime" in times:
        found["fastest_onnxruntime"] = times["onnxruntime"]
    if times:
        found["fastest"] = min(times.values())
    if ("onnxruntime", "size") in best:
        found["smallest"] = max((item["times_smaller"] for item in best["onnxruntime", "size"]), default=1.0)
    return found


__all__ = ["ASKED", "figures", "record"]
