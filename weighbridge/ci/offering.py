"""Which recipes `init` offers: those that make this model's file smaller, by a dry run on a few examples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.ci import scaffold
from weighbridge.ci.scaffold import InitAnswers
from weighbridge.core.documents import Params, parse
from weighbridge.core.errors import InputError, WeighbridgeError
from weighbridge.core.progress import Progress
from weighbridge.core.project import PARAMS
from weighbridge.core.strict_yaml import parse_yaml

if TYPE_CHECKING:
    from weighbridge.compress.recipe.project_folder import Project
    from weighbridge.data import Data

SAFE = "fp16"
"""What is offered where no recipe could be tried: it suits every model with float32 weights, and needs no data."""


@dataclass(frozen=True)
class Offer:
    """The recipes that a new project starts with."""

    recipes: tuple[str, ...]
    notes: tuple[str, ...]
    """Why others are left out, one line each."""


def offered(folder: Path, answers: InitAnswers, report: Progress) -> Offer:
    """Try every recipe on the model, without training; paths of the answers are relative to `folder`.

    Raises `InputError` where the model or the data cannot be loaded, or do not fit each other. Without what compresses
    models on this machine nothing is tried.
    """
    try:
        from weighbridge.compress.recipe.explain import few_examples, few_of, source_of  # noqa: PLC0415  # torch: slow, an extra
        from weighbridge.compress.recipe.project_folder import Project  # noqa: PLC0415
        from weighbridge.data import examples_of  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return Offer((SAFE,), (f"{SAFE} alone: {error.name} is not installed here, so that no recipe could be tried",))
    params = parse(Params, parse_yaml(scaffold.params(answers, "schema"), PARAMS), PARAMS)
    with contextlib.chdir(folder):
        project = Project(Path(), params)
        try:
            npz = answers.npz and examples_of(Path(answers.npz), answers.test_share)
            data = few_of(project, npz) if npz else few_examples(project)
            source_of(project, data)
        except InputError as error:
            error.fix = f"{error.fix or 'correct it'}; or skip the trial of recipes with --no-try"
            raise
        found: dict[str, str | None] = {}
        for number, name in enumerate(params.recipes, start=1):
            report("recipes tried", number, len(params.recipes), name)
            found[name] = _obstacle(project, name, data)
    return _offer(found)


def _offer(found: dict[str, str | None]) -> Offer:
    helpful = tuple(name for name, obstacle in found.items() if obstacle is None)
    notes = tuple(f"{name} is left out: {obstacle}" for name, obstacle in found.items() if obstacle is not None)
    if helpful:
        return Offer(helpful, notes)
    return Offer((SAFE,), (*notes, f"{SAFE} stands in {PARAMS} all the same: a project has at least one recipe"))


def _obstacle(project: Project, name: str, data: Data) -> str | None:
    """What speaks against a recipe; None where the file gets smaller."""
    from weighbridge.compress.recipe.explain import explain_on  # noqa: PLC0415

    try:
        sizes = list(_sizes(explain_on(project, name, data)))
    except WeighbridgeError as error:
        return str(error)
    first, last = sizes[0][0], sizes[-1][1]
    return None if last < first else f"the file would have {last:,} bytes, the baseline's has {first:,}"


def _sizes(rows: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """The file's bytes before and after each step."""
    for line in rows:
        if line["layer"] == "(file)":
            yield line["bytes"], line["bytes after"]
