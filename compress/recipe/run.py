"""One recipe on its way to one target: the state between steps, and what must hold after each of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
from numpy.typing import NDArray

from weighbridge.compress import invariants
from weighbridge.compress.export.target import Lowering, Program, Reading, Target, ports, read_form
from weighbridge.compress.invariants import Claim
from weighbridge.compress.parity import AGREEMENT, EXACT_TOLERANCE, FLOAT_TOLERANCE, Judge, by_form, parity, task_judge
from weighbridge.compress.recipe.control import Control
from weighbridge.compress.recipe.library_errors import LIBRARY_ERRORS, first_line, of_library, out_of_memory
from weighbridge.compress.recipe.recipe import TECHNIQUES, phases
from weighbridge.compress.steps import Context, Facts, Graph, ModuleFunction, Step, Subject
from weighbridge.compress.training.quality import predict
from weighbridge.compress.training.splits import forget
from weighbridge.core.documents import Sizes, StepRecord
from weighbridge.core.errors import InvariantError, StateError, WeighbridgeError
from weighbridge.core.formats.compressed import compressed_sizes
from weighbridge.core.formats.onnx_file import counts
from weighbridge.core.formats.onnx_isa import requires
from weighbridge.data import Split

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
    """Of the file with the module, and under `targets` with the files of other targets."""
    ports: dict[str, list[str]] = field(default_factory=dict)
    """Names of inputs and outputs, in the file's order."""
    requires: tuple[str, ...] = ()
    """What a processor must have to answer as this one did."""


@contextmanager
def placed(step: Step) -> Iterator[None]:
    """Errors of a technique that name themselves (`prune: keep`) say where in params that is.

    What a library below it raises (torch, onnx, onnxruntime, torch-pruning) is an `InvariantError` with its reason.
    """
    try:
        yield
    except LIBRARY_ERRORS as error:
        library = of_library(error)
        if library is None:
            raise
        if out_of_memory(error):
            raise StateError(
                f"{library} ran out of memory: {first_line(error)}", where=step.where, fix="free memory, and run again"
            ) from error
        raise InvariantError(
            f"{library} cannot take the model: {type(error).__name__}: {first_line(error)}",
            where=step.where,
            fix="name the layer under 'keep', or leave the step out",
        ) from error
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


def parity_examples(context: Context) -> Split:
    """The calibration examples on which module and files are compared."""
    assert context.data.calibration is not None  # the contract of `Context.data`
    return context.data.calibration.take(slice(0, PARITY_EXAMPLES))


