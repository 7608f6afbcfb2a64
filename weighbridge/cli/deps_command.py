"""`weighbridge deps`: files that stages import and do not depend on."""

from __future__ import annotations

from pathlib import Path

import typer


def deps(
    root: Path = typer.Option(Path(), "--root", help="The project's folder.", show_default=False),
    write: bool = typer.Option(False, "--write", help="Add the lines to dvc.yaml."),
) -> None:
    """List files of the repository that stages import and that dvc.yaml does not name as their dependencies.

    DVC runs a stage again only when a dependency changes. Exits 1 where a line is missing and --write is not given.
    """
    from weighbridge.ci.declared import add, missing
    from weighbridge.core.errors import ExitCode
    from weighbridge.core.git import find_project

    root = find_project(root)
    found = missing(root)
    if write:
        add(root, found)
    for item in found:
        typer.echo(f"{'added  ' if write else 'missing'} {item.stage}: - {item.line} (used by {item.by})")
    if not found:
        typer.echo("every file that a stage imports is a dependency of it")
    raise typer.Exit(ExitCode.FAIL if found and not write else ExitCode.PASS)
