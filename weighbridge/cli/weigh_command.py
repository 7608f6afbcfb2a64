"""`weighbridge weigh BASELINE CANDIDATE`: the gate for any two files of one runtime, no pipeline needed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.console import painted, progress, width
from weighbridge.cli.options import grouped

if TYPE_CHECKING:
    from weighbridge.core.documents import InputSection, TaskSection


@dataclass(frozen=True)
class WeighingOptions:
    """How inferences are timed."""

    time_limit: Annotated[
        str,
        typer.Option(
            "--time-limit", metavar="SECONDS|auto", help="Time for the noisy metrics; auto: as long as it takes."
        ),
    ] = "60"
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order of bursts and of resampling.")] = 11
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Examples in one timed inference.")] = 1
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the runtime.")] = 1

    def section(self) -> dict[str, object]:
        """As `weighing:` of params.yaml has it: a plain number of the option is seconds."""
        limit = self.time_limit
        return asdict(self) | {"time_limit": f"{limit}s" if limit.replace(".", "", 1).isdigit() else limit}


@dataclass(frozen=True)
class QualityOptions:
    """What is compared, and how inputs are fed."""

    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME|MODULE:CALLABLE", help="Weigh this too; may be repeated."),
    ] = None
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="NAME", help="The output that is judged.", show_default="the first"),
    ] = None
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="KIND|YAML",
            help="What quality means: embedding, token, …, or '{kind: token, mask: attention_mask}'.",
            show_default="by the labels",
        ),
    ] = None
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            metavar="FILE|YAML",
            help="How inputs are fed: '{sr: {constant: true}, state: {batch_axis: 1, carry: new_state}}'.",
            show_default="by their shapes",
        ),
    ] = None


@grouped
def weigh(
    *,
    baseline: Path = typer.Argument(..., help="The artifact to compare with (.onnx, .tflite or .pte)."),
    candidate: Path = typer.Argument(..., help="The artifact to judge, for the same runtime."),
    data: str = typer.Option(
        ..., "--data", metavar="FILE|MODULE:CALLABLE", help="eval.npz, or module:callable of a data factory."
    ),
    budgets: Path = typer.Option(
        None, "--budgets", metavar="FILE", help="YAML with a list under 'budgets:'.", show_default=False
    ),
    out: Path = typer.Option(
        None, "--out", metavar="DIR", help="Folder for measurement.json, verdict.json and gate.md.", show_default=False
    ),
    quality: QualityOptions,
    manner: WeighingOptions,
    everything: bool = typer.Option(False, "--all", help="Measure on after a required budget has failed for certain."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Weigh a candidate against a baseline and exit with the verdict: 0 pass, 1 fail, 3 could not judge.

    Without --budgets the candidate must be no larger, at most 5% slower (median), lose at most one point of top-1
    accuracy and flip at most 5% of the answers; with --task it must hold that task's limits instead of the last two.
    Running it again continues the measurement in --out.
    """
    from weighbridge.gate.stages import standalone

    request = standalone.StandaloneRequest(
        baseline=baseline,
        candidate=candidate,
        data=data,
        budgets=budgets,
        out=out,
        metrics=tuple(quality.metric or ()),
        output=quality.output,
        weighing=manner.section(),
        thorough=everything,
        task=_task(quality.task),
        inputs=_inputs(quality.inputs),
    )
    with progress(quiet=quiet) as report:
        verdict, table = standalone.run(request, report, width())
    typer.echo(painted(table), nl=False)
    raise typer.Exit(verdict.verdict.exit_code)


def _task(text: str | None) -> TaskSection | None:
    """The task as a name, or as the section `task` of params.yaml on one line."""
    if text is None:
        return None
    from weighbridge.core.documents import TaskSection
    from weighbridge.core.documents.base import parse
    from weighbridge.core.facts.tasks import find_task
    from weighbridge.core.strict_yaml import parse_yaml

    content = parse_yaml(text, "--task")
    if isinstance(content, str):
        content = {"kind": find_task(content, "--task").name}
    return parse(TaskSection, content, "--task")


def _inputs(text: str | None) -> dict[str, InputSection]:
    """The section `inputs` of params.yaml, on one line or in a file."""
    if text is None:
        return {}
    from weighbridge.core.documents import InputSection
    from weighbridge.core.documents.base import parse
    from weighbridge.core.errors import InputError
    from weighbridge.core.files import read_yaml
    from weighbridge.core.strict_yaml import parse_yaml

    inline = text.lstrip().startswith("{")
    where = "--inputs" if inline else text
    content = parse_yaml(text, where) if inline else read_yaml(Path(text))
    if isinstance(content, dict) and set(content) == {"inputs"}:
        content = content["inputs"]
    if not isinstance(content, dict):
        raise InputError("expected inputs by name", where=where, fix="{sr: {constant: true}}")
    return {str(name): parse(InputSection, value, f"{where}: {name}") for name, value in content.items()}
