"""`weighbridge explain RECIPE`: what each step will do to each layer, without training."""

from __future__ import annotations

from pathlib import Path

import typer


def explain(
    recipe: str = typer.Argument(..., help="A recipe's name in params.yaml."),
    root: Path = typer.Option(Path(), "--root", metavar="DIR", help="The project's folder.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="Rows as JSON."),
) -> None:
    """Show what each step of a recipe does to each layer: shape, parameters, MACs, bytes, before and after."""
    from weighbridge.cli.console import width
    from weighbridge.compress.recipe.explain import explain as explain_recipe
    from weighbridge.core.columns import columns
    from weighbridge.core.files import pretty_json
    from weighbridge.core.git import find_project

    rows = explain_recipe(find_project(root), recipe)
    typer.echo(pretty_json(rows) if as_json else columns(rows, width()))
