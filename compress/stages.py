"""Bodies of the DVC stages `prepare`, `train`, `baseline` and `compress`: read, compute, write whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weighbridge.compress.built_manifest import BASELINE, Made, code_of, factories_of, manifest_of, write_artifact
from weighbridge.compress.export import find_target
from weighbridge.compress.export.target import Target
from weighbridge.compress.recipe import lineage
from weighbridge.compress.recipe.compose import compose_all, export_baseline
from weighbridge.compress.recipe.project_folder import SPLITS, Project, replaced_folder
from weighbridge.compress.recipe.reached_states import with_reached
from weighbridge.compress.recipe.recipe import phases, read_recipe
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.recipe.teachers import Teachers
from weighbridge.compress.steps import Context, Graph, Step, Subject
from weighbridge.compress.techniques.replace import Replace
from weighbridge.compress.training.checkpoint import write_checkpoint
from weighbridge.compress.training.loop import History, fit
from weighbridge.compress.training.objective import everything_seeded
from weighbridge.compress.training.resuming import resumable
from weighbridge.compress.training.splits import calibration
from weighbridge.core.documents import REFUSAL, Manifest, Refusal
from weighbridge.core.documents.inputs import missing_in
from weighbridge.core.errors import InputError, InvariantError, WeighbridgeError
from weighbridge.core.facts.targets import DEFAULT_TARGET
from weighbridge.core.files import atomic_write, sha256_file, write_json
from weighbridge.core.progress import Progress, silent
from weighbridge.core.user_code import opened_as_code, sources
from weighbridge.data import Data, StreamedSplit, load_data, write_npz


def prepare(root: Path, progress: Progress = silent) -> None:
    """Call the data factory, check its splits, and write them as `.npz` with `data.json` beside them."""
    project = Project(root)
    where = f"{project.params_file}: data.factory"
    settings = project.params.train
    data = load_data(project.params.data.factory, where, missing_in(project.params.inputs))
    if isinstance(data.train, StreamedSplit) and settings.steps is not None:
        data.train.bound(settings.steps * settings.examples_a_step)
    with everything_seeded(settings.seed):  # a data set may draw numbers while it is read
        for split in (data.train, data.test, data.calibration):
            if isinstance(split, StreamedSplit):
                split.read()
    if set(data.train.inputs) != set(data.test.inputs):
        raise InputError(
            f"train has the inputs {', '.join(data.train.inputs)}, test has {', '.join(data.test.inputs)}", where=where
        )
    streams = any(section.carry for section in project.params.inputs.values())
    chosen = calibration(data.train, data.calibration, settings.seed, where, streams=streams)
    splits = {"train": data.train, "calibration": chosen, "test": data.test}
    with replaced_folder(project.data_folder) as folder:
        index: dict[str, Any] = {"schema_version": 1, "inputs": list(data.train.inputs), "splits": {}}
        for number, name in enumerate(SPLITS):
            write_npz(folder / f"{name}.npz", splits[name])
            index["splits"][name] = {"examples": len(splits[name]), "digest": splits[name].digest()}
            progress("prepare", number + 1, len(SPLITS), name)
        write_json(folder / "data.json", index)


def train(root: Path, progress: Progress = silent) -> None:
    """Train the baseline from the factory's weights or `model.weights`; write its checkpoint and each epoch's loss.

    With `train: none` the weights are the baseline as they are. A model that is an ONNX file is trained already: an
    empty checkpoint keeps the pipeline's shape.
    """
    project = Project(root)
    path = project.checkpoint
    history = History((), 0)
    module = None
    if project.params.model.factory is not None:
        data, digest = project.data()
        settings = project.params.train
        with project.as_declared():
            module = project.start_module()
            project.check(module, data.train)
            if settings.trains:
                with resumable(*_run_of(project, "train", digest)):
                    history = fit(module, data.train, settings, seed=settings.seed, progress=progress, stage="train")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("epoch", "loss"))
    writer.writerows((epoch, f"{loss:.6f}") for epoch, loss in enumerate(history.losses, start=1))
    write_checkpoint(path, module, history.device)
    atomic_write(path.with_name("training.csv"), table.getvalue().encode())


def baseline(root: Path, name: str = DEFAULT_TARGET, progress: Progress = silent) -> None:
    """Export the trained baseline for one target, or bring a finished ONNX model into the form that ships."""
    project = Project(root)
    where = f"{project.params_file}: targets"
    if name not in project.params.targets:
        known = ", ".join(project.params.targets)
        raise InputError(f"{name!r} is not among them", where=where, fix=f"targets: {known}")
    target = find_target(name, where)
    data, data_digest = project.data()
    progress("export", 0, 1, target.name)
    context = _context(project, data, Teachers(project, target.name), progress)
    with opened_as_code() as opened, project.as_declared():
        artifact = export_baseline(_source(project, data), context, target)
        made = Made(data_digest, code_of(project, factories_of(project), opened))
    manifest = manifest_of(project, artifact, made, recipe_name=BASELINE, target=target.name)
    with replaced_folder(project.baseline_folder(target.name)) as folder:
        write_artifact(folder, target.file, artifact, manifest)
    progress("export", 1, 1, f"{artifact.sizes.bytes} B")


def compress(root: Path, recipe: str, progress: Progress = silent, *, keep_going: bool = False) -> Refusal | None:
    """Run one recipe on the baseline; write an artifact with its manifest for each target, or nothing.

    With `keep_going`, a recipe that this model cannot take leaves its refusal in the artifact's place and returns it,
    so that the other recipes are weighed and judged. Whatever else goes wrong (a stage that has not run, a package that
    is not installed, a full disk or memory) raises all the same: running again may give another result.
    """
    project = Project(root)
    if recipe not in project.params.recipes:
        read_recipe(project.params, recipe, str(project.params_file))
    where = f"{project.params_file}: recipes.{recipe}.target"
    targets = [find_target(name, where) for name in project.params.recipes[recipe].targets]
    with replaced_folder(project.recipe_folder(recipe)) as folder:
        try:
            built = _built(project, recipe, targets, progress)
        except (InputError, InvariantError) as error:
            if not keep_going or not _of_recipe(error, project, recipe):
                raise
            refusal = Refusal.of(error, recipe, "compress")
            refusal.write(folder / REFUSAL)
            return refusal
        for target, (artifact, manifest) in zip(targets, built, strict=True):
            write_artifact(folder / target.name, target.file, artifact, manifest)
    return None


def _of_recipe(error: WeighbridgeError, project: Project, recipe: str) -> bool:
    """Whether an error is a property of the recipe on this model, the same in every run."""
    place = f"{project.params_file}: recipes.{recipe}"
    rest = (error.where or "").removeprefix(place)
    return error.where is not None and error.where.startswith(place) and rest[:1] in ("", ".", ":", "[")


def _built(
    project: Project, recipe: str, targets: Sequence[Target], progress: Progress
) -> list[tuple[BuiltArtifact, Manifest]]:
    """BuiltArtifact and manifest for each target, in order."""
    section = project.params.recipes[recipe]
    steps = read_recipe(project.params, recipe, str(project.params_file))
    data, data_digest = project.data()
    parents = {target.name: project.baseline_manifest(target.name) for target in targets}
    teachers = Teachers(project, targets[0].name)
    context = _context(project, data, teachers, progress)
    sizes = {name: parent.sizes for name, parent in parents.items()}
    run = _run_of(project, f"recipes/{recipe}", data_digest, [parent.artifact.digest for parent in parents.values()])
    with opened_as_code() as opened, project.as_declared(), resumable(*run) as scratch:
        source = _source(project, data)
        context = replace(context, data=with_reached(data, source))
        artifacts = compose_all(steps, source, context, targets, sizes)
        made = Made(
            data_digest,
            code_of(project, [*factories_of(project), *_students(steps)], opened, _files(steps)),
            trained=scratch.trained > 0,
        )
    return [
        (
            artifacts[name],
            manifest_of(
                project,
                artifacts[name],
                made,
                recipe_name=recipe,
                recipe={"target": section.target, "steps": section.steps},
                target=name,
                baseline=parent.artifact.digest,
                teacher=teachers.used[0] if teachers.used else None,
            ),
        )
        for name, parent in parents.items()
    ]


def _source(project: Project, data: Data) -> Subject | Graph:
    if project.params.model.factory is None:
        return Graph(project.given_model(data))
    module = project.trained_module()
    assert data.calibration is not None  # the stage `prepare` writes it
    project.check(module, data.calibration)  # `train` saw the rest
    return Subject(module)


def _context(project: Project, data: Data, teachers: Teachers, progress: Progress) -> Context:
    return Context(
        data=data,
        train=project.params.train,
        seed=project.params.train.seed,
        baseline=project.trained_module,
        teacher=teachers,
        progress=progress,
        task=project.params.task,
        finished=lambda name: project.finished_model(name, data),
    )


def _students(steps: Sequence[Step]) -> list[str]:
    """Factories that steps name themselves, whose code shapes the artifact too."""
    named = (getattr(step.config, "student", None) for step in steps if "module" in phases(step))
    return [reference for reference in named if isinstance(reference, str)]


def _files(steps: Sequence[Step]) -> list[str]:
    """Finished models that steps name, by their paths from the project's folder."""
    return [step.config.onnx for step in steps if isinstance(step.config, Replace)]


def _run_of(project: Project, name: str, data: str, made: Sequence[str] = ()) -> tuple[Path, dict[str, Any]]:
    """Where a stage's trainings keep their states, and all that determines them besides their own settings."""
    params = project.params
    factories = factories_of(project)
    digest = lineage.code_digest(factories)  # imports them, so that `sources` has what they import
    depends = {
        "name": name,
        "data": data,
        "made": list(made),
        "checkpoint": sha256_file(project.checkpoint) if made and project.checkpoint.is_file() else None,
        "params": params.model_dump(mode="json", include={"model", "task", "inputs"}),
        "recipe": params.recipes[Path(name).name].model_dump(mode="json") if made else None,
        "code": [digest, sources(project.root, (), [reference.partition(":")[0] for reference in factories])],
        "libraries": lineage.environment(),
    }
    return project.root / ".weighbridge" / "training" / name, depends
