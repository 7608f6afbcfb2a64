"""What one weighing is about, read and checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from weighbridge.core.callables import import_callable
from weighbridge.core.documents import METRICS, Budget, Device, InputSection, TaskSection, Weighing
from weighbridge.core.errors import InputError
from weighbridge.core.facts.metrics import find_metric
from weighbridge.core.facts.targets import DEFAULT_TARGET, target_of_suffix
from weighbridge.core.operator_libraries import OperatorLibrary, require_libraries
from weighbridge.data import Split
from weighbridge.gate.measure.feeding import Feeding, feeding, find_output, launch_inputs
from weighbridge.gate.measure.launches import FEEDS, Journey, LaunchProtocol
from weighbridge.gate.measure.model_files import Model, read_model
from weighbridge.gate.measure.signatures import same_inputs, same_outputs
from weighbridge.gate.measure.streams import with_states
from weighbridge.gate.weighing.default_limits import DEFAULT_LIMITS, budget
from weighbridge.gate.weighing.own import Score

BATCHES = ("batch_size", "throughput_batch_size")
"""Settings of a weighing that are examples at once."""


@dataclass(frozen=True)
class JobOptions:
    """What a caller adds to the files, the budgets and the device."""

    runtime: str | None = None
    """The target to measure as; by default the one of the files."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """References that a budget names and that do not exist, with the reason."""
    users: Mapping[str, Score] = field(default_factory=dict)
    """Metrics of the user's own by their `module:callable`."""
    journey: Journey | str = "end-to-end latency needs a data factory with preprocess and raw examples"
    """The code around the model, or why there is none."""
    model: str | None = None
    recipe: str | None = None
    protocol: LaunchProtocol = LaunchProtocol()  # noqa: RUF009  # frozen
    """How a launch is taken; threads, batches and time-out come from `weighing`."""
    thorough: bool = False
    """Measure everything, even after a required budget has failed for certain."""
    remarks: tuple[str, ...] = ()
    """What reports must say of a measurement that starts afresh."""
    run: Mapping[str, str] | None = None
    """Who measures and when; see `weighbridge.gate.weighing.runs`."""
    code: Mapping[str, str] = field(default_factory=dict)
    """The files of the user's metrics and of the code around the model: path from the project's folder → digest."""
    task: TaskSection | None = None
    """What quality means for the models."""
    libraries: tuple[OperatorLibrary, ...] = ()
    """Of custom operators, which the runtime loads before each model."""

    @property
    def stated_task(self) -> dict[str, Any] | None:
        """The task as params say it, for the record."""
        return None if self.task is None else self.task.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class Job:
    """Two models (three with stable), the examples, the budgets, and how to measure."""

    baseline: Model
    candidate: Model
    split: Split
    budgets: Sequence[Budget]
    device: Device
    weighing: Weighing
    feeding: Feeding
    runtime: str = DEFAULT_TARGET
    stable: Model | None = None
    outputs: Mapping[str, int] = field(default_factory=dict)
    """Index of the judged output by the model's name (`baseline`, `candidate`, `stable`)."""
    options: JobOptions = JobOptions()  # frozen
    given: Split | None = None
    """The examples as the data has them, where `split` also has states that streams begin with."""
    inputs: Mapping[str, InputSection] = field(default_factory=dict)
    """How inputs are fed, where shapes do not tell."""
    roles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of detectors, by the model's name: indices of the outputs with boxes, scores and classes."""

    @property
    def models(self) -> tuple[Model, ...]:
        """All models, the baseline first."""
        return tuple(model for model in (self.baseline, self.candidate, self.stable) if model is not None)

    @property
    def references(self) -> tuple[Model, ...]:
        """What the candidate is compared with."""
        return tuple(model for model in (self.baseline, self.stable) if model is not None)

    def wanted(self, kind: str) -> set[str]:
        """Names of the metrics of one kind that the budgets for this device limit."""
        applying = [budget for budget in self.budgets if budget.applies_to(self.device)]
        return {budget.metric for budget in applying if budget.quantity.kind == kind}

    @property
    def data(self) -> str:
        """Digest of the examples as the data has them."""
        return (self.given or self.split).digest()

    @property
    def stated_inputs(self) -> dict[str, Any]:
        """How inputs are fed, as params say it, for the record."""
        return {name: item.model_dump(mode="json", exclude_defaults=True) for name, item in self.inputs.items()}

    @property
    def shown(self) -> set[str]:
        """Metrics over examples that are measured, as far as the answers allow, whether or not a budget asks."""
        task = self.options.task
        usual = {"accuracy.top1", "accuracy.flips"} if task is None else {"agreement", *task.facts.limits}
        return usual | self.options.users.keys()

    def asked_outputs(self, name: str) -> list[int]:
        """Indices of the outputs of a model that some metric looks at, by the model's name, rising."""
        model = next(model for model in self.models if model.name == name)
        every = list(range(len(model.signature.outputs)))
        task = self.options.task
        if self.options.users or "agreement.outputs" in self.wanted("examples") or (task and task.kind == "custom"):
            return every
        if task is not None and task.kind == "detection":
            return [index for index in every if index in self.roles[name]]
        return [self.outputs[name]]


