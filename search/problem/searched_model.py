"""The model that a search is about: its module or file, its data, and what of it can be chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from weighbridge.compress.export import find_target
from weighbridge.compress.export.target import Target
from weighbridge.compress.graph.layers import calls, large_tables, weights
from weighbridge.compress.graph.lowering import layers as file_layers
from weighbridge.compress.recipe.explain import few_examples
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.compress.recipe.teachers import Teachers
from weighbridge.compress.steps import Context, Graph, Subject
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.techniques.prune.depth import candidates
from weighbridge.compress.techniques.prune.masks import emptied
from weighbridge.compress.techniques.prune.structured import followed
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.progress import silent
from weighbridge.data import Data
from weighbridge.search.problem.space import MOST_LAYERS, Space
from weighbridge.search.problem.weight_forms import BLOCK, Stored

LARGE = 0.1
"""A table with so large a part of all weights has forms of its own."""


@dataclass(frozen=True)
class Source:
    """What recipes start from."""

    project: Project
    target: Target
    start: Subject | Graph
    context: Context
    trained: bool
    """Whether the weights are the baseline's; fresh ones stand for it where it is not trained yet."""
    layers: tuple[str, ...]
    """Layers whose channels can be removed, the most expensive first."""
    removable: tuple[str, ...] = ()
    """Layers that can be removed as a whole."""
    stored: Stored = field(default_factory=Stored)
    """What decides how weights can be stored."""

    @property
    def classes(self) -> bool:
        """Whether labels are classes; else answers are compared by their values."""
        labels = self.context.data.test.labels
        return labels.dtype.kind in "iub" and labels.ndim == 1


def untrained_source(root: Path, target: str | None = None) -> Source:
    """The project's model with a few examples, as `weighbridge explain` sees it; needs no earlier stage."""
    project = Project(root)
    chosen = chosen_target(project, target)
    data = few_examples(project)
    start, trained = start_of(project, data)
    return source_of(project, chosen, start, data, trained=trained)


def chosen_target(project: Project, name: str | None) -> Target:
    """The target to search for: as asked, or the first of `targets`."""
    names = project.params.targets
    if name is not None and name not in names:
        raise InputError(f"{name!r} is not among 'targets'", where="--target", fix=f"one of {', '.join(names)}")
    return find_target(name or names[0], f"{project.params_file}: targets")


def start_of(project: Project, data: Data) -> tuple[Subject | Graph, bool]:
    """The baseline, or the factory's fresh weights where it is not trained yet; and which of the two."""
    if project.params.model.factory is None:
        return Graph(project.given_model(data)), True
    trained = project.checkpoint.is_file()
    module = project.trained_module() if trained else project.start_module().eval()
    project.check(module, data.train)
    return Subject(module), trained


def source_of(project: Project, target: Target, start: Subject | Graph, data: Data, *, trained: bool) -> Source:
    """The source with the context that steps run in."""
    context = Context(
        data=data,
        train=project.params.train,
        seed=project.params.train.seed,
        baseline=project.trained_module,
        teacher=Teachers(project, target.name),
        progress=silent,
        finished=lambda name: project.finished_model(name, data),
    )
    keep = project.params.search.keep
    if not isinstance(start, Subject):
        return Source(project, target, start, context, trained, (), stored=_of_file(start))
    layers, removable = prunable(start, data, keep), _removable(start, data, keep)
    stored = _of_module(start, data, max(project.params.search.sparsities, default=0.0))
    return Source(project, target, start, context, trained, layers, removable, stored)


def space_of(source: Source) -> Space:
    """The space that params leave for the source's target."""
    params = source.project.params
    section = params.search
    if not source.layers:
        section = section.model_copy(
            update={"techniques": [name for name in section.techniques if name != "prune-channels"]}
        )
    named = source.layers if len(source.layers) <= MOST_LAYERS else ()
    module = params.model.factory is not None
    space = Space(source.target.name, section, params.train, module, named, source.removable, source.stored)
    space.check(str(source.project.params_file))
    return space


def _of_module(start: Subject, data: Data, sparsity: float) -> Stored:
    """Layers that one example reaches: a table that is read without being called has no layer in the file."""
    assert data.calibration is not None  # `few_examples` and the splits of a search set it
    called = calls(start.module, batch(data.calibration, slice(0, 1))[0])
    large = large_tables(start.module, called, LARGE)
    every = weights(start.module)
    blocks = all(weight.tensor.numel() % BLOCK == 0 for weight in every)
    return Stored(len(called), large, tuple(emptied(every, sparsity)), blocks)


def _of_file(start: Graph) -> Stored:
    found = file_layers(start)
    total = sum(math.prod(layer.shape) for layer in found)
    large = [layer.name for layer in found if layer.op_type == "Gather" and math.prod(layer.shape) >= LARGE * total]
    blocks = all(math.prod(layer.shape) % BLOCK == 0 for layer in found)
    return Stored(len(found), tuple(dict.fromkeys(large)), blocks=blocks)


def _removable(start: Subject, data: Data, keep: Sequence[str]) -> tuple[str, ...]:
    """Layers that can be removed as a whole; none where the module has none."""
    assert data.calibration is not None  # `few_examples` and the splits of a search set it
    try:
        config = PruneConfig(method="depth", layers=["*"], keep=list(keep))
        return tuple(item.name for item in candidates(config, start.module, data.calibration))
    except InputError:
        return ()


def prunable(start: Subject, data: Data, keep: Sequence[str]) -> tuple[str, ...]:
    """Layers whose channels can be removed, by falling multiply-accumulates; none where the module has no such layer.

    A pattern of `keep` that matches no layer is an `InputError`.
    """
    assert data.calibration is not None  # `few_examples` and the splits of a search set it
    config = PruneConfig(method="structured", ratio=0.5, keep=list(keep))
    try:
        groups = followed(config, start.module, data.calibration)
    except (InputError, InvariantError) as error:
        if error.where == "prune: keep":
            error.where = "params.yaml: search.keep"
            raise
        return ()
    cost = calls(start.module, batch(data.calibration, slice(0, 1))[0])
    macs = [cost[group.root].macs if group.root in cost else 0 for group in groups]
    return tuple(groups[index].root for index in np.argsort([-value for value in macs], kind="stable"))
