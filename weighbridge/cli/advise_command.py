"""`weighbridge advise`: which recipes are worth a try for these budgets, without training."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from weighbridge.cli.console import progress


class Goal(StrEnum):
    """What a user wants most."""

    SIZE = "size"
    LATENCY = "latency"
    MEMORY = "memory"
    ACCURACY = "accuracy"


def advise(
    goal: Goal = typer.Option(None, "--goal", help="What matters most.", show_default="size and work together"),
    target: str = typer.Option(
        None, "--target", metavar="NAME", help="The runtime to build for.", show_default="the first of 'targets'"
    ),
    recipe: str = typer.Option(
        None,
        "--for",
        metavar="RECIPE",
        help="Under this recipe's budgets, for its target.",
        show_default="common budgets",
    ),
    root: Path = typer.Option(Path(), "--root", metavar="DIR", help="The project's folder.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="The list as JSON."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Rank recipes for params.yaml by what their files will be, without training, in about a minute.

    Exits 1 where no recipe of the space can meet the budgets, and says which comes nearest and what is in its way.
    """
    from weighbridge.core.errors import ExitCode
    from weighbridge.core.files import pretty_json
    from weighbridge.core.git import find_project
    from weighbridge.search import advise as room

    with progress(quiet=quiet) as report:
        found = room.advise(find_project(root), goal.value if goal else None, target, report, recipe)
    typer.echo(pretty_json(room.as_json(found)) if as_json else room.as_text(found), nl=as_json)
    if found.obstacle is not None:
        typer.echo(f"weighbridge: {found.obstacle}", err=True)
        raise typer.Exit(ExitCode.FAIL)
