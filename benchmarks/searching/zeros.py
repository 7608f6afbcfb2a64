"""What it costs that layers keep their share of zeros, and how much better bytes are known for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.searching.untrained import point_of
from weighbridge.compress.recipe.maker import Maker
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.core.documents import RecipeSection
from weighbridge.data import load_data
from weighbridge.search.problem.searched_model import space_of
from weighbridge.search.problem.three_splits import searched
from weighbridge.search.trials.workshop import FOLDER

SCOPES = ("global", "global-once")
SEEDS = (7, 8, 9)
EPOCHS = 10
PRUNED = (
    {"sparsity": 0.92, "form": "share-4"},
    {"sparsity": 0.87, "form": "share-3"},
    {"width": 0.25, "sparsity": 0.8, "form": "share-3"},
    {"sparsity": 0.92},
)
"""Values of a point's knobs. `width` is of all layers."""


def zeros(project: Path) -> dict[str, Any]:
    """Bytes predicted and made, and points lost on the test split, of each recipe with each seed and scope."""
    made = searched(project, None, project / FOLDER / "shared", lambda *_: None, training=True).source
    space = space_of(made)
    test = load_data(made.project.params.data.factory, "params.yaml: data.factory").test

    def right(data: bytes) -> float:
        return float((made.target.run(data, test.inputs)[0].argmax(1) == test.labels).mean())

    before = right(Maker(made.context, made.target, made.start).make([]).data)
    rows = []
    for values in PRUNED:
        point = point_of(space, values)
        predicted = Maker(made.context, made.target, made.start).make(space.read(point, 0)).sizes.bytes
        for seed in SEEDS:
            for scope in SCOPES:
                asked = read_steps(RecipeSection(steps=_scoped(space.steps(point, EPOCHS), scope)), "zeros")
                file = Maker(replace(made.context, seed=seed), made.target, made.start).make(asked)
                rows.append(
                    {
                        "values": str(values),
                        "seed": seed,
                        "scope": scope,
                        "bytes": [predicted, file.sizes.bytes],
                        "lost": before - right(file.data),
                    }
                )
    return {"rows": rows, **{scope: _summary([row for row in rows if row["scope"] == scope]) for scope in SCOPES}}


def _scoped(steps: Sequence[dict[str, Any]], scope: str) -> list[dict[str, Any]]:
    """The steps with zeros ranked so."""
    return [
        {name: {**config, "scope": scope} if config.get("method") == "magnitude" else config}
        for step in steps
        for name, config in step.items()
    ]


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        "bytes": max(abs(row["bytes"][0] / row["bytes"][1] - 1) for row in rows),
        "lost": float(np.mean([row["lost"] for row in rows])),
    }


__all__ = ["zeros"]
