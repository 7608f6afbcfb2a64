"""`weighbridge weigh BASELINE CANDIDATE`: the gate for any two files of one runtime, no pipeline needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from weighbridge.cli.console import painted, progress, width
from weighbridge.cli.options import grouped
from weighbridge.cli.weigh_options import QualityOptions, WeighingOptions

if TYPE_CHECKING:
    from weighbridge.core.documents import InputSection, TaskSection
    from weighbridge.core.documents.custom_ops import CustomOps


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
        custom_ops=_custom_ops(quality.custom_ops),
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


def _custom_ops(text: str | None) -> tuple[CustomOps, ...]:
    """The section `custom_ops` of params.yaml, on one line or in a file."""
    if text is None:
        return ()
    from weighbridge.core.documents.base import parse
    from weighbridge.core.documents.custom_ops import CustomOps
    from weighbridge.core.errors import InputError
    from weighbridge.core.files import read_yaml
    from weighbridge.core.strict_yaml import parse_yaml

    inline = text.lstrip().startswith("[")
    where = "--custom-ops" if inline else text
    content = parse_yaml(text, where) if inline else read_yaml(Path(text))
    if isinstance(content, dict) and "custom_ops" in content:
        content = content["custom_ops"]
    if not isinstance(content, list):
        raise InputError("expected a list of libraries", where=where, fix="[{path: libops.so, sha256: …}]")
    return tuple(parse(CustomOps, item, f"{where}[{index}]") for index, item in enumerate(content))


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
