"""The stand-alone gate: two ONNX files, examples, a verdict, and a folder with what it rests on."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weighbridge.core.columns import columns
from weighbridge.core.documents import (
    Budget,
    BudgetVerdict,
    InputSection,
    RecipeVerdict,
    TaskSection,
    Verdict,
    Weighing,
)
from weighbridge.core.documents.base import parse
from weighbridge.core.documents.custom_ops import CustomOps
from weighbridge.core.documents.inputs import missing_in
from weighbridge.core.documents.params import read_budgets
from weighbridge.core.files import atomic_write
from weighbridge.core.formatting import quantity
from weighbridge.core.operator_libraries import named_libraries
from weighbridge.core.progress import Progress, silent
from weighbridge.data import Split, load_data, read_npz
from weighbridge.gate.calibrate.calibration import sentences
from weighbridge.gate.measure import fingerprint as device_room
from weighbridge.gate.measure.launches import Journey
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.single import render
from weighbridge.gate.report.subject import Report
from weighbridge.gate.report.terminal import NARROW, quoted
from weighbridge.gate.stages.pipeline import NO_JOURNEY
from weighbridge.gate.verdict.judge import judge, name_of
from weighbridge.gate.weighing.default_limits import default_budgets
from weighbridge.gate.weighing.job import (
    Job,
    JobOptions,
    Source,
    check_stable,
    read_job,
    task_metrics,
    user_metrics,
    with_metrics,
)
from weighbridge.gate.weighing.locked import weigh_locked

KEPT = Path(".weighbridge") / "weighed"
"""Where measurements go without `--out`, by digests: weighing again must continue, not start afresh."""
NO_STABLE = "a stand-alone weighing has no registry; give the stable file as the baseline to compare with it"


@dataclass(frozen=True)
class StandaloneRequest:
    """What was asked for on the command line."""

    baseline: Path
    candidate: Path
    data: str
    budgets: Path | None = None
    out: Path | None = None
    metrics: tuple[str, ...] = ()
    output: str | None = None
    weighing: Mapping[str, Any] | None = None
    thorough: bool = False
    task: TaskSection | None = None
    inputs: Mapping[str, InputSection] = field(default_factory=dict)
    """How inputs are fed, where shapes do not tell."""
    custom_ops: tuple[CustomOps, ...] = ()
    """Libraries of custom operators, by their digests."""


def run(request: StandaloneRequest, progress: Progress = silent, width: int | None = None) -> tuple[RecipeVerdict, str]:
    """Weigh, judge, write `measurement.json`, `verdict.json` and `gate.md`; returns the verdict and a table of at most
    `width` columns.
    """
    job, defaults = _job(request)
    out = request.out or KEPT / f"{job.baseline.digest[7:19]}-{job.candidate.digest[7:19]}"
    measurement = weigh_locked(job, out / "measurement.json", progress)
    verdict = judge(measurement, job.budgets)
    if defaults:
        verdict = verdict.model_copy(update={"notes": [*verdict.notes, _default_note(job.budgets)]})
    verdict.write(out / "verdict.json")
    report = render(
        verdict,
        measurement,
        name=request.candidate.name,
        reproduce=[_command(request, out)],
        calibration=sentences(Path(), job.device.fingerprint),
    )
    atomic_write(out / "gate.md", report.markdown.encode())
    atomic_write(out / "gate.html", report.html.encode())
    whole = Report(verdict.verdict, [Entry(request.candidate.name, verdict, measurement)])
    return verdict, _table(verdict, out, quoted(request.candidate.name, whole), width or NARROW)


def _job(request: StandaloneRequest) -> tuple[Job, bool]:
    split, journey = _examples(request.data, missing_in(request.inputs))
    budgets = read_budgets(request.budgets) if request.budgets else default_budgets(split, request.task)
    metrics = (*request.metrics, *task_metrics(request.task))
    budgets = with_metrics(budgets, metrics)
    source = Source(
        request.baseline, request.candidate, split, request.data, output=request.output, inputs=request.inputs
    )
    job = read_job(
        source,
        budgets,
        device_room.describe(os.environ),
        parse(Weighing, dict(request.weighing or {}), "arguments"),
        JobOptions(
            missing=check_stable(budgets, None, NO_STABLE),
            users=user_metrics(budgets, metrics),
            journey=journey,
            thorough=request.thorough,
            task=request.task,
            code={item.path: f"sha256:{item.sha256}" for item in request.custom_ops},
            libraries=named_libraries(request.custom_ops, Path(), "custom_ops"),
        ),
    )
    return job, request.budgets is None


def _examples(data: str, missing: Collection[str]) -> tuple[Split, Journey | str]:
    """The evaluation set: an `.npz` file, or the test split of a data factory."""
    if data.endswith(".npz") or ":" not in data:
        return read_npz(Path(data)), NO_JOURNEY
    loaded = load_data(data, "--data", missing)
    if loaded.preprocess is None or loaded.raw is None:
        return loaded.test, NO_JOURNEY
    return loaded.test, Journey(data, Path.cwd())


def _default_note(budgets: Sequence[Budget]) -> str:
    named = "; ".join(f"{budget.metric} {budget.rule.name} {budget.limit:g}" for budget in budgets)
    return f"No --budgets were given; judged by the default ones: {named}."


def _table(verdict: RecipeVerdict, out: Path, said: str, width: int) -> str:
    """For a terminal: one line per budget, where the report lies, and the verdict in one line."""
    rows = [
        {
            "budget": name_of(item),
            "verdict": item.verdict.value + ("" if item.required else " (advisory)"),
            "measured": _measured(item),
            "limit": quantity(item.limit, item.unit),
        }
        for item in verdict.budgets
    ]
    reasons = [f"{name_of(item)}: {item.reason}" for item in verdict.budgets if item.verdict is not Verdict.PASS]
    parts = [columns(rows, width), "", *reasons, *verdict.notes]
    return "\n".join([*parts, f"the report is in {out / 'gate.md'}", said, ""])


def _measured(item: BudgetVerdict) -> str:
    if item.estimate is None:
        return "-"
    bounds = [quantity(bound, item.unit) if bound is not None else "?" for bound in (item.lower, item.upper)]
    exact = item.lower == item.upper == item.estimate
    return quantity(item.estimate, item.unit) + ("" if exact else f" [{bounds[0]}, {bounds[1]}]")


def _command(request: StandaloneRequest, out: Path) -> str:
    """The command line that asks the same again, and so continues the measurement."""
    words = ["weighbridge", "weigh", str(request.baseline), str(request.candidate), "--data", request.data]
    words += ["--budgets", str(request.budgets)] if request.budgets else []
    words += [word for name in request.metrics for word in ("--metric", name)]
    words += ["--output", request.output] if request.output else []
    words += _task_words(request.task)
    said = {name: item.model_dump(mode="json", exclude_defaults=True) for name, item in request.inputs.items()}
    words += ["--inputs", json.dumps(said)] if said else []
    libraries = [item.model_dump(mode="json") for item in request.custom_ops]
    words += ["--custom-ops", json.dumps(libraries)] if libraries else []
    return shlex.join([*words, "--out", str(out)])


def _task_words(task: TaskSection | None) -> list[str]:
    """A task as arguments: its kind, or everything that was said of it as JSON."""
    if task is None:
        return []
    said = task.model_dump(mode="json", exclude_none=True)
    return ["--task", task.kind if len(said) == 1 else json.dumps(said)]
