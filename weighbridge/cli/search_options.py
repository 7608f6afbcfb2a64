"""Options of `weighbridge search`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.advise_command import Goal

if TYPE_CHECKING:
    from weighbridge.search.problem.search_request import SearchRequest


UNTRAINED_SECONDS = 48.0
"""Of a search without training: a minute less what starting and writing take."""


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
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="Where files are timed; its name under 'devices'.")
    ] = "local"
    recipe: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="RECIPE",
            help="Under this recipe's budgets, for its target.",
            show_default="common budgets",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Recipes that train at once.", show_default="one for each core"),
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
        from weighbridge.gate.measure.machine import allowed_cores
        from weighbridge.search import advise, commands
        from weighbridge.search.problem.search_request import SearchRequest

        seconds = commands.seconds_of(self.time)
        return SearchRequest(
            root=root,
            goal=self.goal.value if self.goal else None,
            device=self.device,
            target=self.target or advise.chosen(root, self.recipe),
            recipe=self.recipe,
            seconds=min(seconds, UNTRAINED_SECONDS) if self.no_training else seconds,
            trials=self.trials,
            training=not self.no_training,
            seed=self.seed,
            name=self.name,
            workers=self.workers or len(allowed_cores()),
        )


@dataclass(frozen=True)
class KeepingOptions:
    """Where confirmed recipes go."""

    write: Annotated[bool, typer.Option("--write", help="Add the confirmed recipes to params.yaml.")] = False
    branch: Annotated[
        str | None,
        typer.Option("--branch", metavar="NAME", help="Commit them on a new branch.", show_default=False),
    ] = None
