"""Run a recipe: module steps, export, lowering steps; invariants after each step and on the file that ships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import onnx
from numpy.typing import NDArray

from compress import invariants
from compress.control import Control, controlled
from compress.export import Target
from compress.finetune import recipe_teaching
from compress.invariants import Claim
from compress.recipe import TECHNIQUES, phases
from compress.steps import Context, Facts, Graph, Step, Subject
from compress.training import predict
from weighbridge.data import Split
from weighbridge.documents import Sizes, StepRecord
from weighbridge.errors import WeighbridgeError
from weighbridge.onnxfile import compressed_sizes, counts

PARITY_EXAMPLES = 256
"""Calibration examples on which module and artifact are compared."""

Outputs = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Artifact:
    """What a recipe made, and what each step proved of itself."""

    data: bytes
    """The file that ships."""
    sizes: Sizes
    steps: tuple[StepRecord, ...]
    parity: Facts


def export_baseline(source: Subject | Graph, context: Context, target: Target) -> Artifact:
    """The uncompressed artifact: a trained module exported, or a finished ONNX model in the form that ships."""
    run = _Run(context, target, _examples(context))
    run.start(source)
    run.export("baseline")
    return run.finish(())


def compose(
    steps: Sequence[Step], source: Subject | Graph, context: Context, target: Target, baseline: Sizes | None = None
) -> Artifact:
    """Run validated steps, in order, on the trained module or on a finished ONNX model.

    `source` is changed. `baseline` holds the sizes of the source's own artifact, where they are known already.
    Where steps fine-tune with a teacher, the whole recipe leaves out part of train, a control without a teacher goes
    beside it, and the facts of each step from there on compare the two on that part.
    Raises `InvariantError` that names the step where one changed nothing, undid an earlier one,
    gave values that are no numbers, or did not lower what it must (see `invariants`).
    """
    taught = recipe_teaching(steps)
    control = controlled(taught, context) if taught is not None else None
    if control is not None:
        context = control.context
    run = _Run(context, target, _examples(context), control=control, sizes=baseline)
    run.start(source)
    for number, step in enumerate(steps):
        context.progress("recipe", number, len(steps), step.name)
        if "module" in phases(step):
            run.module_step(step)
        if "lower" in phases(step):
            run.lowering_step(step)
    run.export(steps[-1].where)
    context.progress("recipe", len(steps), len(steps), "done")
    return run.finish(steps)


@contextmanager
def placed(step: Step) -> Iterator[None]:
    """Errors of a technique that name themselves (`prune: keep`) say where in params that is."""
    try:
        yield
    except WeighbridgeError as error:
        where = error.where or step.name
        inside = where.removeprefix(step.name).lstrip(" :.")
        if where == step.name or where.startswith((f"{step.name}:", f"{step.name}.")):
            error.where = f"{step.where}.{inside}" if inside else step.where
        elif not where.startswith(step.where):
            error.where = f"{step.where}: {where}"
        raise


def sizes_of(proto: onnx.ModelProto, data: bytes) -> Sizes:
    """Stored and compressed bytes, parameters and MACs of one file."""
    counted = counts(proto)
    unknown = {"macs_unknown": list(counted.unknown)} if counted.unknown else {}
    return Sizes(**compressed_sizes(data), params=counted.params, macs=counted.macs, **unknown)


def _examples(context: Context) -> Split:
    assert context.data.calibration is not None  # the contract of `Context.data`
    return context.data.calibration.take(slice(0, PARITY_EXAMPLES))


@dataclass
class _Run:
    """The state of one recipe between its steps."""

    context: Context
    target: Target
    examples: Split
    control: Control | None = None
    """The same steps without a teacher, where the recipe has one."""
    subject: Subject | None = None
    graph: Graph | None = None
    """Set once the module was exported; None again after a further module step."""
    data: bytes = b""
    sizes: Sizes | None = None
    reference: Outputs = ()
    """The outputs of the module (or of the given ONNX model) that every later file is compared with."""
    parity: Facts = field(default_factory=dict)
    exact: bool = True
    claims: list[Claim] = field(default_factory=list)
    lowered: bool = False
    """Whether a lowering step has run."""
    integers: int = 0
    records: list[StepRecord] = field(default_factory=list)

    def start(self, source: Subject | Graph) -> None:
        """Begin with a module, or with a finished ONNX model."""
        if isinstance(source, Subject):
            self.subject = source
            return
        self._store(source)
        self.reference = self.target.run(self.data, self.examples.inputs)
        self.integers = invariants.integer_nodes(source.proto)

    def module_step(self, step: Step) -> None:
        """Let a technique change the module, and check what it did."""
        assert self.subject is not None  # `read_recipe` refuses module steps on ONNX models
        technique = TECHNIQUES[step.name]
        assert technique.module is not None  # by `phases`
        needs = technique.falls(step.config) if technique.falls is not None else ()
        if needs and self.sizes is None:
            self.export(step.where)
        size = self.sizes
        before, kept = invariants.state_digest(self.subject.module), list(self.subject.constraints)
        with placed(step):
            if self.control is not None:
                self.control.follow(step, self.subject)
            self.subject, facts = technique.module(step.config, self.subject, self.context)
            if self.control is not None:
                facts = {**facts, **self.control.facts(self.subject)}
        self.graph = None
        module = self.subject.module
        if "lower" not in phases(step):  # where it is, the file must change
            invariants.changed(before, invariants.state_digest(module), step.where)
        invariants.finite_weights(module, step.where)
        invariants.constraints_kept(kept, self.subject.constraints, step.where)
        invariants.constraints_hold(self.subject.constraints, module, step.where)
        if "lower" in phases(step):
            # Its module may carry fake quantization that the export leaves out.
            self.exact = False
            self.records.append(_record(step, facts, None))
            return
        self.export(step.where)
        assert self.sizes is not None  # set by `export`
        if needs and size is not None:
            invariants.fell(needs, size, self.sizes, step.where)
        self.records.append(_record(step, facts, self.sizes))

    def export(self, where: str) -> None:
        """Make the module's file, once after each change of it, and compare the two on real inputs."""
        if self.graph is not None:
            return
        assert self.subject is not None  # `start` set one of the two
        exported = self.target.export(self.subject.module, self.examples)
        self._store(Graph(exported.proto, {**self.subject.notes, **exported.notes}))
        self.reference = predict(self.subject.module, self.examples)
        self.claims = invariants.claims(self.subject.module) if self.subject.constraints else []
        self._compare(None if not self.exact else invariants.FLOAT_TOLERANCE, where)

    def lowering_step(self, step: Step) -> None:
        """Let a technique change the file's graph, and check what it did."""
        technique = TECHNIQUES[step.name]
        assert technique.lower is not None  # by `phases`
        self.export(step.where)
        assert self.graph is not None  # set by `export`
        assert self.sizes is not None  # set by `export`
        data, size = self.data, self.sizes
        if self.lowered:
            self.claims = invariants.claims_of_file(self.graph.proto)
        self.lowered = True
        with placed(step):
            graph, facts = technique.lower(step.config, self.graph, self.context)
        self._store(graph)
        invariants.changed(data, self.data, step.where)
        needs = ("bytes",) if "module" in phases(step) or technique.falls is None else technique.falls(step.config)
        if "module" in phases(step):
            facts = {**self.records.pop().facts, **facts}
        invariants.fell(needs, size, self.sizes, step.where)
        invariants.integers_kept(self.integers, graph.proto, step.where)
        invariants.claims_hold(self.claims, graph.proto, step.where)
        self.integers = invariants.integer_nodes(graph.proto)
        self.exact = self.exact and technique.exact
        self._compare(self._tolerance(), step.where)
        self.records.append(_record(step, facts, self.sizes))

    def finish(self, steps: Sequence[Step]) -> Artifact:
        """Check the final file as it ships, and hand it over."""
        assert self.sizes is not None  # `export` or `start` set it
        where = steps[-1].where if steps else "baseline"
        proto = onnx.load_model_from_string(self.data)
        kept = invariants.claims_hold(self.claims, proto, where)
        return Artifact(self.data, self.sizes, tuple(self.records), {**self.parity, **kept})

    def _tolerance(self) -> float | None:
        if not self.exact:
            return None
        return invariants.FLOAT_TOLERANCE + invariants.EXACT_TOLERANCE

    def _store(self, graph: Graph) -> None:
        self.graph = graph
        self.data = self.target.write(graph.proto)
        self.sizes = sizes_of(graph.proto, self.data)

    def _compare(self, tolerance: float | None, where: str) -> None:
        ours = self.target.run(self.data, self.examples.inputs)
        # A file with a fixed batch size leaves out the examples that do not fill a batch.
        reference = [output[: len(ours[0])] for output in self.reference]
        self.parity = invariants.parity(ours, reference, tolerance, where)


def _record(step: Step, facts: Facts, sizes: Sizes | None) -> StepRecord:
    return StepRecord(technique=step.name, config=step.config.model_dump(mode="json"), facts=facts, sizes=sizes)
