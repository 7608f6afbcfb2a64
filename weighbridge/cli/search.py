"""`weighbridge search [run|show|resume|stop]`: find recipes under the budgets, and confirm them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from weighbridge.cli.advise import Goal
from weighbridge.cli.console import progress


class Action(StrEnum):
    """What to do with a search."""

    RUN = "run"
    SHOW = "show"
    RESUME = "resume"
    STOP = "stop"


def search(
    action: Action = typer.Argument(Action.RUN, help="run starts or continues; resume only continues."),
    goal: Goal = typer.Option(None, "--goal", help="What matters most.", show_default="the front of size and latency"),
    time: str = typer.Option("30min", "--time", metavar="TIME", help="Time for the whole search, such as 90s or 2h."),
    trials: int = typer.Option(None, "--trials", min=1, help="Trials at most.", show_default="as many as fit"),
    target: str = typer.Option(
        None, "--target", metavar="NAME", help="The runtime to build for.", show_default="the first of 'targets'"
    ),
    no_training: bool = typer.Option(False, "--no-training", help="Only what needs no training; a minute at most."),
    seed: int = typer.Option(7, "--seed", min=0, help="The same seed proposes the same recipes."),
    name: str = typer.Option(None, "--name", metavar="NAME", help="Of the journal.", show_default="target and goal"),
    write: bool = typer.Option(False, "--write", help="Add the confirmed recipes to params.yaml."),
    branch: str = typer.Option(
        None, "--branch", metavar="NAME", help="Commit them on a new branch.", show_default=False
    ),
    root: Path = typer.Option(Path(), "--root", metavar="DIR", help="The project's folder.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="Everything as JSON."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Search recipes that meet the budgets of params.yaml; print those that hold on examples it did not see.

    Ctrl-C, or `weighbridge search stop`, ends it early: everything is kept, and what was found so far is confirmed.
    Exits 1 where no recipe of the space can meet the budgets, or none was confirmed.
    """
    from weighbridge.core.errors import ExitCode
    from weighbridge.core.files import pretty_json
    from weighbridge.search import advise, commands, results
    from weighbridge.search.run import Request, folder_of
    from weighbridge.search.run import search as run_search

    seconds = commands.seconds_of(time)
    request = Request(
        root=root,
        goal=goal.value if goal else None,
        target=target or advise.chosen(root),
        seconds=min(seconds, 60.0) if no_training else seconds,
        trials=trials,
        training=not no_training,
        seed=seed,
        name=name,
    )
    folder = folder_of(request, request.target or "")
    if action in {Action.STOP, Action.SHOW}:
        typer.echo(commands.stop(folder) if action is Action.STOP else commands.show(folder, as_json=as_json))
        return
    if action is Action.RESUME:
        commands.journal_of(folder)
    commands.check_branch(root, branch)
    with progress(quiet=quiet) as report:
        found = run_search(request, report)
    if found.obstacle is None:
        results.write_results(found)
    typer.echo(pretty_json(results.as_json(found)) if as_json else results.as_text(found), nl=as_json)
    if found.obstacle is not None:
        typer.echo(f"weighbridge: {found.obstacle}", err=True)
    chosen = results.recipes(found)
    if (write or branch) and chosen:
        for line in commands.write(root, chosen, branch):
            typer.echo(line, err=True)
    if not chosen:
        raise typer.Exit(ExitCode.FAIL)
