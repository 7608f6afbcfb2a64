"""Run a recipe: module steps, export, lowering steps; for one target, or for several that share what they can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from weighbridge.compress import parity
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.export.program import Program
from weighbridge.compress.export.target import Target
from weighbridge.compress.recipe.control import controlled
from weighbridge.compress.recipe.recipe import phases
from weighbridge.compress.recipe.recipe_run import BuiltArtifact, Outputs, Run, must_fall, parity_examples
from weighbridge.compress.steps import Context, Facts, Graph, ModuleFunction, Step, Subject
from weighbridge.compress.training.finetune import recipe_teaching
from weighbridge.core.documents import Sizes


def export_baseline(source: Subject | Graph, context: Context, target: Target) -> BuiltArtifact:
    """The uncompressed artifact: a trained module exported, or a finished ONNX model in the form that ships."""
    run = Run(context, target, parity_examples(context)).start(source).export("baseline")
    artifact = run.finish(())
    assert run.file is not None  # set by `export`
    if not isinstance(run.file.form, Program):
        return artifact
    # The network was exported to ONNX to count it: the two runtimes answer side by side.
    theirs = ONNXRUNTIME.run(ONNXRUNTIME.write(run.file.form.network), run.examples.inputs)
    compared = _compared(run.file.answers, theirs, 2 * parity.FLOAT_TOLERANCE, f"baseline: {target.name}, onnxruntime")
    return replace(artifact, parity={**artifact.parity, "targets": {ONNXRUNTIME.name: compared}})


def compose(
    steps: Sequence[Step], source: Subject | Graph, context: Context, target: Target, baseline: Sizes | None = None
) -> BuiltArtifact:
    """Run validated steps, in order, on the trained module or on a finished ONNX model.

    `source` is changed. `baseline` holds the sizes of the source's own artifact, where they are known already.
    Where steps fine-tune with a teacher, the whole recipe leaves out part of train, a control without a teacher goes
    beside it, and the facts of each step from there on compare the two on that part.
    Raises `InvariantError` that names the step where one changed nothing, undid an earlier one,
    gave values that are not numbers, or did not lower what it must (see `invariants`).
    """
    baselines = {target.name: baseline} if baseline is not None else {}
    return compose_all(steps, source, context, [target], baselines)[target.name]


def compose_all(
    steps: Sequence[Step],
    source: Subject | Graph,
    context: Context,
    targets: Sequence[Target],
    baselines: Mapping[str, Sizes] | None = None,
) -> dict[str, BuiltArtifact]:
    """Run one recipe for several targets; artifacts by target. See `compose`.

    Steps that change the module alone run once, and are measured on its ONNX export; from the first step that lowers,
    each target goes on from a copy. `baselines` holds the sizes of each target's uncompressed artifact, as far as they
    are known. Each file is compared with the module and with the files of the other targets.
    """
    taught = recipe_teaching(steps)
    control = controlled(taught, context) if taught is not None else None
    if control is not None:
        context = control.context
    ruler = next((target for target in targets if target.read is None), ONNXRUNTIME)
    sizes = (baselines or {}).get(ruler.name)
    asked = frozenset(name for step in steps for name in must_fall(step))
    trunk = Run(context, ruler, parity_examples(context), asked, control=control, sizes=sizes).start(source)
    shared = list(takewhile(lambda step: phases(step) == ("module",), steps))
    for number, step in enumerate(shared):
        context.progress("recipe", number, len(steps), step.name)
        trunk = trunk.module_step(step)
    runs = {target.name: trunk if target is ruler else trunk.branch(target) for target in targets}
    trained: dict[ModuleFunction, tuple[Subject, Facts]] = {}
    for name, begun in runs.items():
        run = begun
        for number, step in enumerate(steps[len(shared) :], start=len(shared)):
            context.progress("recipe", number, len(steps), step.name if len(runs) == 1 else f"{step.name} for {name}")
            if "module" in phases(step):
                run = run.module_step(step, trained)
            if "lower" in phases(step):
                run = run.lowering_step(step)
        runs[name] = run.export(steps[-1].where)
    context.progress("recipe", len(steps), len(steps), "done")
    artifacts = {name: run.finish(steps) for name, run in runs.items()}
    return {name: _beside(artifact, name, runs, steps[-1].where) for name, artifact in artifacts.items()}


def _beside(artifact: BuiltArtifact, name: str, runs: Mapping[str, Run], where: str) -> BuiltArtifact:
    """The artifact, its answers compared with those of the other targets' files."""
    own = runs[name]
    compared = {
        other: _compared(
            _answers(own),
            _answers(run),
            2 * parity.FLOAT_TOLERANCE if own.exact and run.exact else None,
            f"{where}: {name}, {other}",
        )
        for other, run in runs.items()
        if other != name
    }
    return replace(artifact, parity={**artifact.parity, "targets": compared}) if compared else artifact


def _answers(run: Run) -> Outputs:
    assert run.file is not None  # each run was exported
    return run.file.answers


def _compared(ours: Outputs, theirs: Outputs, tolerance: float | None, where: str) -> Facts:
    """How two targets' files agree. Lossy ones have each been held to the module: what they differ by is reported."""
    shorter = min(len(ours[0]), len(theirs[0]))  # a file with a fixed batch leaves out what does not fill one
    found = parity.parity(
        [output[:shorter] for output in ours], [output[:shorter] for output in theirs], tolerance, where, 0.0
    )
    return {key: found[key] for key in ("examples", "largest_difference", "agreement")}
