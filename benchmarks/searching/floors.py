"""How fast very narrow files are on each target, untrained: about what a search can come to at best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weighbridge.compress.recipe.maker import Maker
from weighbridge.search.estimate.timing import Bench
from weighbridge.search.problem.searched_model import space_of
from weighbridge.search.problem.space import Space, Value
from weighbridge.search.problem.three_splits import searched
from weighbridge.search.trials.workshop import FOLDER

TARGETS = ("onnxruntime", "litert", "executorch")
LAUNCHES = 5
LATE = ("features.7", "features.10")
"""Layers in which seven eighths of 32 channels leave four, as many as three quarters leave of the others' 16."""


def floors(project: Path) -> dict[str, Any]:
    """Latency beside the baseline's with three quarters of all channels gone, and seven eighths of the late layers."""
    rows = [row for target in TARGETS for row in _of_target(project, target)]
    return {"rows": rows, "fastest": min(row["ratio"] for row in rows)}


def _of_target(project: Path, target: str) -> list[dict[str, Any]]:
    source = searched(project, target, project / FOLDER / "shared", lambda *_: None, training=True)
    made = source.source
    params = made.project.params
    space = space_of(made)
    maker, ending = Maker(made.context, made.target, made.start), Path(made.target.file).suffix
    folder = project / FOLDER / "floors"
    folder.mkdir(parents=True, exist_ok=True)
    baseline = folder / f"baseline{ending}"
    baseline.write_bytes(maker.make([]).data)
    files = {}
    for late in (0.75, 0.875):
        for form in ("none", "qat-int8"):
            files[f"{late} {form}"] = folder / f"{late}-{form}{ending}"
            files[f"{late} {form}"].write_bytes(maker.make(space.read(space.point(_values(space, late, form)), 0)).data)
    timed = Bench(baseline, source.stop, params.weighing, folder / "timings", lambda *_: None).time(files, LAUNCHES)
    return [
        {"target": target, "late_layers_and_form": name, "bytes": path.stat().st_size, "ratio": timed[name].ratio}
        for name, path in files.items()
    ]


def _values(space: Space, late: float, form: str) -> dict[str, Value]:
    widths: dict[str, Value] = {f"width:{name}": late if name in LATE else 0.75 for name in space.layers}
    return {**widths, "form": form}


__all__ = ["TARGETS", "floors"]
