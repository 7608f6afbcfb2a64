"""How long the gate takes for the five recipes of this repository's quickstart, from what lies in `artifacts/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gating.recorded import Seen
from benchmarks.gating.rows import Row, below
from benchmarks.gating.store import Store
from weighbridge.core.documents import Params

ROOT = Path(__file__).resolve().parents[2]
BAR_SECONDS = 60.0
COPIED = ("params.yaml", "artifacts", "examples", "waivers")


def quickstart(store: Store, folder: Path) -> None:
    """Weigh every recipe afresh and judge, by the commands of the pipeline, in a copy."""
    if not (ROOT / "artifacts" / "recipes").is_dir():
        return

    def take(_: int) -> dict[str, Any]:
        target = folder / "quickstart"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name)
            elif source.exists():
                shutil.copy2(source, target / name)
        recipes = list(Params.read(target / "params.yaml").recipes)
        spent, said = {}, {}
        for words in (*(["weigh", name] for name in recipes), ["judge"]):
            begin = time.perf_counter()
            done = _stage(words, target)
            spent[" ".join(words)], said[" ".join(words)] = time.perf_counter() - begin, done
        return {"seconds": spent, "errors": {name: text for name, text in said.items() if text}}

    store.collect("quickstart", 1, take)


def _stage(words: list[str], folder: Path) -> str:
    """Run one stage; returns what it said where it could not do its work."""
    command = [sys.executable, "-m", "weighbridge", "stage", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr.strip()[-300:]}"


def quickstart_rows(seen: Seen) -> list[Row]:
    """The sum of all stages, if all did their work."""
    if not seen.get("quickstart"):
        return [Row("quickstart_gate_seconds", 0, 0, f"<= {BAR_SECONDS:g}", None, "artifacts/ is missing: `dvc repro`")]
    found = seen["quickstart"][0]
    recipes = len(found["seconds"]) - 1
    total = sum(found["seconds"].values())
    if found["errors"]:
        note = "; ".join(f"{name}: {text}" for name, text in found["errors"].items())
        return [Row("quickstart_gate_seconds", round(total, 1), recipes, f"<= {BAR_SECONDS:g}", met=False, note=note)]
    note = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in found["seconds"].items())
    return [below("quickstart_gate_seconds", total, BAR_SECONDS, recipes, note)]
