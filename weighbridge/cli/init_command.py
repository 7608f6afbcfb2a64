"""`weighbridge init [DIR]`: put the gate into a repository."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weighbridge.cli.console import progress
from weighbridge.cli.options import Select, grouped

if TYPE_CHECKING:
    from weighbridge.ci.earlier import Earlier
    from weighbridge.ci.scaffold import InitAnswers, Pipeline
    from weighbridge.ci.setup import InitPlan
    from weighbridge.core.documents import Params


@dataclass(frozen=True)
class ModelOptions:
    """The model as options describe it; what is None is asked for."""

    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The model's name in the registry.")] = None
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODULE:CALLABLE", help="Returns a torch.nn.Module.")
    ] = None
    onnx: Annotated[
        Path | None, typer.Option("--onnx", metavar="FILE", help="A finished ONNX file, instead of --model.")
    ] = None
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Trained weights for --model: a checkpoint of your training."),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="MODULE:CALLABLE|FILE", help="Returns a weighbridge.data.Data; or an .npz of examples."
        ),
    ] = None
    data_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--data-file",
            metavar="FILE",
            help="A file that the data comes from; may be repeated.",
            show_default=False,
        ),
    ] = None
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="SPDX", help="SPDX identifier of the model's licence.")
    ] = None
    task: Annotated[
        str | None,
        typer.Option(
            "--task", metavar="KIND", help="What quality means: embedding, token, …", show_default="classification"
        ),
    ] = None


@dataclass(frozen=True)
class RunnerOptions:
    """Where and how the gate runs."""

    branch: Annotated[
        str | None,
        typer.Option("--branch", metavar="BRANCH", help="The branch that promotes; default: as before, or main."),
    ] = None
    runner: Annotated[
        str | None,
        typer.Option(
            "--runner",
            metavar="LABEL",
            help="Where the gate runs: the label of a runner; default: as before, or ubuntu-latest.",
        ),
    ] = None
    device_class: Annotated[
        str | None, typer.Option("--device-class", metavar="NAME", help="Name of that kind of machine.")
    ] = None
    select: Annotated[
        Select | None,
        typer.Option("--select", help="Which of the recipes that pass is promoted; default: as before, or smallest."),
    ] = None
    workflows: Annotated[bool, typer.Option("--workflows/--no-workflows", help="Write GitHub workflows.")] = True
    try_recipes: Annotated[
        bool, typer.Option("--try/--no-try", help="Load model and data, and leave out recipes that do not help.")
    ] = True

    def pipeline(self, source: str, before: Earlier) -> Pipeline | None:
        """What the workflows are made from: as told, or else as before; None where none are wanted."""
        from weighbridge.ci.scaffold import Pipeline

        if not self.workflows:
            return None
        runner = self.runner or before.runner or "ubuntu-latest"
        same = self.runner in (None, before.runner)
        device_class = self.device_class or (before.device_class if same else None) or f"github-{runner}"
        select = self.select.value if self.select else before.select or Select.SMALLEST.value
        return Pipeline.installing(source, self.branch or before.branch or "main", runner, device_class, select)


@grouped
def init(
    *,
    folder: Path = typer.Argument(Path(), metavar="DIR", help="The model's folder.", show_default=False),
    described: ModelOptions,
    remote: str | None = typer.Option(
        None, "--dvc-remote", metavar="URL|DIR", help="The DVC remote for the bytes: s3://…, ssh://…, a folder."
    ),
    runs: RunnerOptions,
    install_from: str | None = typer.Option(
        None,
        "--install-from",
        metavar="URL|WHEEL",
        help="What pip installs Weighbridge from: git+https://…@REF, or a wheel's URL or path.",
        show_default=False,
    ),
    upgrade: bool = typer.Option(False, "--upgrade", help="Only bring what an earlier init wrote to today's form."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Change files that are there already without asking."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the diffs, write nothing."),
) -> None:
    """Put the gate into a repository: params.yaml, dvc.yaml, workflows, a registry.

    Asks for what no option says. A file that is there already is changed after its diff was shown and agreed to;
    a dvc.yaml that is there gets the stages added.
    """
    from weighbridge.ci import setup
    from weighbridge.ci.earlier import earlier
    from weighbridge.ci.init_files import top_of
    from weighbridge.ci.scaffold_source import checked_source

    before = earlier(top_of(folder))
    source = checked_source(install_from or (None if upgrade else before.source))
    if upgrade:
        _upgrade(folder, source, write=not dry_run)
        return
    answers = replace(_answers(folder, described), install_from=source, task=_task(described.task))
    answers = _offered(folder, answers) if runs.try_recipes else answers
    plan = setup.plan(folder, answers, runs.pipeline(source, before), remote)
    if dry_run:
        for change in plan.changes:
            typer.echo(change.diff(plan.top), nl=False)
        return
    _agree(plan, yes)
    _say(plan, source, setup.apply(plan))


def _say(plan: InitPlan, source: str, ignored: list[str]) -> None:
    """What was written, and what to do next."""
    from weighbridge.ci import setup
    from weighbridge.ci.scaffold_source import SOURCE

    for line in setup.describe(plan):
        typer.echo(line)
    if ignored:
        typer.echo(f"git ignores, by a pattern of yours: {', '.join(ignored)}")
    if not plan.changes:
        typer.echo("nothing to change")
        return
    if source == SOURCE:
        typer.echo(f"before CI can run: replace {source} by where Weighbridge comes from, or give --install-from")
    for line in setup.next_lines(plan, Path.cwd()):
        typer.echo(line)


def _upgrade(folder: Path, source: str, *, write: bool) -> None:
    from weighbridge.ci import upgrade

    found = upgrade.changes(folder, source)
    for change in found:
        typer.echo(change.diff(folder), nl=False)
    if write:
        upgrade.write(found)
    typer.echo(f"{len(found)} file(s) {'changed' if write else 'would change'}" if found else "nothing to upgrade")


def _offered(folder: Path, answers: InitAnswers) -> InitAnswers:
    """With the recipes that help this model; a project that is there keeps its own."""
    from weighbridge.ci.adopting import home_of
    from weighbridge.ci.offering import offered

    if _written(home_of(folder, answers.name)) is not None:
        return answers
    with progress() as report:
        offer = offered(folder, answers, report)
    for note in offer.notes:
        typer.echo(note)
    return replace(answers, recipes=offer.recipes)


def _answers(folder: Path, described: ModelOptions) -> InitAnswers:
    from weighbridge.ci.adopting import home_of
    from weighbridge.ci.described import Described, checked

    written = _written(home_of(folder, described.name))
    described = _as_written(folder, described, written) if written else described
    model, onnx = described.model, described.onnx
    name = described.name or _ask("The model's name in the registry", "--name", folder.resolve().name)
    if model is None and onnx is None:
        source = _ask("Model factory (package.module:callable), or an ONNX file", "--model or --onnx")
        model, onnx = (None, Path(source)) if source.endswith(".onnx") else (source, None)
    data = described.data or _ask("Data factory (package.module:callable), or an .npz file", "--data")
    files = described.data_files or []
    told = Described(name, data, model, described.weights, onnx, files, described.licence)
    return checked(folder, told, known=written is not None)


def _task(kind: str | None) -> str | None:
    from weighbridge.core.errors import InputError
    from weighbridge.core.facts.tasks import find_task

    if kind is None:
        return None
    if kind == "custom":
        raise InputError("needs functions of yours", where="--task", fix="write `task: {kind: custom, …}` afterwards")
    return find_task(kind, "--task").name


def _written(folder: Path) -> Params | None:
    """The project that an earlier `init` made here; None where there is none that can be read."""
    from weighbridge.core.documents import Params
    from weighbridge.core.errors import InputError
    from weighbridge.core.project import PARAMS

    try:
        return Params.read(folder / PARAMS)
    except InputError:
        return None


def _as_written(folder: Path, described: ModelOptions, known: Params) -> ModelOptions:
    """The answers as params.yaml has them; whoever gives others is told to edit that file."""
    from weighbridge.ci.adopting import home_of
    from weighbridge.ci.npz_project import FACTORY, meant
    from weighbridge.core.errors import InputError
    from weighbridge.core.project import PARAMS

    project = home_of(folder, known.model.name)
    onnx = Path(os.path.relpath(project / known.model.onnx, folder)) if known.model.onnx else None
    weights = Path(os.path.relpath(project / known.model.weights, folder)) if known.model.weights else None
    there: dict[str, Any] = {"name": known.model.name, "model": known.model.factory, "onnx": onnx, "weights": weights}
    there["data"] = known.data.factory
    if known.data.factory == FACTORY and described.data and meant(described.data):
        described = replace(described, data=None)
    for option, value in there.items():
        given = getattr(described, option)
        if given is not None and given != value:
            raise InputError(f"{project / PARAMS} says {str(value)!r}", where=f"--{option}", fix="edit it there")
    return replace(described, **there)


def _ask(question: str, option: str, default: str | None = None) -> str:
    from weighbridge.core.errors import InputError

    if not sys.stdin.isatty():
        raise InputError("is required where there is no terminal to ask at", where=option)
    return str(typer.prompt(question, default=default))


def _agree(plan: InitPlan, yes: bool) -> None:
    from weighbridge.core.errors import InputError

    overwrites = plan.overwrites
    for change in overwrites:
        typer.echo(change.diff(plan.top), nl=False)
    if not overwrites or yes:
        return
    if not sys.stdin.isatty():
        names = ", ".join(str(change.path.relative_to(plan.top)) for change in overwrites)
        raise InputError(f"would be changed as shown: {names}", where="init", fix="agree with --yes")
    if not typer.confirm(f"Change {len(overwrites)} file(s) as shown?"):
        raise typer.Exit(2)
