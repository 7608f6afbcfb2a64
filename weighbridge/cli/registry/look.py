"""What the registry knows, without a change: `weighbridge registry list|versions|show|diff|resolve|history`."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.output import print_document, print_table
from weighbridge.cli.registry.registry_options import Model, Processor, ProjectOptions, Target


@grouped
def models(project: ProjectOptions) -> None:
    """All models with their channels."""
    from weighbridge.registry.views.overview import models as rows

    print_table(
        [row.to_json() for row in rows(project.home)], "the registry has no models yet", as_json=project.as_json
    )


@grouped
def versions(model: Model, *, project: ProjectOptions) -> None:
    """All versions of a model, newest first."""
    from weighbridge.registry.views.overview import versions as rows

    print_table([row.to_json() for row in rows(project.home, model)], "no versions yet", as_json=project.as_json)


@grouped
def show(
    spec: Annotated[str, typer.Argument(help="MODEL@stable, @v7, @sha256:…, or MODEL.")], *, project: ProjectOptions
) -> None:
    """One version's record."""
    from weighbridge.registry.views.overview import record

    print_document(record(project.home, spec), as_json=project.as_json)


@grouped
def diff(
    model: Model,
    old: Annotated[str, typer.Argument(help="A version or channel.")],
    new: Annotated[str, typer.Argument(help="A version or channel.")],
    *,
    project: ProjectOptions,
) -> None:
    """What differs between two versions: recipe, metrics, sizes, lineage."""
    from weighbridge.registry.views.compare import compare

    rows = compare(project.home, f"{model}@{old}", f"{model}@{new}")
    print_table([row.to_json() for row in rows], "no difference", as_json=project.as_json)


@grouped
def resolve(
    spec: Annotated[str, typer.Argument(help="MODEL@stable|canary|baseline|v7|sha256:…|TIME")],
    *,
    target: Target = None,
    processor: Processor,
    project: ProjectOptions,
) -> None:
    """The version that a name stands for; prints `MODEL@VERSION DIGEST`."""
    from weighbridge.registry.lookup.resolve import resolve as find

    found = find(project.home, spec, target=target)
    found.require_host(processor.host())
    typer.echo(found.json_text() if project.as_json else found.line(), nl=False)
    if found.quarantined:
        typer.echo(f"warning: {found.version} is quarantined", err=True)
    if found.deprecated is not None:
        typer.echo(f"warning: {found.version} is deprecated: {found.deprecated}", err=True)


@grouped
def history(
    model: Model,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="The last N events (0: all).")] = 0,
    project: ProjectOptions,
) -> None:
    """What happened to a model, newest first."""
    from weighbridge.registry.views.overview import history as rows

    print_table(
        [row.to_json() for row in rows(project.home, model, limit)], "nothing happened yet", as_json=project.as_json
    )
