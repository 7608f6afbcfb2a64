"""Files of the repository that a running stage imports, held to what `dvc.yaml` says that the stage depends on.

DVC runs a stage again when a dependency changes, and only then: code that is none would change what a stage does while
its old result is taken for the new one.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weighbridge.ci.checkout import Checkout
from weighbridge.ci.committed_content import Contents
from weighbridge.ci.committed_pipeline import Side, Stage, texts
from weighbridge.ci.touch import Undeclared, all_undeclared
from weighbridge.core.errors import InputError
from weighbridge.core.files import atomic_write, read_json, write_json
from weighbridge.core.git import Git
from weighbridge.core.git_tree import joined
from weighbridge.core.project import PIPELINE
from weighbridge.core.user_code import idle, opened_as_code, repository_top, user_file

_RECORD = ".weighbridge/imported.json"
"""What a stage imported beyond its dependencies, for `weighbridge deps`; in the project's folder."""

_SECTIONS = {"task": ("train", "baseline", "compress", "weigh"), "inputs": ("baseline", "compress", "weigh")}
"""By section of `params.yaml`: the kinds of stages that read it."""

_READ_LIMITS = ("weigh", "judge")
"""Kinds of stages that read budgets."""
_PARAMETER = {"recipes": "recipes.${key}"}
"""How a stage names a section of which each of its runs has a part."""


@contextmanager
def declared(root: Path, kind: str) -> Iterator[None]:
    """Run a stage's body; an `InputError` with the lines to add where it imported what it does not depend on.

    Everything that is opened as code counts, also what is imported by a name made up at run time, or is removed from
    `sys.modules` again. Without a `dvc.yaml` that has the stage there is nothing to hold it to.
    """
    if not (root / PIPELINE).is_file() or repository_top(root) is None:
        yield
        return
    _require_sections(root, kind)
    with opened_as_code() as opened:
        yield
    _require(root, kind, {*opened, *(str(file) for file in _modules())})


def require_limits(root: Path) -> None:
    """An `InputError` where the stage `judge` reads shared budgets that it does not depend on. It runs no user's code,
    and opens the sources of some to compare them.
    """
    if (root / PIPELINE).is_file() and repository_top(root) is not None:
        _require(root, "judge", ())


def missing(root: Path) -> list[Undeclared]:
    """Every line that a project's `dvc.yaml` lacks, by its sources and by what its stages were seen to import."""
    side = _side(root)
    found = all_undeclared(side)
    readers = [stage for stage in side.stages if stage.kind in _READ_LIMITS]
    found += [
        _line(side, stage, path)
        for stage in readers
        for path in _limits(side, str(stage.kind))
        if not _covered(side, stage, path)
    ]
    recorded = root / _RECORD
    if recorded.is_file():
        for kind, lines in read_json(recorded).items():
            stage = next((stage for stage in side.stages if stage.kind == kind), None)
            if stage is not None:
                found += [_line(side, stage, path) for path in lines if not _covered(side, stage, path)]
    return list({(item.stage, item.path): item for item in found}.values())


def add(root: Path, found: Iterable[Undeclared]) -> None:
    """Add lines to the `deps` of stages in `dvc.yaml`, its comments kept."""
    path = root / PIPELINE
    from ruamel.yaml import YAML  # noqa: PLC0415  # keeps comments; an extra
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError("is not valid YAML", where=str(path), fix="correct it first") from error
    for item in found:
        body = content["stages"][item.stage]
        deps = body.get("do", body).setdefault("deps", [])
        if item.line not in deps:
            deps.append(item.line)
    text = io.StringIO()
    yaml.dump(content, text)
    atomic_write(path, text.getvalue().encode())


def _require(root: Path, kind: str, files: Iterable[str]) -> None:
    side = _side(root)
    stages = [stage for stage in side.stages if stage.kind == kind]
    if not stages:
        return
    loaded = {path for file in set(files) if (path := user_file(side.tree.git.root, file)) is not None}
    ours = sorted(path for path in loaded if not idle(side.tree.git.root / path))
    ours += [path for path in (*_weights(side, stages[0]), *_limits(side, kind)) if path not in ours]
    lists = [[_line(side, stage, path) for path in ours if not _covered(side, stage, path)] for stage in stages]
    lacking = min(lists, key=len)
    record = read_json(root / _RECORD) if (root / _RECORD).is_file() else {}
    if not lacking:
        if record.pop(kind, None) is not None:
            write_json(root / _RECORD, record)
        return
    write_json(root / _RECORD, {**record, kind: [item.path for item in lacking]})
    lines = ", ".join(f"`- {item.line}`" for item in lacking[:4])
    raise InputError(
        f"the stage {lacking[0].stage} uses {lacking[0].path}, which is no dependency of it",
        where=f"{root / PIPELINE}: stages.{lacking[0].stage}.deps",
        fix=f"add {lines}{' …' if len(lacking) > 4 else ''}: `weighbridge deps --write` does",
    )


