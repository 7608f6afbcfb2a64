"""What each step of a recipe will do to each layer, found out without training.

Every step is applied to a copy of the model in its turn, so that a later step sees the shapes that an earlier one
leaves; where a step would train, it sees a few examples once instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from weighbridge.compress.export import find_target
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.export.program import Program
from weighbridge.compress.export.target import Lowering, Target
from weighbridge.compress.graph.large_file import LargeFile
from weighbridge.compress.graph.layers import row
from weighbridge.compress.graph.lowering import layers, named
from weighbridge.compress.graph.parametrized import plain
from weighbridge.compress.recipe.placing import placed
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.compress.recipe.recipe import TECHNIQUES, phases, read_recipe
from weighbridge.compress.recipe.recipe_run import must_fall
from weighbridge.compress.recipe.reweighting import exported_again
from weighbridge.compress.recipe.teachers import Teachers
from weighbridge.compress.steps import Context, Facts, Graph, Step, StepConfig, Subject
from weighbridge.compress.training.splits import balanced, calibration
from weighbridge.core.documents.inputs import missing_in
from weighbridge.core.formats.compressed import FASTEST, UNASKED, compressed_size, level, read_chunks, taken
from weighbridge.core.formats.onnx_count import counts, macs_by_node
from weighbridge.core.progress import silent
from weighbridge.data import Data, load_data


@dataclass(frozen=True)
class _FileSizes:
    """Bytes as stored and under zstd, parameters and multiply-accumulates of one file."""

    bytes: int
    zstd: Future[int] | None
    """Taken beside the steps; None of a large file, where no step has to lower it."""
    params: int
    macs: int
    known: bool
    """Whether every operator's multiply-accumulates are counted."""


State = Subject | Graph | Program
"""What a recipe has come to after a step."""

UNKNOWN = "unknown"
"""Stands for multiply-accumulates that cannot be counted, as of a convolution over images of any size."""

EXAMPLES = 64
"""Examples that stand for the data."""
FILE = "(file)"
"""Stands for a layer's name where a row is about the whole file."""


def explain(root: Path, recipe: str) -> list[dict[str, Any]]:
    """Rows of a table: step, layer, shape, and parameters, MACs and bytes before and after; the file last.

    Needs no earlier stage: without a trained baseline the factory's fresh weights stand for it (which decides which
    weights a step touches, not how many).
    """
    project = Project(root)
    with project.as_declared():
        return explain_on(project, recipe, few_examples(project))


def explain_on(project: Project, recipe: str, data: Data) -> list[dict[str, Any]]:
    """The rows of `explain` for a recipe of a project; `data` are `few_examples` of it."""
    steps = read_recipe(project.params, recipe, str(project.params_file))
    target = find_target(project.params.recipes[recipe].targets[0])
    context = Context(
        data=data,
        train=project.params.train.model_copy(update={"epochs": 1}),
        seed=project.params.train.seed,
        baseline=project.trained_module,
        teacher=Teachers(project, target.name),
        progress=silent,
        finished=lambda name: project.finished_model(name, data),
    )
    return explain_steps(steps, source_of(project, data), context, target)


def source_of(project: Project, data: Data) -> Subject | Graph:
    """What a project's recipes start from: its trained module, or the fresh one where it is not trained yet, or its
    ONNX model. Raises `InputError` where that cannot be loaded or does not take the data.
    """
    if project.params.model.factory is None:
        return Graph(project.given_model(data))
    module = project.trained_module() if project.checkpoint.is_file() else plain(project.fresh_module().eval())
    project.check(module, data.train)
    return Subject(module)


def explain_steps(
    steps: Sequence[Step], source: Subject | Graph, context: Context, target: Target
) -> list[dict[str, Any]]:
    """The rows of validated steps on a module or a finished ONNX model; see `explain`."""
    rows: list[dict[str, Any]] = []
    state: State = source
    asked = frozenset(name for step in steps for name in must_fall(step))
    with ThreadPoolExecutor(max_workers=1) as pool:
        form = _form(state, context, target)
        sizes = [_sizes(form, target, pool, lambda size: "zstd" in taken(size, asked))]
        # As the first file, so that every row compares like with like.
        compared = sizes[0].zstd is not None
        for number, step in enumerate(steps, start=1):
            label = f"{number} {step.name}"
            with placed(step):
                found, state = _step(step, state, form, context, target)
            form = _form(state, context, target, form)
            sizes.append(_sizes(form, target, pool, lambda _: compared))
            rows += [{"step": label, **line} for line in found]
            rows.append({"step": label, **_file(sizes[-2], sizes[-1])})
        files = [line for line in rows if line["layer"] == FILE]
        for line, (before, after) in zip(files, pairwise(sizes), strict=True):
            line.update(_zstd(before, after))
    return rows


def _step(
    step: Step, state: State, form: Graph | Program, context: Context, target: Target
) -> tuple[list[Facts], State]:
    """What the step will do, and the state after it; `form` is the state's file, exported once."""
    technique, config = TECHNIQUES[step.name], untrained(step.config)
    rows: list[Facts] = []
    if "module" in phases(step):
        assert isinstance(state, Subject)  # by the order of phases
        function = target.trainings.get(step.name, technique.module)
        assert function is not None  # by `phases`
        if technique.explain is not None:
            rows = technique.explain(step.config, state, context)
        state, _ = function(config, state, context)
        form = _form(state, context, target) if "lower" in phases(step) else form
    if "lower" in phases(step):
        lower: Lowering | None = technique.lower if target.lowerings is None else target.lowerings[step.name]
        assert lower is not None  # by `phases`
        lowered, facts = lower(config, form, context)
        # Files of other formats hold fused operators: what a step does to them shows in the file's own row.
        rows = rows or (_lowered(form, lowered, facts) if isinstance(form, Graph) else [])
        state = lowered
    return rows, state


