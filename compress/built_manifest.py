"""What an artifact was made from, as its manifest says it, and both written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.compress.export import find_target
from weighbridge.compress.graph.large_file import LargeFile
from weighbridge.compress.recipe import lineage
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.training.accelerator import chosen
from weighbridge.compress.training.checkpoint import trained_on
from weighbridge.core.documents import ArtifactFile, Manifest
from weighbridge.core.documents.manifest import WeightsFile, made_by
from weighbridge.core.files import sha256_bytes, sha256_file
from weighbridge.core.formats.onnx_skim import external_files
from weighbridge.core.user_code import sources

BASELINE = "baseline"
"""The recipe's name in the baseline's manifest."""


def factories_of(project: Project) -> list[str]:
    """The model's factory and what the user trains with; what the data's factory made is covered by its own digest."""
    train = project.params.train
    named = (project.params.model.factory, train.loop, train.augment, train.loss if train.own_loss else None)
    return [reference for reference in named if reference is not None]


@dataclass(frozen=True)
class Code:
    """The code that made an artifact."""

    digest: str
    """Over this room and the factories' modules."""
    sources: dict[str, str]
    """Every file of the user's, by its path from the project's folder, with its digest."""


@dataclass(frozen=True)
class Made:
    """What an artifact was made from, besides its recipe."""

    data: str
    code: Code
    trained: bool = False
    """Whether the recipe fine-tuned."""


def code_of(project: Project, factories: Sequence[str], opened: set[str], files: Sequence[str] = ()) -> Code:
    """The code of factories, with every file of the project's that was opened, and finished models that steps name."""
    digest = lineage.code_digest(factories)  # imports what was not imported yet, so that `opened` has it
    modules = [reference.partition(":")[0] for reference in factories]
    return Code(digest, {**sources(project.root, opened, modules), **_model_files(project, files)})


def _model_files(project: Project, named: Sequence[str]) -> dict[str, str]:
    """The finished models that params name, with the files in which they keep weights, and libraries of operators."""
    libraries = {Path(item.path).as_posix(): f"sha256:{item.sha256}" for item in project.params.custom_ops}
    first = project.params.model.onnx
    paths = {name: project.root / name for name in ([] if first is None else [first]) + list(named)}
    beside = {os.path.relpath(file, project.root): file for path in paths.values() for file in external_files(path)}
    return libraries | {Path(key).as_posix(): sha256_file(file) for key, file in {**paths, **beside}.items()}


def manifest_of(project: Project, artifact: BuiltArtifact, made: Made, **given: Any) -> Manifest:
    """What one artifact was made from and came out as; `given` has the recipe and the target."""
    params = project.params
    file = find_target(given["target"]).file
    return Manifest(
        model=params.model.name,
        recipe=given.pop("recipe", {}),
        artifact=_file(file, artifact.data),
        requires=list(artifact.requires),
        sizes=artifact.sizes,
        steps=list(artifact.steps),
        data=made.data,
        code=made.code.digest,
        sources=made.code.sources,
        settings=made_by(params, baseline=given["recipe_name"] == BASELINE),
        seed=params.train.seed,
        environment=lineage.environment(given["target"]),
        training=_training(project, trained=made.trained),
        ports=artifact.ports,
        parity=artifact.parity,
        **given,
    )


def _training(project: Project, *, trained: bool) -> dict[str, str]:
    """Where baseline and recipe were trained, each where that is to be recorded."""
    found = {
        "baseline": trained_on(project.checkpoint) if project.params.model.factory is not None else None,
        "recipe": chosen(project.params.train).recorded() if trained else None,
    }
    return {name: device for name, device in found.items() if device is not None}


def _file(name: str, data: bytes | LargeFile) -> ArtifactFile:
    if isinstance(data, bytes):
        return ArtifactFile(path=name, digest=sha256_bytes(data), bytes=len(data))
    weights = None
    if data.beside is not None and data.beside_digest is not None:
        size = data.beside.stat().st_size
        weights = WeightsFile(path=data.beside.name, digest=data.beside_digest, bytes=size)
    return ArtifactFile(path=name, digest=data.digest, bytes=data.bytes, weights=weights)


def write_artifact(folder: Path, file: str, artifact: BuiltArtifact, manifest: Manifest) -> None:
    """Write an artifact and its manifest into a folder, made where it is missing."""
    folder.mkdir(exist_ok=True)
    if isinstance(artifact.data, LargeFile):
        artifact.data.place(folder, file)
    else:
        (folder / file).write_bytes(artifact.data)
    manifest.write(folder / "manifest.json")