def timed_inputs(job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of the examples that are timed, by input, and how a worker feeds them; ragged ones by their shapes."""
    most = FEEDS * max(job.weighing.batch_size, job.weighing.throughput_batch_size)
    return launch_inputs(job.split, job.feeding, most, job.weighing.seed)


@dataclass(frozen=True)
class Source:
    """The files and names that a job is made of."""

    baseline: Path
    candidate: Path
    split: Split
    where: str
    """How errors name the data."""
    stable: Path | None = None
    output: str | None = None
    inputs: Mapping[str, InputSection] = field(default_factory=dict)
    """How inputs are fed, where shapes do not tell."""


def _require_runtime(model: Model, runtime: str) -> None:
    if target_of_suffix(model.path.suffix) != runtime:
        raise InputError(
            f"is built for {target_of_suffix(model.path.suffix)}; the baseline is for {runtime}",
            where=str(model.path),
            fix="weigh a file against the uncompressed one for the same runtime",
        )


def read_job(
    source: Source,
    budgets: Sequence[Budget],
    device: Device,
    weighing: Weighing,
    options: JobOptions = JobOptions(),  # frozen
) -> Job:
    """Read the models and check everything that can be checked without running them (`InputError`)."""
    _check_labels(source, budgets)
    _check_sample(weighing, options)
    baseline = read_model(source.baseline, "baseline", tuple(source.split.inputs))
    split = with_states(baseline.signature, source.split, source.inputs)
    feed = feeding(baseline.signature, split, source.where, source.inputs)
    names = tuple(port.name for port in baseline.signature.inputs)
    others = [read_model(source.candidate, "candidate", names)]
    if source.stable is not None:
        others.append(read_model(source.stable, "stable", names))
    paths = {"baseline": source.baseline, "candidate": source.candidate, "stable": source.stable}
    runtime = target_of_suffix(source.baseline.suffix)
    baseline, *others = (_with_libraries(model, options, str(paths[model.name])) for model in (baseline, *others))
    for model in others:
        _require_runtime(model, runtime)
        same_inputs(baseline.signature, model.signature, str(paths[model.name]), "the baseline")
        same_outputs(baseline.signature, model.signature, str(paths[model.name]), "the baseline")
    task = options.task
    judged = source.output or (task.output if task else None)
    every = (baseline, *others)
    outputs = {model.name: find_output(model.signature, judged, str(paths[model.name])) for model in every}
    weighing = weighing.model_copy(update={name: feed.at_most(getattr(weighing, name)) for name in BATCHES})
    return Job(
        baseline=baseline,
        candidate=others[0],
        stable=others[1] if len(others) > 1 else None,
        split=split,
        given=source.split if split is not source.split else None,
        budgets=budgets,
        device=device.for_target(options.runtime or runtime),
        weighing=weighing,
        feeding=feed,
        outputs=outputs,
        runtime=options.runtime or runtime,
        options=options,
        inputs=source.inputs,
        roles={model.name: _roles(model, task, str(paths[model.name])) for model in every},
    )


def _with_libraries(model: Model, options: JobOptions, where: str) -> Model:
    """The model with the libraries that were named; an `InputError` where it needs one and none was."""
    require_libraries(model.foreign, options.libraries, where)
    return replace(model, libraries=options.libraries)


def _check_sample(weighing: Weighing, options: JobOptions) -> None:
    if weighing.sample is not None and (options.task is None or options.task.kind != "language-model"):
        raise InputError("texts belong to the task language-model", where="weighing.sample")


def _check_labels(source: Source, budgets: Sequence[Budget]) -> None:
    """Budgets on named metrics over examples need labels, but for agreement with the baseline."""
    asked = [budget for budget in budgets if budget.quantity.kind == "examples" and budget.metric in METRICS]
    needing = next((budget.metric for budget in asked if not budget.metric.startswith("agreement")), None)
    if needing is not None and not source.split.labelled:
        raise InputError(
            f"the examples have no labels, which {needing} needs",
            where=source.where,
            fix="add labels, or limit agreement with the baseline alone",
        )


def _roles(model: Model, task: TaskSection | None, where: str) -> tuple[int, ...]:
    """Indices of a detector's boxes, scores and classes: by the names that the task gives, else the first three."""
    if task is None or task.kind != "detection":
        return ()
    names = (task.boxes, task.detection_scores, task.classes)
    return tuple(
        place if name is None else find_output(model.signature, name, where) for place, name in enumerate(names)
    )


def with_metrics(budgets: Sequence[Budget], names: Sequence[str]) -> list[Budget]:
    """The budgets, and a default one for each metric that was asked for and that none of them limits.

    A user's own metric is shown without deciding: nobody but the user knows its scale.
    """
    added: list[Budget] = []
    for name in names:
        if any(budget.metric == name for budget in (*budgets, *added)):
            continue
        metric = find_metric(name)
        limit = DEFAULT_LIMITS.get(name) or {"max_drop": 0.01}
        if metric.unit == "per_second":
            limit = {"min_ratio": 0.95}
        elif metric.better == "lower" and name not in DEFAULT_LIMITS:
            limit = {"max_ratio": 1.0 if metric.kind == "exact" else 1.05}
        added.append(budget(name, limit, required=name in METRICS))
    return [*budgets, *added]


def check_stable(budgets: Sequence[Budget], stable: Path | None, reason: str) -> dict[str, str]:
    """What a measurement says of `stable` where a budget names it and it is missing."""
    asked = any(budget.relative and budget.against == "stable" for budget in budgets)
    return {"stable": reason} if asked and stable is None else {}


def user_metrics(budgets: Sequence[Budget], names: Sequence[str]) -> dict[str, Score]:
    """Import the user's metrics, `module:callable`, that budgets or arguments name (`InputError` where one is not)."""
    asked = dict.fromkeys([*(budget.metric for budget in budgets), *names])
    return {name: import_callable(name, f"metric {name}") for name in asked if ":" in name}


def task_metrics(task: TaskSection | None) -> tuple[str, ...]:
    """The user's own metric that a task names."""
    return () if task is None or task.metric is None else (task.metric,)
