"""Checks and files beside the registry: `weighbridge registry verify|gc|schemas|trust-root`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.output import print_table
from weighbridge.cli.registry.registry_options import ChangeOptions, ProjectOptions


@grouped
def verify(
    models: Annotated[list[str] | None, typer.Argument(help="Models; default: all.")] = None,
    *,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="COMMIT", help="A trusted commit; default: the last one verified in this clone."
        ),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also read every record as a document of its schema.")] = False,
    project: ProjectOptions,
) -> None:
    """Check chain, digests, channels, signatures, and that history only grew."""
    from datetime import UTC, datetime, timedelta

    from weighbridge.registry.trust.audit import audit

    tomorrow = datetime.now(UTC) + timedelta(days=1)
    rows = audit(project.home, models=models or None, since=since, deep=deep, now=tomorrow)
    print_table([dict(vars(row)) for row in rows], "the registry has no models yet", as_json=project.as_json)


@grouped
def gc(
    *,
    cloud: Annotated[bool, typer.Option("--cloud", help="Of the default DVC remote.")] = False,
    project: ProjectOptions,
) -> None:
    """List which bytes in DVC's cache are still needed, and which are not; deletes nothing."""
    from weighbridge.registry.lifecycle.gc import plan

    rows = [row.to_json() for row in plan(project.home, remote=cloud)]
    print_table(rows, "the remote is empty" if cloud else "the cache is empty", as_json=project.as_json)


@grouped
def migrate(
    models: Annotated[list[str], typer.Argument(help="Models.")], *, change: ChangeOptions, project: ProjectOptions
) -> None:
    """Bring models from an earlier schema to today's: one event, and their evidence kept beside their versions."""
    from weighbridge.registry.lifecycle.migrate import migrate as migrate_model

    for model in models:
        done = migrate_model(project.home, model, change.settings())
        if done is None:
            typer.echo(f"{model}: is of today's schema")
            continue
        kept, missing = ", ".join(done.kept) or "no version", ", ".join(done.missing) or "none"
        typer.echo(f"{model}: {done.committed.event.reason}; evidence kept of {kept}; lost: {missing}")
        for version, why in done.missing.items():
            typer.echo(f"warning: the evidence of {model}@{version} cannot be had: {why}", err=True)


def schemas(out: Annotated[Path, typer.Argument(metavar="DIR", help="A folder for the .schema.json files.")]) -> None:
    """Write the JSON Schemas of all documents."""
    from weighbridge.registry.views.schemas import write

    for path in write(out):
        typer.echo(str(path))


def trust_root(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file that the policy names as its trust_root.")],
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="The one that came with sigstore, or was fetched last.")
    ] = False,
) -> None:
    """Write the trust root of sigstore's public instance, by which signatures without keys are checked offline."""
    from weighbridge.core.files import atomic_write
    from weighbridge.registry.trust.keyless import public_trust_root

    atomic_write(out, public_trust_root(offline=offline))
    typer.echo(str(out))