def untrained(config: StepConfig) -> StepConfig:
    """The config without its training where it can do without, else with a single epoch; rounds become one cut."""
    fields = type(config).model_fields
    update: dict[str, Any] = {}
    if "finetune" in fields:
        default = fields["finetune"].default
        current = getattr(config, "finetune")  # noqa: B009  # a field of some configs alone
        update["finetune"] = None if default is None else current.model_copy(update={"epochs": 1, "distill": None})
    update |= {name: value for name, value in (("schedule", "one-shot"), ("max_drop", None)) if name in fields}
    return config.model_copy(update=update)


def few_examples(project: Project) -> Data:
    """A few examples of each split, prepared or from the data factory, that stand for the data."""
    if (project.data_folder / "data.json").is_file():
        data, _ = project.data()
    else:
        where = f"{project.params_file}: data.factory"
        data = load_data(project.params.data.factory, where, missing_in(project.params.inputs))
    return few_of(project, data)


def few_of(project: Project, data: Data) -> Data:
    """A few examples of each split of a project's data."""
    where = f"{project.params_file}: data.factory"
    chosen = calibration(data.train, data.calibration, project.params.train.seed, where)
    few = [split.take(balanced(split.labels, EXAMPLES, 0)) for split in (data.train, data.test, chosen)]
    return replace(data, train=few[0], test=few[1], calibration=few[2], raw=None)


def _form(state: State, context: Context, target: Target, before: Graph | Program | None = None) -> Graph | Program:
    """A state's file; where the module differs in weights alone from that of `before`, by these weights in it."""
    if not isinstance(state, Subject):
        return state
    assert context.data.calibration is not None  # the contract of `Context.data`
    exported: Graph | Program | None = None
    if isinstance(before, Graph) and target.name == ONNXRUNTIME.name:
        exported = exported_again(before, state.module, context.data.calibration)
    if exported is None:
        exported = target.export(state.module, context.data.calibration)
    return replace(exported, notes={**state.notes, **exported.notes})


def _sizes(
    form: Graph | Program, target: Target, pool: ThreadPoolExecutor, compressed: Callable[[int], bool]
) -> _FileSizes:
    """A form's file in figures; of compressed sizes the one that a row shows, where its time is worth it.

    Of a large file at the fastest level: rows compare before with after, and each would take seconds.
    """
    data = target.write(form.model)
    counted = counts(form.network)
    files = data.files if isinstance(data, LargeFile) else None
    size = sum(path.stat().st_size for path in files) if files is not None else len(data)
    chunks = read_chunks(files) if files is not None else iter([data])
    at = level("zstd", size) if size <= UNASKED else FASTEST["zstd"]
    # The compressor runs beside Python, and no step waits for what it finds.
    zstd = pool.submit(compressed_size, chunks, "zstd", at, size) if compressed(size) else None
    return _FileSizes(size, zstd, counted.params, counted.macs, known=not counted.unknown)


def _lowered(before: Graph, after: Graph, facts: Facts) -> list[Facts]:
    """Each layer with a float weight before, and what of it is stored after: by the weight's name, or where constants
    are of several weights, by what the step itself says.
    """
    stored = {tensor.name: len(_stored(tensor)) for tensor in after.proto.graph.initializer}
    origins = before.notes.get("parameters", {})
    tensors = facts.get("tensors", [])
    packed = {fact["weight"]: fact["bytes"] for fact in tensors} if isinstance(tensors, list) else {}
    proto = named(before.proto)  # layers find their cost by their node's name, which models of others leave out
    macs, unknown = macs_by_node(proto), counts(proto).unknown
    rows = []
    for layer in layers(replace(before, proto=proto)):
        count = 1
        for size in layer.shape:
            count *= size
        own = [size for name, size in stored.items() if _of(name, layer.weight)]
        weight = origins.get(layer.weight, layer.weight)
        if not own and weight in packed:
            own = [packed[weight]]
        computed = macs.get(layer.node, 0)
        line = row(layer.name, layer.shape, (count, computed, 4 * count), (count, computed, sum(own)))
        if layer.node not in macs and layer.op_type in unknown:
            line |= {"macs": UNKNOWN, "macs after": UNKNOWN}
        rows.append(line if own else {**line, "bytes after": "in the file's total"})
    return rows


def _of(name: str, weight: str) -> bool:
    """Whether a tensor is named after a weight: `val_1_scale` is of `val_1`, `val_11_scale` is not."""
    return name.startswith(weight) and not name.removeprefix(weight)[:1].isalnum()


def _stored(tensor: Any) -> bytes:
    """A tensor as the file stores it."""
    return bytes(tensor.SerializeToString(deterministic=True))


def _file(before: _FileSizes, after: _FileSizes) -> Facts:
    sizes = [(item.params, item.macs, item.bytes) for item in (before, after)]
    line = row(FILE, (), sizes[0], sizes[1])
    for key, item in (("macs", before), ("macs after", after)):
        if not item.known:  # a part of the sum would pass for the whole
            line[key] = UNKNOWN
    return line


def _zstd(before: _FileSizes, after: _FileSizes) -> Facts:
    """The compressed sizes of a step's file, once they are there."""
    found = {"zstd": before.zstd, "zstd after": after.zstd}
    return {key: size.result() for key, size in found.items() if size is not None}


__all__ = ["explain", "explain_on", "explain_steps", "few_examples", "few_of", "source_of", "untrained"]
