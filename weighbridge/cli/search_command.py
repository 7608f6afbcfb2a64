"""`weighbridge search [run|show|resume|stop]`: find recipes under the budgets, and confirm them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.advise_command import Goal
from weighbridge.cli.console import progress
from weighbridge.cli.options import grouped

if TYPE_CHECKING:
    from weighbridge.search.problem.search_request import SearchRequest


class Action(StrEnum):
    """What to do with a search."""

    RUN = "run"
    SHOW = "show"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True)
class SearchOptions:
    """What is searched, and for how long."""

    goal: Annotated[
        Goal | None, typer.Option("--goal", help="What matters most.", show_default="the front of size and latency")
    ] = None
    time: Annotated[
        str, typer.Option("--time", metavar="TIME", help="Time for the whole search, such as 90s or 2h.")
    ] = "30min"
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Trials at most.", show_default="as many as fit")
    ] = None
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="NAME", help="The runtime to build for.", show_default="the first of 'targets'"
        ),
    ] = None
    no_training: Annotated[
        bool, typer.Option("--no-training", help="Only what needs no training; a minute at most.")
    ] = False
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed proposes the same recipes.")] = 7
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Of the journal.", show_default="target and goal")
    ] = None

    def request(self, root: Path) -> SearchRequest:
        """What the search is asked for; without training it takes a minute at most."""
        from weighbridge.search import advise, commands
        from weighbridge.search.problem.search_request import SearchRequest

        seconds = commands.seconds_of(self.time)
        return SearchRequest(
            root=root,
            goal=self.goal.value if self.goal else None,
            target=self.target or advise.chosen(root),
            seconds=min(seconds, 60.0) if self.no_training else seconds,
            trials=self.trials,
            training=not self.no_training,
            seed=self.seed,
            name=self.name,
        )


@dataclass(frozen=True)
class KeepingOptions:
    """Where confirmed recipes go."""

    write: Annotated[bool, typer.Option("--write", help="Add the confirmed recipes to params.yaml.")] = False
    branch: Annotated[
        str | None,
        typer.Option("--branch", metavar="NAME", help="Commit them on a new branch.", show_default=False),
    ] = None


@grouped
def search(
    *,
    action: Action = typer.Argument(Action.RUN, help="run starts or continues; resume only continues."),
    wanted: SearchOptions,
    keeping: KeepingOptions,
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
    from weighbridge.core.git import find_project
    from weighbridge.search import commands
    from weighbridge.search.front import results
    from weighbridge.search.run import folder_of
    from weighbridge.search.run import search as run_search

    root = find_project(root)
    request = wanted.request(root)
    folder = folder_of(request, request.target or "")
    if action in {Action.STOP, Action.SHOW}:
        typer.echo(commands.stop(folder) if action is Action.STOP else commands.show(folder, as_json=as_json))
        return
    if action is Action.RESUME:
        commands.journal_of(folder)
    commands.check_branch(root, keeping.branch)
    with progress(quiet=quiet) as report:
        found = run_search(request, report)
    if found.obstacle is None:
        results.write_results(found)
    typer.echo(pretty_json(results.as_json(found)) if as_json else results.as_text(found), nl=as_json)
    if found.obstacle is not None:
        typer.echo(f"weighbridge: {found.obstacle}", err=True)
    chosen = results.recipes(found)
    if (keeping.write or keeping.branch) and chosen:
        for line in commands.write(root, chosen, keeping.branch):
            typer.echo(line, err=True)
    if not chosen:
        raise typer.Exit(ExitCode.FAIL)
