"""`weighbridge plan`: what the pipeline has to do, as items that any machine can take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.options import grouped

if TYPE_CHECKING:
    from weighbridge.search.done_items import Stamps
    from weighbridge.search.plan import Item


class Action(StrEnum):
    """What to do with the plan."""

    LIST = "list"
    MAKE = "make"
    WEIGH = "weigh"
    JUDGE = "judge"
    RUN = "run"


class Executor(StrEnum):
    """Who does items."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class SelectedOptions:
    """Which items."""

    part: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Part I of N, chosen by content.", show_default="all"),
    ] = None
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="NAME", help="Of this recipe alone.", show_default="each")
    ] = None
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="Of weighing, what this device weighs.", show_default="each"),
    ] = None

    def of(self, items: Sequence[Item], kinds: set[str]) -> list[Item]:
        """The items of these kinds that are asked for; an `InputError` for a name that no item has."""
        from weighbridge.core.errors import InputError
        from weighbridge.search.plan import shard

        for option, name, known in (
            ("--recipe", self.recipe, {item.name for item in items if item.kind != "judge"}),
            ("--device", self.device, {item.device for item in items}),
        ):
            if name is not None and name not in known:
                raise InputError(f"no item is of {name!r}", where=option, fix="weighbridge plan lists them")
        chosen = shard(items, self.part) if self.part else items
        chosen = [item for item in chosen if item.kind in kinds and self.device in {None, item.device or self.device}]
        return [item for item in chosen if self.recipe in {None, item.name} or item.kind == "judge"]


@dataclass(frozen=True)
class ExchangeOptions:
    """How items travel between machines."""

    taken: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take done items from a folder first.", show_default=False),
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write each done item there, as one file.")
    ] = None


@dataclass(frozen=True)
class ExecutorOptions:
    """Who does items."""

    executor: Annotated[Executor, typer.Option("--executor", help="Processes here, or the nodes of a Ray cluster.")] = (
        Executor.LOCAL
    )
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="Of the cluster: ray://HOST:10001.",
            show_default="one of its own",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Items at once.", show_default="1 here; on Ray, what its nodes offer"),
    ] = None


@grouped
def plan(
    *,
    action: Action = typer.Argument(
        Action.LIST, help="list them; do those that make, weigh or judge; run does all of them."
    ),
    selected: SelectedOptions,
    executors: ExecutorOptions,
    exchange: ExchangeOptions,
    root: Path = typer.Option(Path(), "--root", metavar="DIR", help="The project's folder.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="Items with their keys and commands as JSON."),
    matrix: bool = typer.Option(
        False, "--matrix", help="Recipes to make and devices to weigh on, as outputs of a GitHub step."
    ),
) -> None:
    """List what is to make, weigh and judge, each with a key over what it depends on; or do it.

    Needs the stages prepare, train and baseline. What is done is not done again, here or by whoever takes it with
    --from. Exits 1 where an item failed.
    """
    from weighbridge.core.documents import Params
    from weighbridge.core.files import pretty_json
    from weighbridge.core.git import find_project
    from weighbridge.core.project import PARAMS
    from weighbridge.search import plan as room
    from weighbridge.search.done_items import Stamps
    from weighbridge.search.project_plan import planned

    root = find_project(root)
    items = planned(root)
    stamps = Stamps(root)
    if exchange.taken is not None:
        _take(stamps, items, exchange.taken)
    kinds = {"make", "weigh", "judge"} if action in {Action.LIST, Action.RUN} else {action.value}
    chosen = selected.of(items, kinds)
    if matrix:
        typer.echo(room.matrix(chosen, Params.read(root / PARAMS)), nl=False)
        return
    if action is Action.LIST:
        rows = [{**item.to_json(), "done": stamps.done(item)} for item in chosen]
        typer.echo(pretty_json(rows) if as_json else "\n".join(map(room.line, chosen)), nl=not as_json)
        return
    ended = [(item, 0) for item in chosen if stamps.done(item)]
    _told(chain(ended, _carried_out(root, items, chosen, executors)), stamps, exchange.out)


def _take(stamps: Stamps, items: Sequence[Item], folder: Path) -> None:
    """Take what a folder has of a plan, and say whose measurements those are."""
    from weighbridge.search.done_items import measured_by, take_bundles

    taken = take_bundles(stamps, items, folder)
    typer.echo(f"taken: {len(taken)} items", err=True)
    for item in taken:
        if said := measured_by(stamps.root, item) if item.kind == "weigh" else []:
            typer.echo(f"taken: weigh {item.name}, measured by {'; '.join(said)}", err=True)


def _told(carried: Iterable[tuple[Item, int]], stamps: Stamps, out: Path | None) -> None:
    """Say of each item how it ended, and write what is done as a bundle; exits 1 where one failed."""
    from weighbridge.core.errors import ExitCode
    from weighbridge.search.done_items import write_bundle

    failed = False
    for item, code in carried:
        typer.echo(f"{item.kind} {item.name}: {'done' if code == 0 else f'failed ({code})'}", err=True)
        failed = failed or code != 0
        if code == 0 and out is not None:
            write_bundle(stamps, item, out)
    if failed:
        raise typer.Exit(ExitCode.FAIL)


def _carried_out(
    root: Path, items: Sequence[Item], chosen: Sequence[Item], options: ExecutorOptions
) -> Iterator[tuple[Item, int]]:
    """Items with their exit codes, as they end."""
    from weighbridge.core.documents import Params
    from weighbridge.core.errors import InputError
    from weighbridge.core.project import PARAMS
    from weighbridge.search.carrying_out import execute, in_process
    from weighbridge.search.done_items import Stamps

    stamps, devices = Stamps(root), Params.read(root / PARAMS).devices
    here = frozenset(name for name, section in devices.items() if section.occupies_here)
    if options.executor is Executor.LOCAL:
        if options.address is not None:
            raise InputError("is for --executor ray", where="--address")
        yield from execute(chosen, in_process(root), stamps, options.workers or 1, here=here, known=items)
        return
    from weighbridge.search.ray_executor import connected

    with connected(root, items, [item for item in chosen if not stamps.done(item)], options.address) as cluster:
        workers = options.workers or cluster.cores
        elsewhere = options.address is not None
        yield from execute(chosen, cluster.run, stamps, workers, here=frozenset() if elsewhere else here, known=items)
