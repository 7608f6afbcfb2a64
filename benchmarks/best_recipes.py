"""The best recipes over several seeds: bytes and accuracy of what ships, and what the teacher was worth.

One baseline, trained by the quickstart's own settings; each recipe of `benchmarks/recipes.yaml` runs on it once per
seed (of the order of examples and of the part of train that is held out). Bytes are those of the stored file, accuracy
is onnxruntime's on all 10,000 test images. The control is the same recipe without its teacher, compared with the
student on the part of train that neither saw. Latency is the business of `benchmarks/compress.py`.

    python benchmarks/best_recipes.py --seeds 7 8 9 --json best.json      # ten minutes or so on a quiet core
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn

from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.recipe.compose import compose, export_baseline
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.steps import Context, Subject
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.objective import deterministic
from weighbridge.compress.training.splits import calibration
from weighbridge.core.callables import call_factory
from weighbridge.core.documents import Params, RecipeSection, parse
from weighbridge.core.errors import InputError, WeighbridgeError
from weighbridge.core.facts.isa import flags, widest
from weighbridge.core.files import read_yaml, sha256_bytes, write_json
from weighbridge.data import Data, Split, load_data

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "benchmarks" / "recipes.yaml"
SMALLEST, MARGIN = 40.0, 1.0
"""How many times smaller than the baseline `smallest` must be, and points of accuracy that any recipe may lose."""


def trained(params: Params, data: Data) -> nn.Module:
    """The baseline, in eval mode."""
    assert params.model.factory is not None  # the quickstart has one
    with deterministic(params.train.seed):
        module = call_factory(params.model.factory, "params.yaml: model.factory")
    assert isinstance(module, nn.Module)
    fit(module, data.train, params.train, seed=params.train.seed)
    return module


def accuracy(artifact: bytes, test: Split) -> float:
    """Share of the test images that onnxruntime classifies right with the file."""
    found = ONNXRUNTIME.run(artifact, test.inputs)[0]
    return float((found.argmax(1) == test.labels).mean())


def row(name: str, seed: int, artifact: BuiltArtifact, baseline: dict[str, Any], test: Split) -> dict[str, Any]:
    """One recipe with one seed."""
    compared: dict[str, Any] = next(
        (s.facts["validation"] for s in reversed(artifact.steps) if "validation" in s.facts), {}
    )
    top1, size = accuracy(artifact.data, test), len(artifact.data)
    figures = {"bytes": size, "ratio": baseline["bytes"] / size, "zstd": artifact.sizes.zstd, "top1": top1}
    return {"recipe": name, "seed": seed, **figures, "change": top1 - baseline["top1"], "held_out": compared}


def bars(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The worst seed of what the recipes promise. The bar on latency is measured by `benchmarks/compress.py`."""
    ratios = [item["ratio"] for item in rows if item["recipe"] == "smallest"]
    found: dict[str, dict[str, Any]] = {}
    if ratios:
        found["smallest_ratio"] = {"value": min(ratios), "target": SMALLEST, "met": min(ratios) >= SMALLEST}
    largest_drop = max(-100 * item["change"] for item in rows)
    return {**found, "points_lost": {"value": largest_drop, "target": MARGIN, "met": largest_drop <= MARGIN}}


def table(baseline: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """All rows as a markdown table."""
    lines = [
        f"Baseline: {baseline['bytes']:,} B, {baseline['top1']:.2%}\n",
        "| recipe | seed | bytes | smaller | top-1 | change, points | held out: student | control |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for item in rows:
        held = [f"{item['held_out'][key]:.1%}" if item["held_out"] else "-" for key in ("student", "control")]
        lines.append(
            f"| {item['recipe']} | {item['seed']} | {item['bytes']:,} | {item['ratio']:.1f}× | {item['top1']:.2%} | "
            f"{100 * item['change']:+.2f} | {' | '.join(held)} |"
        )
    return "\n".join(lines)


def run(names: list[str], seeds: list[int], params: Params) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The baseline and the rows; an `InputError` for a recipe that is missing."""
    given = read_yaml(RECIPES)
    for name in names:
        if name not in given:
            raise InputError(f"there is no recipe {name!r}", where=str(RECIPES), fix=f"known: {', '.join(given)}")
    data = load_data(params.data.factory, "params.yaml: data.factory")
    data = replace(data, calibration=calibration(data.train, data.calibration, params.train.seed, "data"))
    module = trained(params, data)
    digest = ""

    def context(seed: int) -> Context:
        return Context(
            data=data,
            train=params.train,
            seed=seed,
            baseline=lambda: copy.deepcopy(module),
            teacher=lambda _: (copy.deepcopy(module), digest),
            progress=lambda *_, **__: None,
        )

    exported = export_baseline(Subject(copy.deepcopy(module)), context(params.train.seed), ONNXRUNTIME)
    digest = sha256_bytes(exported.data)
    baseline = {"bytes": len(exported.data), "top1": accuracy(exported.data, data.test), "digest": digest}
    rows = []
    for name in names or given:
        steps = read_steps(parse(RecipeSection, given[name], name), f"{RECIPES.name}: {name}")
        for seed in seeds:
            made = compose(steps, Subject(copy.deepcopy(module)), context(seed), ONNXRUNTIME)
            rows.append(row(name, seed, made, baseline, data.test))
            print(f"{name}, seed {seed}: {rows[-1]['bytes']} B, {rows[-1]['top1']:.4f}", file=sys.stderr, flush=True)
    return baseline, rows


def main() -> int:
    """Run, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", default=[], help="only this recipe (repeatable)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7], help="default: 7")
    parser.add_argument("--json", type=Path, help="write baseline, rows and bars to this file")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    try:
        baseline, rows = run(chosen.recipe, chosen.seeds, Params.read(ROOT / "params.yaml"))
    except WeighbridgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    print(f"Taken on {widest(flags())}.\n")
    print(table(baseline, rows))
    if chosen.json:
        write_json(chosen.json, {"baseline": baseline, "rows": rows, "bars": bars(rows)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
