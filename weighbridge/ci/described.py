"""What `init` was told about a model, checked against the files that are there: one line says what does not fit."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path

from weighbridge.ci import npz_project
from weighbridge.ci.adopting import home_of
from weighbridge.ci.scaffold import InitAnswers
from weighbridge.ci.setup import factory_files
from weighbridge.core.documents import DataSection, ModelSection, parse
from weighbridge.core.errors import InputError
from weighbridge.core.python_imports import defines


@dataclass(frozen=True)
class Described:
    """A model in the words of the options; paths are relative to the folder that `init` was given."""

    name: str
    data: str
    """The data factory, or an `.npz` file."""
    model: str | None = None
    weights: Path | None = None
    onnx: Path | None = None
    data_files: list[Path] = field(default_factory=list)
    licence: str | None = None


def checked(folder: Path, described: Described, *, known: bool) -> InitAnswers:
    """The answers; with `known`, those of a project that is there, whose code may have moved since.

    Raises `InputError` for a name, a file or a callable that is none.
    """
    files = {"--onnx": described.onnx, "--weights": described.weights}
    for option, file in [*files.items(), *(("--data-file", file) for file in described.data_files)]:
        if file is not None and not (folder / file).exists():
            raise InputError("file not found", where=f"{option} {file}", fix=f"a path from {folder}")
    source = {"factory": described.model, "onnx": _text(described.onnx), "weights": _text(described.weights)}
    parse(ModelSection, {"name": described.name, **source}, "init")
    model_files = factory_files(folder, described.model) if described.model else _weights_of(folder, described.onnx)
    if described.model is not None and not known:
        _require_model(folder, described.model, model_files)
    npz = described.data if npz_project.meant(described.data) else None
    if npz is not None and not (folder / npz).is_file():
        raise InputError("file not found", where=f"--data {npz}", fix=f"a path from {folder}")
    data = npz_project.FACTORY if npz else described.data
    data_files = _data_files(folder, described, known=known) if npz is None else _beside(folder, described, npz)
    return InitAnswers(
        name=described.name,
        data=data,
        data_files=data_files,
        model=described.model,
        model_files=model_files,
        weights=_text(described.weights),
        onnx=_text(described.onnx),
        licence=described.licence,
        npz=npz,
    )


def _weights_of(folder: Path, model: Path | None) -> tuple[str, ...]:
    """The files in which an ONNX file keeps weights; an `InputError` where one is missing, or the model is none."""
    if model is None:
        return ()
    from weighbridge.core.formats.onnx_skim import external_files  # noqa: PLC0415  # only for ONNX files

    found = external_files(folder / model)
    for file in found:
        if not file.is_file():
            raise InputError(
                "file not found", where=str(file), fix=f"{model} has weights in it: put it beside the model"
            )
    return tuple(Path(os.path.relpath(file, folder)).as_posix() for file in found)


def _data_files(folder: Path, described: Described, *, known: bool) -> tuple[str, ...]:
    """What the data factory's result depends on: its sources, and the files that were named."""
    parse(DataSection, {"factory": described.data}, "init: data")
    own = factory_files(folder, described.data)
    if not known and not own and not described.data_files:
        raise InputError(
            f"{described.data} is not in a file of this folder, nor of the repository's top",
            where="--data",
            fix="write it first, or name its --data-file",
        )
    if not known:
        _require_name(folder, "--data", described.data, own)
    return (*own, *(file.as_posix() for file in described.data_files))


def _beside(folder: Path, described: Described, npz: str) -> tuple[str, ...]:
    """The factory that `init` writes into the project, its data, and the files that were named."""
    project = home_of(folder, described.name)
    written = Path(os.path.relpath(project.resolve() / npz_project.MODULE, folder.resolve())).as_posix()
    return (written, npz, *(file.as_posix() for file in described.data_files))


def _require_model(folder: Path, model: str, own: tuple[str, ...]) -> None:
    """A factory is in a file of the repository, or in a package that is installed."""
    if own:
        _require_name(folder, "--model", model, own)
        return
    package = model.partition(":")[0].partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"{model} is not in a file of this folder, nor of the repository's top, and no such package is installed",
            where="--model",
            fix="write it first, or install its package",
        )


def _require_name(folder: Path, option: str, reference: str, own: tuple[str, ...]) -> None:
    """The first file defines the callable; nothing is run."""
    if not own:
        return
    name = reference.partition(":")[2]
    try:
        there = defines((folder / own[0]).read_text(encoding="utf-8"), name)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{own[0]} is not valid Python: {error}", where=option, fix="correct it first") from error
    if not there:
        raise InputError(f"{own[0]} defines no {name!r}", where=f"{option} {reference}", fix="write it first")


def _text(path: Path | None) -> str | None:
    return None if path is None else path.as_posix()
