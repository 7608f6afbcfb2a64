"""The three splits of a search, all of train: what trials train on, what stops them, and what confirms.

Test is for the gate alone. The baseline of a search is trained on the first part only: one that was trained on the
others would answer them from memory, and every recipe would seem to lose what it never had.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weighbridge.compress.invariants import state_digest
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.compress.recipe.reached_states import along_streams, with_reached
from weighbridge.compress.steps import Context, Graph, Subject
from weighbridge.compress.training.checkpoint import read_checkpoint, write_checkpoint
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.splits import calibration, holdout
from weighbridge.core.documents.inputs import missing_in
from weighbridge.core.files import canonical_json, sha256_bytes
from weighbridge.core.progress import Progress
from weighbridge.data import Data, Split, load_data
from weighbridge.search.problem.searched_model import Source, chosen_target, source_of, start_of

HELD = 0.15
"""Share of train in each of the two parts that nothing trains on."""
SEED = 20_261
"""Of the parts: the same in every search of a data set, whatever its own seed."""


@dataclass(frozen=True)
class Searched:
    """A source on its own part of the data, and the two parts that judge."""

    source: Source
    stop: Split
    confirm: Split
    remarks: tuple[str, ...] = ()
    """What weakens the results."""


def splits(data: Data, where: str, *, streams: bool = False) -> tuple[Data, Split]:
    """Data whose `test` is the part that stops trials, and the part that confirms; an `InputError` where too small.

    Of `streams`, whole ones.
    """
    rest, confirm = holdout(data.train, HELD, SEED, streams=streams)
    train, stop = holdout(rest, HELD / (1 - HELD), SEED + 1, streams=streams)
    chosen = calibration(train, None, SEED, where, streams=streams)
    return Data(train=train, test=stop, calibration=chosen), confirm


def searched(root: Path, target: str | None, folder: Path, progress: Progress, *, training: bool) -> Searched:
    """The source of a search. Its baseline is trained once, and kept in `folder`."""
    project = Project(root)
    chosen = chosen_target(project, target)
    where = f"{project.params_file}: data.factory"
    stored = (project.data_folder / "data.json").is_file()
    missing = missing_in(project.params.inputs)
    data = project.data()[0] if stored else load_data(project.params.data.factory, where, missing)
    streams = any(section.carry for section in project.params.inputs.values())
    parts, confirm = splits(data, where, streams=streams)
    remarks: list[str] = []
    own = training and project.params.model.factory is not None and project.params.train.epochs > 0
    if own:
        start: Subject | Graph = Subject(_baseline(project, parts, folder, progress))
        trained = True
    else:
        start, trained = start_of(project, parts)
        remarks.append(
            "The baseline may have been trained on the examples that judge here: what a recipe loses is uncertain."
        )
    if not trained:
        remarks.append("The baseline is not trained: answers say nothing; run `dvc repro train` first.")
    parts, confirm = with_reached(parts, start), along_streams(confirm, start)
    source = source_of(project, chosen, start, parts, trained=trained)
    if isinstance(start, Subject):
        source = replace(source, context=_teaching(source, start))
    return Searched(source, parts.test, confirm, tuple(remarks))


def _baseline(project: Project, parts: Data, folder: Path, progress: Progress) -> Any:
    """The module trained on the search's own part; read where that was done before."""
    module = project.start_module()
    project.check(module, parts.train)
    settings = project.params.train
    depends = [parts.train.digest(), state_digest(module), settings.model_dump(mode="json")]
    key = sha256_bytes(canonical_json(depends)).removeprefix("sha256:")[:16]
    path = folder / f"baseline-{key}.safetensors"
    if path.is_file():
        return read_checkpoint(path, module)
    fit(module, parts.train, settings, seed=settings.seed, progress=progress, stage="baseline")
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(path, module)
    return module


def _teaching(source: Source, start: Subject) -> Context:
    """The context with the search's own baseline as teacher: the project's has seen the parts that judge."""

    def teacher(name: str) -> tuple[Any, str]:
        if name == "baseline":
            return copy.deepcopy(start.module).eval(), "sha256:" + "0" * 64
        return source.context.teacher(name)

    return replace(source.context, baseline=lambda: copy.deepcopy(start.module).eval(), teacher=teacher)


__all__ = ["Searched", "searched", "splits"]
