"""Where a project goes in a repository that has a pipeline of its own: beside it, where it clashes with nothing.

DVC allows one `dvc.yaml` a folder, and names parameters, stages and outputs by folder. In a folder of its own a project
keeps the names that every guide uses, and the user's stages, parameters and outputs stay as they are; modules are
imported from the repository's top, and data is named from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from weighbridge.ci.scaffold import STAGES, InitAnswers
from weighbridge.core.errors import InputError
from weighbridge.core.project import COMMAND, PARAMS, PIPELINE
from weighbridge.core.strict_yaml import parse_yaml

FOLDER = "compression"
"""Holds a folder for each model. Not `models`, which many pipelines write to."""
_OUTPUTS = ("artifacts", "measurements", "reports")


def home_of(folder: Path, name: str | None) -> Path:
    """The project's folder for a model: `folder`, or `compression/NAME` below it where that has other contents.

    Without a name it is the one project that is there already, if there is exactly one.
    """
    if next(obstacles(folder), None) is None:
        return folder
    there = sorted(path.parent for path in (folder / FOLDER).glob(f"*/{PARAMS}"))
    if name is None and len(there) == 1:
        return there[0]
    return folder / FOLDER / (name or "")


def obstacles(folder: Path) -> Iterator[str]:
    """What in a folder our files and outputs would clash with; nothing where the folder has a project of ours."""
    content = _mapping(folder / PIPELINE)
    stages = content.get("stages") if content else None
    stages = stages if isinstance(stages, dict) else {}
    if COMMAND.search(_text(folder / PIPELINE)):
        return
    params = _mapping(folder / PARAMS)
    if params and not {"recipes", "budgets"} & params.keys():
        yield f"{PARAMS} has other parameters"
    taken = [stage for stage in STAGES if stage in stages]
    if taken:
        yield f"{PIPELINE} has stages of the same name: {', '.join(taken)}"
    made = [output for output in _OUTPUTS if (folder / output).exists() or _is_output(output, stages)]
    if made:
        yield f"{', '.join(made)} exists already"


def seen_from(answers: InitAnswers, folder: Path, project: Path) -> InitAnswers:
    """The answers with their paths, which are relative to `folder`, relative to the project's folder."""
    if folder.resolve() == project.resolve():
        return answers

    def moved(path: str) -> str:
        return Path(os.path.relpath(folder.resolve() / path, project.resolve())).as_posix()

    return replace(
        answers,
        data_files=tuple(moved(path) for path in answers.data_files),
        model_files=tuple(moved(path) for path in answers.model_files),
        weights=None if answers.weights is None else moved(answers.weights),
        onnx=None if answers.onnx is None else moved(answers.onnx),
        npz=None if answers.npz is None else moved(answers.npz),
    )


def _is_output(output: str, stages: dict[Any, Any]) -> bool:
    for stage in stages.values():
        body = stage.get("do", stage) if isinstance(stage, dict) else {}
        for kind in ("outs", "metrics", "plots"):
            for out in body.get(kind) or [] if isinstance(body, dict) else []:
                name = str(next(iter(out), "")) if isinstance(out, dict) else str(out)
                if name.split("/")[0] == output:
                    return True
    return False


def _mapping(path: Path) -> dict[Any, Any] | None:
    """A YAML file's mapping; None where there is no such file, or it is something else, which others refuse."""
    try:
        content = parse_yaml(_text(path), str(path))
    except InputError:
        return None
    return content if isinstance(content, dict) else None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