@dataclass
class Run:
    """The state of one recipe between its steps, for one target."""

    context: Context
    target: Target
    examples: Split
    control: Control | None = None
    """The same steps without a teacher, where the recipe has one."""
    subject: Subject | None = None
    form: Graph | Program | None = None
    """Set once the module was exported; None again after a further module step."""
    data: bytes = b""
    sizes: Sizes | None = None
    answers: Outputs = ()
    """The outputs of the file on the examples."""
    reference: Outputs = ()
    """The outputs of the module (or of the given ONNX model) that every later file is compared with."""
    parity: Facts = field(default_factory=dict)
    exact: bool = True
    least: float = 1.0
    """Share of examples on which the file must answer as the reference does, once a step was lossy."""
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
        self.answers = self.reference = self.target.run(self.data, self.examples.inputs)
        self.integers = invariants.integer_nodes(source.proto)

    def branch(self, target: Target) -> Run:
        """A run for another target that goes on from here, with a copy of the module.

        Sizes after the steps so far are those of another target's file, and are left out.
        """
        assert self.subject is not None  # recipes for targets that need the module are refused without it
        return Run(
            self.context,
            target,
            self.examples,
            control=copy.copy(self.control),
            subject=copy.deepcopy(self.subject),
            exact=self.exact,
            least=self.least,
            records=[record.model_copy(update={"sizes": None}) for record in self.records],
        )

    def module_step(self, step: Step, trained: dict[ModuleFunction, tuple[Subject, Facts]] | None = None) -> None:
        """Let a technique change the module, and check what it did.

        `trained` holds what other targets' runs got from the same function and the same module.
        """
        assert self.subject is not None  # `read_recipe` refuses module steps on ONNX models
        technique = TECHNIQUES[step.name]
        function = self.target.trainings.get(step.name, technique.module)
        assert function is not None  # by `phases`
        needs = technique.falls(step.config) if technique.falls is not None else ()
        if needs and self.sizes is None:
            self.export(step.where)
        size = self.sizes
        before, kept = invariants.state_digest(self.subject.module), list(self.subject.constraints)
        with placed(step):
            if trained is not None and function in trained and self.control is None:
                self.subject, facts = copy.deepcopy(trained[function])
            else:
                if self.control is not None:
                    self.control.follow(step, self.subject, function)
                self.subject, facts = function(step.config, self.subject, self.context)
                if self.control is not None:
                    facts = {**facts, **self.control.facts(self.subject)}
                if trained is not None:
                    trained[function] = copy.deepcopy((self.subject, facts))
        self.form = None
        module = self.subject.module
        if "lower" not in phases(step):  # where it is, the file must change
            invariants.changed(before, invariants.state_digest(module), step.where)
        invariants.finite_weights(module, step.where)
        invariants.constraints_kept(kept, self.subject.constraints, step.where)
        invariants.constraints_hold(self.subject.constraints, module, step.where)
        if "lower" in phases(step):
            # Its module may carry fake quantization that the export leaves out.
            self._lossy(step)
            self.records.append(_record(step, facts, None))
            return
        self.export(step.where)
        assert self.sizes is not None  # set by `export`
        if needs and size is not None:
            invariants.fell(needs, size, self.sizes, step.where)
        self.records.append(_record(step, facts, self.sizes))

    def export(self, where: str) -> None:
        """Make the module's file, once after each change of it, and compare the two on real inputs."""
        if self.form is not None:
            return
        assert self.subject is not None  # `start` set one of the two
        forget(self.context.data)  # exporting takes as much memory as training: not both at once
        exported = self.target.export(self.subject.module, self.examples)
        self._store(replace(exported, notes={**self.subject.notes, **exported.notes}))
        self.reference = predict(self.subject.module, self.examples, batch_size=64)
        self.claims = invariants.claims(self.subject.module) if self.subject.constraints else []
        self._compare(None if not self.exact else FLOAT_TOLERANCE, where)

    def lowering_step(self, step: Step) -> None:
        """Let a technique change the file, and check what it did."""
        technique = TECHNIQUES[step.name]
        lower: Lowering | None = technique.lower
        if self.target.lowerings is not None:
            lower = self.target.lowerings[step.name]
        assert lower is not None  # by `phases`
        self.export(step.where)
        assert self.form is not None  # set by `export`
        assert self.sizes is not None  # set by `export`
        data, size = self.data, self.sizes
        if self.lowered:
            self.claims = invariants.claims_of_file(self._read(self.form.model).weights)
        self.lowered = True
        with placed(step):
            form, facts = lower(step.config, self.form, self.context)
        self._store(form)
        invariants.changed(data, self.data, step.where)
        needs = ("bytes",) if "module" in phases(step) or technique.falls is None else technique.falls(step.config)
        if "module" in phases(step):
            facts = {**self.records.pop().facts, **facts}
        invariants.fell(needs, size, self.sizes, step.where)
        reading = self._read(form.model)
        invariants.integers_kept(self.integers, reading.integers, step.where)
        invariants.claims_hold(self.claims, reading.weights, step.where)
        self.integers = reading.integers
        if not technique.exact:
            self._lossy(step)
        self._compare(self._tolerance(), step.where)
        self.records.append(_record(step, facts, self.sizes))

    def finish(self, steps: Sequence[Step]) -> Artifact:
        """Check the final file as it ships, and hand it over."""
        assert self.sizes is not None  # `export` or `start` set it
        assert self.form is not None
        where = steps[-1].where if steps else "baseline"
        shipped = onnx.load_model_from_string(self.data) if self.target.read is None else None
        reading = self._read(shipped if shipped is not None else self.data)
        # XNNPACK, which runs the files of other targets, widens before it adds.
        needs = requires(shipped) if shipped is not None else ()
        facts = invariants.claims_hold(self.claims, reading.weights, where)
        if reading.kernels:
            facts["kernels"] = reading.kernels
        if self.records and self.records[-1].sizes is None:
            self.records[-1] = self.records[-1].model_copy(update={"sizes": self.sizes})
        return Artifact(self.data, self.sizes, tuple(self.records), {**self.parity, **facts}, ports(self.form), needs)

    def _read(self, model: Any) -> Reading:
        return read_form(self.target, model)

    def _lossy(self, step: Step) -> None:
        """From here on answers are compared, by the most lenient of the lossy steps."""
        self.exact = False
        self.least = min(self.least, self._agreement(step))

    def _agreement(self, step: Step) -> float:
        """What a lossy step must keep: as it says itself, else as its task or its scheme asks, the stricter one."""
        stated = TECHNIQUES[step.name].agreement
        usual = stated(step.config) if stated is not None else AGREEMENT
        task = self.context.task
        if task is None or "agreement" in step.config.model_fields_set:
            return usual
        return max(task.agreement_least, usual) if usual > AGREEMENT else task.agreement_least

    def _tolerance(self) -> float | None:
        if not self.exact:
            return None
        return FLOAT_TOLERANCE + EXACT_TOLERANCE

    def _store(self, form: Graph | Program) -> None:
        self.form = form
        self.data = self.target.write(form.model)
        self.sizes = sizes_of(form.network, self.data)

    def _compare(self, tolerance: float | None, where: str) -> None:
        ours = self.answers = self.target.run(self.data, self.examples.inputs)
        # A file with a fixed batch size leaves out the examples that do not fill a batch.
        reference = [output[: len(ours[0])] for output in self.reference]
        self.parity = parity(ours, reference, tolerance, where, self.least, self._judge())

    def _judge(self) -> Judge:
        """How answers are compared: by the task, where there is one."""
        if self.context.task is None:
            return by_form
        assert self.form is not None  # set by `_store`
        return task_judge(self.context.task, self.examples, ports(self.form)["outputs"])


def _record(step: Step, facts: Facts, sizes: Sizes | None) -> StepRecord:
    return StepRecord(technique=step.name, config=step.config.model_dump(mode="json"), facts=facts, sizes=sizes)