def _require_sections(root: Path, kind: str) -> None:
    """Sections of `params.yaml` that decide what a stage makes are among the parameters that DVC compares."""
    side = _side(root)
    asked = [section for section, kinds in _SECTIONS.items() if kind in kinds and side.params.get(section) is not None]
    if kind == "weigh" and any("budgets" in recipe for recipe in _recipes(side)):
        asked.append("recipes")
    for stage in (stage for stage in side.stages if stage.kind == kind and asked):
        body = side.document(PIPELINE)["stages"][stage.name]
        followed = [text.partition(".")[0] for text in texts(body.get("do", body).get("params"))]
        for section in (section for section in asked if section not in followed):
            line = _PARAMETER.get(section, section)
            raise InputError(
                f"the stage {stage.name} follows `{section}` of params.yaml, which is no parameter of it",
                where=f"{root / PIPELINE}: stages.{stage.name}.params",
                fix=f"add `- {line}`: DVC would keep its old result when the section changes",
            )


def _weights(side: Side, stage: Stage) -> list[str]:
    """Finished models that recipes name; and of them and of the model the files beside in which they keep weights."""
    model = side.params.get("model")
    given = [side.path(name)] if isinstance(model, dict) and isinstance(name := model.get("onnx"), str) else []
    named = [side.path(name) for name in _replacing(side)] if stage.kind == "compress" else []
    if stage.kind not in ("baseline", "compress") or not (given or named):
        return []
    from weighbridge.core.formats.onnx_skim import external_files  # noqa: PLC0415  # only for models that are ONNX files

    top, found = side.tree.git.root, [path for path in named if path is not None]
    for path in (path for path in (*given, *named) if path is not None and (top / path).is_file()):
        folder = path.rpartition("/")[0]
        beside = (joined(folder, os.path.relpath(file, (top / path).parent)) for file in external_files(top / path))
        found += [place for place in beside if place is not None]
    return found


def _replacing(side: Side) -> list[str]:
    """Paths of the files that steps of recipes put in the model's place."""
    lists = [recipe.get("steps") for recipe in _recipes(side)]
    steps = [
        step["replace"]
        for items in lists
        if isinstance(items, list)
        for step in items
        if isinstance(step, dict) and "replace" in step
    ]
    return [step["onnx"] for step in steps if isinstance(step, dict) and isinstance(step.get("onnx"), str)]


def _recipes(side: Side) -> list[dict[str, Any]]:
    recipes = side.params.get("recipes")
    return [recipe for recipe in recipes.values() if isinstance(recipe, dict)] if isinstance(recipes, dict) else []


def _limits(side: Side, kind: str) -> list[str]:
    """The file of shared budgets, for the stages that read them."""
    path = side.path(side.shared_budgets) if side.shared_budgets and kind in _READ_LIMITS else None
    return [] if path is None else [path]


def _modules() -> Iterator[Path]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            yield Path(file)


def _covered(side: Side, stage: Stage, path: str) -> bool:
    """Whether a stage depends on a file of the disk, or on a folder around it; links are followed on both sides."""
    top = side.tree.git.root
    file = (top / path).resolve()
    places = (place for dep in stage.deps if (place := side.path(dep)) is not None)
    return any(file.is_relative_to((top / place).resolve()) for place in places)


def _line(side: Side, stage: Stage, path: str) -> Undeclared:
    top = side.tree.git.root
    line = Path(os.path.relpath(top / path, top / side.folder / stage.placed("."))).as_posix()
    return Undeclared(stage.name, path, line, f"the stage {stage.name}")


def _side(root: Path) -> Side:
    git = Git.discover(root)
    git = Git(git.root.resolve())
    folder = root.resolve().relative_to(git.root).as_posix()
    return Side(Contents(Checkout(git, "the working tree")), folder)
