"""What Weighbridge adds to the library calls that a step rests on: the same work, in turns, in fresh processes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.beside.process import Spent, StepError, run_step

PAIRS = {
    "static_int8": ("static-int8", "bare-static-int8"),
    "structured": ("structured-50-short", "bare-structured"),
}
"""Our recipe, and the peer that does the same from the same checkpoint."""


def measure(kind: str, work: Path, runs: int, say: Callable[[str], None]) -> dict[str, float] | str:
    """`wall`, `cpu` and `memory` of our step over the bare calls: medians over `runs` of each; or why there are none.

    Who goes first alternates; one run of each before them fills the page cache and is not counted.
    """
    recipe, peer = PAIRS[kind]
    steps = {
        "ours": ["ours", "stage", "compress", recipe, "--quiet"],
        "bare": ["peer", peer, str(work / "bare.onnx")],
    }
    taken: dict[str, list[Spent]] = {name: [] for name in steps}
    try:
        for number in range(runs + 1):
            say(f"overhead {kind}: run {number} of {runs}")
            for name in sorted(steps, reverse=bool(number % 2)):
                spent = run_step(steps[name], work)
                if number:
                    taken[name].append(spent)
    except StepError as error:
        return str(error)
    return ratios(taken["ours"], taken["bare"])


def ratios(ours: Sequence[Spent], bare: Sequence[Spent]) -> dict[str, float]:
    """Median over median."""

    def over(of: Callable[[Spent], float]) -> float:
        return statistics.median(map(of, ours)) / statistics.median(map(of, bare))

    return {
        "wall": over(lambda spent: spent.seconds),
        "cpu": over(lambda spent: spent.cpu_seconds),
        "memory": over(lambda spent: spent.peak_bytes),
    }
