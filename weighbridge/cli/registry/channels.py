"""Changes of what serves: `weighbridge registry release|rollback|quarantine|deprecate`."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.output import print_change
from weighbridge.cli.registry.registry_options import ChangeOptions, Expect, Model, ProjectOptions, Reason, Version


@grouped
def release(
    model: Model,
    version: Version,
    *,
    reason: Reason = "",
    expect: Expect = None,
    change: ChangeOptions,
    project: ProjectOptions,
) -> None:
    """Make a recorded version stable."""
    operator = change.operator(project, model)
    print_change(operator.release(version, reason=reason, expect=expect), as_json=project.as_json)


@grouped
def rollback(
    model: Model,
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="VERSION", help="A version or `baseline`; default: what was stable before."),
    ] = None,
    reason: Reason,
    keep: Annotated[bool, typer.Option("--no-quarantine", help="Do not quarantine the version that is left.")] = False,
    unproven: Annotated[
        bool,
        typer.Option("--unproven", help="Go back also where bytes or signature cannot be checked now; it is recorded."),
    ] = False,
    change: ChangeOptions,
    project: ProjectOptions,
) -> None:
    """Back to a version whose bytes are proven first; what is left is quarantined."""
    operator = change.operator(project, model)
    done = operator.roll_back(reason=reason, to=to, quarantine=not keep, unproven=unproven)
    print_change(done, as_json=project.as_json)
    if "because" in done.event.evidence:
        typer.echo(f"warning: not proven: {done.event.evidence['because']}", err=True)


@grouped
def quarantine(
    model: Model,
    version: Version,
    *,
    reason: Reason,
    lift: Annotated[bool, typer.Option("--lift", help="Lift the quarantine.")] = False,
    change: ChangeOptions,
    project: ProjectOptions,
) -> None:
    """Forbid a version to serve again."""
    operator = change.operator(project, model)
    print_change(operator.quarantine(version, reason=reason, lift=lift), as_json=project.as_json)


@grouped
def deprecate(
    model: Model, version: Version, *, reason: Reason, change: ChangeOptions, project: ProjectOptions
) -> None:
    """Mark a version as one that should not be taken any more."""
    operator = change.operator(project, model)
    print_change(operator.deprecate(version, reason=reason), as_json=project.as_json)
