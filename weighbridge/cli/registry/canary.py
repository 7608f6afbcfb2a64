"""`weighbridge registry canary start|advance|abort|status|judge`."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.output import print_change, print_document, print_json
from weighbridge.cli.registry.registry_options import ChangeOptions, Model, ProjectOptions, Reason, Version
from weighbridge.cli.usage import Application

app = Application(help="Give a version a growing share of traffic, and judge what is seen.")


@app.command()
@grouped
def start(
    model: Model,
    version: Version,
    *,
    steps: Annotated[
        str | None, typer.Option("--steps", metavar="PERCENT,…", help="Such as 5,25,50,100; default: the policy's.")
    ] = None,
    min_samples: Annotated[int | None, typer.Option("--min-samples", min=1, help="Requests needed per step.")] = None,
    min_time: Annotated[
        str | None, typer.Option("--min-time", metavar="TIME", help="Time needed per step, such as 10min.")
    ] = None,
    reason: Reason = "",
    change: ChangeOptions,
    project: ProjectOptions,
) -> None:
    """Give a version its first share of traffic."""
    from weighbridge.registry.trust.registry_policy import CanaryChange

    plan = CanaryChange(steps, min_samples, min_time)
    committed = change.operator(project, model).start_canary(version, plan, reason=reason)
    print_change(committed, as_json=project.as_json)


@app.command()
@grouped
def advance(model: Model, *, reason: Reason, change: ChangeOptions, project: ProjectOptions) -> None:
    """Take the next step by hand; after the last one the canary is stable."""
    print_change(change.operator(project, model).advance_canary(reason=reason), as_json=project.as_json)


@app.command()
@grouped
def abort(
    model: Model,
    *,
    reason: Reason,
    keep: Annotated[bool, typer.Option("--no-quarantine", help="Do not quarantine the version.")] = False,
    change: ChangeOptions,
    project: ProjectOptions,
) -> None:
    """Take all traffic from the canary."""
    committed = change.operator(project, model).abort_canary(reason=reason, quarantine=not keep)
    print_change(committed, as_json=project.as_json)


@app.command()
@grouped
def status(model: Model, *, project: ProjectOptions) -> None:
    """The canary's step, weight and plan."""
    from weighbridge.registry.views.overview import canary

    print_document(canary(project.home, model), as_json=project.as_json)


@app.command()
@grouped
def judge(
    model: Model,
    *,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics",
            metavar="FILE|prometheus=URL",
            help="What was seen online: a .jsonl file, or a Prometheus server.",
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be decided; change nothing.")] = False,
    change: ChangeOptions,
    project: ProjectOptions,
) -> None:
    """Decide advance, hold or abort from what was seen online. Exits 0 advance, 1 abort, 3 hold."""
    from weighbridge.registry.canary.canary_judge import judge as decide

    decision = decide(project.home, model, metrics, settings=change.settings(), dry_run=dry_run)
    if project.as_json:
        print_json(decision.to_json())
    else:
        typer.echo(decision.text(), nl=False)
    raise typer.Exit(decision.exit_code)
