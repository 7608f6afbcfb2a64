"""The one project that every row starts from: the quickstart's model and data, trained by its own settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.beside.peers import FLOAT
from benchmarks.beside.process import ROOT, run_step
from weighbridge.core.errors import InputError
from weighbridge.core.files import atomic_write, dump_yaml, read_yaml, sha256_bytes, sha256_tree

MATCHED = Path(__file__).with_name("matched.yaml")
BEST = ROOT / "benchmarks" / "recipes.yaml"
SECTIONS = ("model", "data", "train")
SOURCES = ("compress/export", "compress/training", "examples/fashion")
"""What the baseline's bytes are made by."""

Say = Callable[[str], None]


def recipes() -> dict[str, Any]:
    """Ours by name: those that match a peer, and the best ones; a name that stands in both is an `InputError`."""
    matched, best = read_yaml(MATCHED), read_yaml(BEST)
    twice = sorted(matched.keys() & best.keys())
    if twice:
        raise InputError(f"{twice[0]!r} stands in {MATCHED.name} too", where=str(BEST), fix="rename it")
    return {**best, **matched}


def open_project(work: Path, given: dict[str, Any], say: Say) -> None:
    """Write `params.yaml` into `work`, and train the baseline there unless that very baseline lies there already."""
    quickstart = read_yaml(ROOT / "params.yaml")
    params: dict[str, Any] = {name: quickstart[name] for name in SECTIONS}
    key = sha256_bytes(json.dumps([params, _sources()], sort_keys=True).encode())
    budgets = [{"metric": "size.bytes", "max": "1MB"}]  # params need one; nothing is judged here
    atomic_write(work / "params.yaml", dump_yaml({**params, "recipes": given, "budgets": budgets}).encode())
    mark = work / "baseline.key"
    if mark.is_file() and mark.read_text() == key and (work / FLOAT).is_file():
        say("the baseline lies there already")
        return
    for stage in ("prepare", "train", "baseline"):
        say(stage)
        run_step(["ours", "stage", stage, "--quiet"], work)
    atomic_write(mark, key.encode())


def artifact(work: Path, recipe: str) -> Path:
    """The one file that `stage compress` made of a recipe."""
    folder = work / "artifacts" / "recipes" / recipe
    found = sorted(folder.rglob("*.onnx"))
    if len(found) != 1:
        raise InputError(f"holds {len(found)} ONNX files instead of one", where=str(folder), fix="target: onnxruntime")
    return found[0]


def _sources() -> str:
    files = [path for name in SOURCES for path in ([ROOT / name] if (ROOT / name).is_file() else _inside(ROOT / name))]
    return sha256_tree(files, ROOT)


def _inside(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in {".py", ".npz"}]
