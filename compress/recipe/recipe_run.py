"""One recipe on its way to one target: the state between steps, and what must hold after each of them."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
from numpy.typing import NDArray

from weighbridge.compress import invariants
from weighbridge.compress.export.program import Program
from weighbridge.compress.export.target import Lowering, Reading, Target, ports, read_form
from weighbridge.compress.graph.large_file import LargeFile
from weighbridge.compress.graph.spilled import opened, to_array
from weighbridge.compress.invariants import Claim
from weighbridge.compress.parity import AGREEMENT, EXACT_TOLERANCE, FLOAT_TOLERANCE, Judge, by_form, parity, task_judge
from weighbridge.compress.recipe.control import Control
from weighbridge.compress.recipe.placing import placed
from weighbridge.compress.recipe.recipe import TECHNIQUES, phases
from weighbridge.compress.steps import Context, Facts, Graph, ModuleFunction, Step, Subject
from weighbridge.compress.training.module_quality import predict
from weighbridge.compress.training.splits import forget
from weighbridge.core.documents import Sizes, StepRecord
from weighbridge.core.formats.compressed import KINDS, compressed_sizes, sizes_of_files
from weighbridge.core.formats.onnx_file import counts
from weighbridge.core.formats.onnx_isa import requires
from weighbridge.data import Split

PARITY_EXAMPLES = 256
"""Calibration examples on which module and artifact are compared."""

Outputs = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class BuiltArtifact:
    """What a recipe made, and what each step proved of itself."""

    data: bytes | LargeFile
    """The file that ships."""
    sizes: Sizes
    steps: tuple[StepRecord, ...]
    parity: Facts
    """Of the file with the module, and under `targets` with the files of other targets."""
    ports: dict[str, list[str]] = field(default_factory=dict)
    """Names of inputs and outputs, in the file's order."""
    requires: tuple[str, ...] = ()
    """What a processor must have to answer as this one did."""


def sizes_of(proto: onnx.ModelProto, data: bytes | LargeFile, asked: Container[str] = KINDS) -> Sizes:
    """Stored and compressed bytes, parameters and MACs of one file, or of a model in two.

    Of a large one, only the kinds of compression that are `asked` for: they take minutes.
    """
    counted = counts(proto)
    unknown = {"macs_unknown": list(counted.unknown)} if counted.unknown else {}
    stored = sizes_of_files(data.files, asked) if isinstance(data, LargeFile) else compressed_sizes(data, asked)
    return Sizes(**stored, params=counted.params, macs=counted.macs, **unknown)


def _read_back(data: bytes | LargeFile) -> onnx.ModelProto:
    return opened(data.path) if isinstance(data, LargeFile) else onnx.load_model_from_string(data)


def must_fall(step: Step) -> Sequence[str]:
    """Which sizes of the file a step has to lower; none where its technique does not say."""
    stated = TECHNIQUES[step.name].falls
    return () if stated is None else stated(step.config)


def parity_examples(context: Context) -> Split:
    """The calibration examples on which module and files are compared."""
    assert context.data.calibration is not None  # the contract of `Context.data`
    return context.data.calibration.take(slice(0, PARITY_EXAMPLES))


@dataclass(frozen=True)
class File:
    """What the steps so far made for the target."""

    form: Graph | Program
    data: bytes | LargeFile
    sizes: Sizes
    answers: Outputs
    """On the examples."""


