"""What all contenders are given, and how the files that they hand in are confirmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.compress.recipe.maker import Maker
from weighbridge.core.files import atomic_write
from weighbridge.data import load_data
from weighbridge.gate.statistics.multiplicity import holm
from weighbridge.search.estimate.scores import Array, loss, scores
from weighbridge.search.estimate.timing import Bench
from weighbridge.search.problem.three_splits import Searched, searched
from weighbridge.search.trials.workshop import FOLDER

LIMIT = 0.01
"""Largest drop of a confirmed file."""
LAUNCHES = 9
ALPHA = 0.05


@dataclass(frozen=True)
class Ground:
    """What all contenders are given."""

    project: Path
    searched: Searched
    baseline: Path
    before: Array
    """The baseline's scores on the part that confirms."""

    @property
    def baseline_bytes(self) -> int:
        """Of the uncompressed file."""
        return self.baseline.stat().st_size


def ground_of(project: Path) -> Ground:
    """The search's own baseline and parts, and the baseline's file."""
    source = searched(project, None, project / FOLDER / "shared", lambda *_: None, training=True)
    made = source.source
    path = project / FOLDER / "hypervolume" / "baseline.onnx"
    data = Maker(made.context, made.target, made.start).make([]).data
    atomic_write(path, data)
    return Ground(project, source, path, scores(made.target.run(data, source.confirm.inputs), source.confirm))


def confirmed(ground: Ground, files: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Each file on the part that confirms, timed in one interleaved job with the baseline.

    `kept` says that the drop that was found is at most the limit; `proven` that it is surely so of all files together,
    as a search has it that prints recipes. The quickstart's part that confirms has 1,500 examples, its test part, which
    no contender is given either, 10,000: there the same is said with less luck.
    """
    if not files:
        return []
    source, run = ground.searched, ground.searched.source.target.run
    params = source.source.project.params
    store = ground.project / FOLDER / "timings"
    on_test = dict(zip(files, drops_on_test(ground, list(files.values())), strict=True))
    timed = Bench(ground.baseline, source.stop, params.weighing, store, lambda *_: None).time(files, LAUNCHES)
    losses = {
        name: loss(ground.before, scores(run(path.read_bytes(), source.confirm.inputs), source.confirm), LIMIT)
        for name, path in files.items()
    }
    proven = holm([item.p_drop for item in losses.values()], ALPHA)
    return [
        {
            "name": name,
            "bytes": path.stat().st_size,
            "times_smaller": ground.baseline_bytes / path.stat().st_size,
            "ratio": timed[name].ratio,
            "drop": losses[name].drop,
            "kept": losses[name].drop <= LIMIT,
            "proven": rejection.rejected,
            "drop_on_test": on_test[name],
            "kept_on_test": on_test[name] <= LIMIT,
        }
        for (name, path), rejection in zip(files.items(), proven, strict=True)
    ]


def drops_on_test(ground: Ground, files: Sequence[Path]) -> list[float]:
    """What each file loses beside the baseline on the test part, as a share of its examples."""
    source = ground.searched.source
    project, run = source.project, source.target.run
    test = load_data(project.params.data.factory, f"{project.params_file}: data.factory").test
    before = scores(run(ground.baseline.read_bytes(), test.inputs), test).mean()
    return [float(before - scores(run(path.read_bytes(), test.inputs), test).mean()) for path in files]


__all__ = ["LIMIT", "Ground", "confirmed", "drops_on_test", "ground_of"]
