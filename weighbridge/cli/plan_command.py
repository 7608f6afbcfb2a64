"""`weighbridge plan`: what the pipeline has to do, as items that any machine can take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer


class Kind(StrEnum):
    """What an item does."""

    MAKE = "make"
    WEIGH = "weigh"
    JUDGE = "judge"


def plan(
    kind: Kind = typer.Option(None, "--kind", help="These items alone.", show_default="all"),
    part: str = typer.Option(
        None, "--shard", metavar="I/N", help="Part I of N, chosen by content.", show_default="all"
    ),
    run: bool = typer.Option(False, "--run", help="Do the items that are not done yet, in processes of their own."),
    workers: int = typer.Option(1, "--workers", min=1, help="Processes at once; one at a time on each device."),
    root: Path = typer.Option(Path(), "--root", metavar="DIR", help="The project's folder.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="Items with their keys and commands as JSON."),
) -> None:
    """List what is to make, weigh and judge, each with a key over what it depends on; or do it.

    Needs the stages prepare, train and baseline. A machine that takes a shard runs `weighbridge plan --shard 1/4 --kind
    make --run`; artifacts and measurements travel as DVC or the CI moves them.
    """
    import subprocess
    import sys

    from weighbridge.core.errors import ExitCode
    from weighbridge.core.files import pretty_json
    from weighbridge.core.git import find_project
    from weighbridge.search import plan as room
    from weighbridge.search.project_plan import planned

    root = find_project(root)
    items = planned(root)
    chosen = room.shard(items, part) if part else items
    chosen = [item for item in chosen if kind is None or item.kind == kind.value]
    if not run:
        rows = [item.to_json() for item in chosen]
        lines = [f"{item.kind} {item.name} {item.key.removeprefix('sha256:')[:12]}" for item in chosen]
        typer.echo(pretty_json(rows) if as_json else "\n".join(lines), nl=not as_json)
        return

    def worker(item: room.Item) -> int:
        done = subprocess.run([sys.executable, "-m", "weighbridge", *item.command], cwd=root, check=False)
        return done.returncode

    failed = False
    for item, code in room.execute(chosen, worker, room.Stamps(root), workers):
        typer.echo(f"{item.kind} {item.name}: {'done' if code == 0 else f'failed ({code})'}", err=True)
        failed = failed or code != 0
    if failed:
        raise typer.Exit(ExitCode.FAIL)
