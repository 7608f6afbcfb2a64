"""`weighbridge search [run|show|resume|stop]`: find recipes under the budgets, and confirm them."""

from __future__ import annotations

from pathlib import Path

import typer

from weighbridge.cli.console import progress
from weighbridge.cli.options import grouped
from weighbridge.cli.search_options import Action, KeepingOptions, SearchOptions


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
