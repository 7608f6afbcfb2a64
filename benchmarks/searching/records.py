"""The smallest and the fastest file that a long search confirms, beside the best that was made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weighbridge.gate.measure.machine import allowed_cores
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.run import Found, search

ASKED: tuple[tuple[str, str | None], ...] = (("onnxruntime", None), ("litert", "latency"))
"""Target and goal of each search."""
LIMIT = 0.01
"""Largest drop of a file that counts, on the part that confirms."""


def record(project: Path, target: str, goal: str | None, minutes: float) -> dict[str, Any]:
    """One search of so many minutes, at most ten epochs a recipe; one that was killed goes on."""
    name, workers = f"record-{target}", len(allowed_cores())
    request = SearchRequest(
        root=project, target=target, goal=goal, seconds=60 * minutes, seed=1, name=name, workers=workers
    )
    found = search(request)
    return {"target": target, "minutes": minutes, "tried": len(found.tried), "files": _files(found)}


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


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Bar → what the files that lose at most the limit come to; of targets that were searched."""
    if not rows:
        return {}
    kept = {row["target"]: [item for item in row["files"] if item["kept"]] for row in rows}
    fastest = {name: min((item["ratio"] for item in files), default=1.0) for name, files in kept.items()}
    every = [item for files in kept.values() for item in files]
    found = {"smallest": max((item["times_smaller"] for item in every), default=1.0)}
    if "onnxruntime" in fastest:
        found["fastest_onnxruntime"] = fastest["onnxruntime"]
    return {**found, "fastest": min(fastest.values(), default=1.0)}


__all__ = ["ASKED", "figures", "record"]