@dataclass(frozen=True)
class Run:
    """One recipe between two of its steps, for one target. A step returns the run after it; the torch module inside
    `subject` is changed in place, as whoever runs a step knows.
    """

    context: Context
    target: Target
    examples: Split
    asked: frozenset[str] = frozenset()
    """Kinds of compressed sizes that a step has to lower."""
    control: Control | None = None
    """The same steps without a teacher, where the recipe has one."""
    subject: Subject | None = None
    file: File | None = None
    """Of the module as it is now; None after a step that changed it."""
    sizes: Sizes | None = None
    """Of the latest file, or of the baseline's before there is one."""
    reference: Outputs = ()
    """The outputs of the module (or of the given ONNX model) that every later file is compared with."""
    parity: Facts = field(default_factory=dict)
    exact: bool = True
    least: float = 1.0
    """Share of examples on which the file must answer as the reference does, once a step was lossy."""
    claims: tuple[Claim, ...] = ()
    lowered: bool = False
    """Whether a lowering step has run."""
    integers: int = 0
    records: tuple[StepRecord, ...] = ()

    def start(self, source: Subject | Graph) -> Run:
        """Begin with a module, or with a finished ONNX model."""
        if isinstance(source, Subject):
            return replace(self, subject=source)
        file = self._written(source)
        integers = invariants.integer_nodes(source.proto)
        return replace(self, file=file, sizes=file.sizes, reference=file.answers, integers=integers)

    def branch(self, target: Target) -> Run:
        """A run for another target that goes on from here, with a copy of the module.

        Sizes after the steps so far are those of another target's file, and are left out.
        """
        assert self.subject is not None  # recipes for targets that need the module are refused without it
        return Run(
            self.context,
            target,
            self.examples,
            asked=self.asked,
            control=self.control,
            subject=copy.deepcopy(self.subject),
            exact=self.exact,
            least=self.least,
            records=tuple(record.model_copy(update={"sizes": None}) for record in self.records),
        )

    def module_step(self, step: Step, trained: dict[ModuleFunction, tuple[Subject, Facts]] | None = None) -> Run:
        """Let a technique change the module, and check what it did.

        `trained` holds what other targets' runs got from the same function and the same module.
        """
        assert self.subject is not None  # `read_recipe` refuses module steps on ONNX models
        needs = must_fall(step)
        known = self.sizes is not None and all(getattr(self.sizes, name) is not None for name in needs)
        run = self if known or not needs else self.export(step.where)
        before, kept = invariants.state_digest(self.subject.module), list(self.subject.constraints)
        with placed(step):
            changed, facts = run.changed_by(step, trained)
        subject = changed.subject
        assert subject is not None  # `changed_by` sets it
        if "lower" not in phases(step):  # where it is, the file must change
            invariants.changed(before, invariants.state_digest(subject.module), step.where)
        invariants.finite_weights(subject.module, step.where)
        invariants.constraints_kept(kept, subject.constraints, step.where)
        invariants.constraints_hold(subject.constraints, subject.module, step.where)
        if "lower" in phases(step):
            # Its module may carry fake quantization that the export leaves out.
            return changed.lossy_after(step).recorded(step, facts, None)
        exported = changed.export(step.where)
        assert exported.sizes is not None  # set by `export`
        if needs and run.sizes is not None:
            invariants.fell(needs, run.sizes, exported.sizes, step.where)
        return exported.recorded(step, facts, exported.sizes)

    def changed_by(self, step: Step, trained: dict[ModuleFunction, tuple[Subject, Facts]] | None) -> tuple[Run, Facts]:
        """The run after the technique's own function, without a file, and what it says of itself."""
        assert self.subject is not None  # see `module_step`
        function = self.target.trainings.get(step.name, TECHNIQUES[step.name].module)
        assert function is not None  # by `phases`
        if trained is not None and function in trained and self.control is None:
            subject, facts = copy.deepcopy(trained[function])
            return replace(self, subject=subject, file=None), facts
        control = self.control.follow(step, self.subject, function) if self.control is not None else None
        subject, facts = function(step.config, self.subject, self.context)
        if control is not None:
            facts = {**facts, **control.facts(subject)}
        if trained is not None:
            trained[function] = copy.deepcopy((subject, facts))
        return replace(self, subject=subject, control=control, file=None), facts

    def export(self, where: str) -> Run:
        """Make the module's file, once after each change of it, and compare the two on real inputs."""
        if self.file is not None:
            return self
        assert self.subject is not None
        forget(self.context.data)  # exporting takes as much memory as training: not both at once
        exported = self.target.export(self.subject.module, self.examples)
        file = self._written(replace(exported, notes={**self.subject.notes, **exported.notes}))
        reference = predict(self.subject.module, self.examples, batch_size=64)
        claims = invariants.claims(self.subject.module) if self.subject.constraints else []
        if claims:
            claims = invariants.claims_read(claims, self.subject.module, self._read(file.form.model).weights)
        run = replace(self, file=file, sizes=file.sizes, reference=reference, claims=tuple(claims))
        return run.compared(None if not self.exact else FLOAT_TOLERANCE, where)

    def lowering_step(self, step: Step) -> Run:
        """Let a technique change the file, and check what it did."""
        technique = TECHNIQUES[step.name]
        lower: Lowering | None = technique.lower
        if self.target.lowerings is not None:
            lower = self.target.lowerings[step.name]
        assert lower is not None  # by `phases`
        run = self.export(step.where)
        assert run.file is not None
        before = run.file
        claims = run.claims
        if run.lowered:
            claims = tuple(invariants.claims_of_file(self._read(before.form.model).weights))
        with placed(step):
            form, facts = lower(step.config, before.form, self.context)
        file = self._written(form)
        invariants.changed(before.data, file.data, step.where)
        trains = "module" in phases(step)
        needs = ("bytes",) if trains else must_fall(step) or ("bytes",)
        invariants.fell(needs, before.sizes, file.sizes, step.where)
        reading = self._read(form.model, weights=bool(claims))
        invariants.integers_kept(run.integers, reading.integers, step.where)
        invariants.claims_hold(claims, reading.weights, step.where)
        records = run.records
        if trains:
            facts = {**records[-1].facts, **facts}
            records = records[:-1]
        after = replace(
            run, file=file, sizes=file.sizes, claims=claims, lowered=True, integers=reading.integers, records=records
        )
        after = after if technique.exact else after.lossy_after(step)
        tolerance = FLOAT_TOLERANCE + EXACT_TOLERANCE if after.exact else None
        return after.compared(tolerance, step.where).recorded(step, facts, file.sizes)

    def finish(self, steps: Sequence[Step]) -> BuiltArtifact:
        """Check the final file as it ships, and hand it over."""
        file = self.file
        assert file is not None  # `export` or `start` set it
        where = steps[-1].where if steps else "baseline"
        shipped = _read_back(file.data) if self.target.read is None else None
        reading = self._read(shipped if shipped is not None else file.data, weights=bool(self.claims))
        # XNNPACK, which runs the files of other targets, widens before it adds.
        needs = requires(shipped, to_array) if shipped is not None else ()
        facts = invariants.claims_hold(self.claims, reading.weights, where)
        facts |= {"kernels": reading.kernels} if reading.kernels else {}
        records = self.records
        if records and records[-1].sizes is None:
            records = (*records[:-1], records[-1].model_copy(update={"sizes": file.sizes}))
        return BuiltArtifact(file.data, file.sizes, records, {**self.parity, **facts}, ports(file.form), needs)

    def _read(self, model: Any, *, weights: bool = True) -> Reading:
        """What stands in a form. Decoding the weights of an ONNX graph takes a copy of them all."""
        if self.target.read is None and not weights:
            return Reading({}, invariants.integer_nodes(model))
        return read_form(self.target, model)

    def lossy_after(self, step: Step) -> Run:
        """From here on answers are compared, by the most lenient of the lossy steps."""
        return replace(self, exact=False, least=min(self.least, self._agreement(step)))

    def _agreement(self, step: Step) -> float:
        """What a lossy step must keep: as it says itself, or the task; else by kind and scheme, the stricter one."""
        stated = TECHNIQUES[step.name].agreement
        usual = stated(step.config) if stated is not None else AGREEMENT
        task = self.context.task
        if task is None or usual == 0 or "agreement" in step.config.model_fields_set:
            return usual
        by_scheme = task.least is None and usual > AGREEMENT
        return max(task.agreement_least, usual) if by_scheme else task.agreement_least

    def _written(self, form: Graph | Program) -> File:
        data = self.target.write(form.model)
        return File(form, data, sizes_of(form.network, data, self.asked), self.target.run(data, self.examples.inputs))

    def compared(self, tolerance: float | None, where: str) -> Run:
        """The run with its file's answers held to the reference."""
        assert self.file is not None  # the caller made it
        ours = self.file.answers
        # A file with a fixed batch size leaves out the examples that do not fill a batch.
        reference = [output[: len(ours[0])] for output in self.reference]
        return replace(self, parity=parity(ours, reference, tolerance, where, self.least, self._judge(self.file.form)))

    def _judge(self, form: Graph | Program) -> Judge:
        """How answers are compared: by the task, where there is one."""
        if self.context.task is None:
            return by_form
        return task_judge(self.context.task, self.examples, ports(form)["outputs"])

    def recorded(self, step: Step, facts: Facts, sizes: Sizes | None) -> Run:
        """The run with what a step proved of itself."""
        config = step.config.model_dump(mode="json")
        record = StepRecord(technique=step.name, config=config, facts=facts, sizes=sizes)
        return replace(self, records=(*self.records, record))
